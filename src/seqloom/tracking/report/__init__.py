"""The report of a run: one self-contained page made from nothing but the run folder.

The idea: a page is a list of sections, and a section is a function `(RunData) -> Section | None`.
It reads what it needs from the `RunData` and answers a title and HTML, or None where it does not
apply to the run (another task, a file that only other tasks write). What applies but is missing is
said in words: a failed or running run gets a page too.

To add a section (forecasts, spectrograms): write a module with such a function,
render it with `templating.render` from a template of its own (autoescape is on), read a further
file of the run folder in `run_data.py`, and name the function in `page.SECTIONS`, in the order of
the page. Styles go into `templates/style.css`, behaviour into `templates/script.js`; the page's
Content-Security-Policy lets no other script run and no address be fetched.

The price: what a page embeds is capped (texts, points, attention cells), and it says what it left
out. Imports no torch.
"""

from seqloom.tracking.report.page import write_report
from seqloom.tracking.report.run_data import RunData
from seqloom.tracking.report.templating import Section

__all__ = ["RunData", "Section", "write_report"]
