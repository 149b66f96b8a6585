"""The page of `seqloom watch` as one document, and what a browser may do with it.

The idea: the page is the same for every folder and holds nothing of it; all that is shown comes
from one address beside it, as text. So nothing of a run can become markup.
"""

from __future__ import annotations

from dataclasses import dataclass

from seqloom.tracking.report.templating import fingerprint, raw, render, script

STATE = "/state.json"


@dataclass(frozen=True)
class Page:
    """A document and its Content-Security-Policy."""

    html: str
    policy: str


def render_page(name: str, every_s: float) -> Page:
    """The page that asks for `STATE` every `every_s` seconds.

    Args:
        name: of what is watched, for the title.
    """
    style, code = raw("style.css") + raw("watch.css"), script("axes.js", "watch.js")
    values = {
        "name": name,
        "style": style,
        "script": code,
        "state": STATE,
        "every_ms": round(1000 * every_s),
    }
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:; "
        f"style-src 'sha256-{fingerprint(style)}'; script-src 'sha256-{fingerprint(code)}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(render("watch.html", values), policy)
