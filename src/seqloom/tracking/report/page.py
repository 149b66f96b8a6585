"""The page: its sections in order, put together and written in one move.

The idea: `SECTIONS` is the whole plan of a report; the page knows nothing of what they show. The
price: a page is built in memory (some hundred kB, with clips up to 6 MB) before it replaces the
old one.
"""

from collections.abc import Callable
from pathlib import Path

from seqloom.runs.files import write_atomic
from seqloom.tracking.report.classes import classes
from seqloom.tracking.report.clips import clips
from seqloom.tracking.report.curves import curves
from seqloom.tracking.report.overview import overview_html
from seqloom.tracking.report.profile import profile
from seqloom.tracking.report.run_data import RunData, read_run
from seqloom.tracking.report.sentences import examples, sentence_scores
from seqloom.tracking.report.templating import Section, fingerprint, raw, render, script
from seqloom.tracking.report.usage import configuration, next_commands

SECTIONS: list[Callable[[RunData], Section | None]] = [
    curves,
    classes,
    clips,
    sentence_scores,
    examples,
    profile,
    next_commands,
    configuration,
]


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into the run folder, from the files in it alone, and answer its path.

    An older report is replaced in one move: a reader sees the old page or the new one. The
    commands on the page name the folder as it was given here. Raises DataError where there is no
    such folder.
    """
    html = render_report(read_run(run_folder))
    path = run_folder / "report.html"
    # Lone surrogates (from JSON escapes) have no UTF-8 form.
    write_atomic(path, html.encode("utf-8", "replace").decode())
    return path


def render_report(run: RunData) -> str:
    """The whole page as a string."""
    sections = [section for make in SECTIONS if (section := make(run)) is not None]
    code = script("axes.js", "copying.js", "script.js")
    return render(
        "page.html",
        {
            "title": f"{run.task or 'run'} \u00b7 {run.folder.resolve().name}",
            "overview": overview_html(run),
            "sections": sections,
            "style": raw("style.css"),
            "script": code,
            "script_hash": fingerprint(code),
        },
    )
