"""Templates and the words for numbers: what every section of the report shares.

The idea: all HTML comes out of jinja2 with autoescape on and undefined names an error, so text of
a run reaches the page only escaped. The price: markup made in Python must be wrapped in `Markup`
by hand, which only `charts`, `heat_map` and `differences` do.
"""

import base64
import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TRACKING = Path(__file__).parents[1]
TEMPLATES = [TRACKING / part / "templates" for part in ("report", "comparison", "watch")]
PERCENT_METRICS = ("bleu", "chrf")
FRACTION_METRICS = ("exact_match", "accuracy", "frame_accuracy", "f1", "wer", "cer")


class Section(NamedTuple):
    """A part of the page: its heading, its HTML, and the anchor in the page's address."""

    title: str
    html: Markup
    anchor: str


def render(template: str, values: dict[str, Any]) -> Markup:
    """Fill `templates/<template>`; every value that is no `Markup` is escaped."""
    return Markup(_environment.get_template(template).render(values))


def raw(name: str) -> Markup:
    """The text of `templates/<name>` as it stands: a style sheet or a part of a script."""
    return Markup(_loader.get_source(_environment, name)[0])


def script(*names: str) -> Markup:
    """Parts of a script as one: they see each other's names, and the page sees none of them.

    When all have run, the page says so: `data-ready` on its root element.
    """
    parts = Markup("").join(raw(name) for name in names)
    root = "  document.documentElement"
    return Markup('"use strict";\n(() => {{\n{}{}{}}})();\n').format(
        Markup(f'{root}.classList.add("has-script");\n'),
        parts,
        Markup(f'{root}.dataset.ready = "";\n'),
    )


def fingerprint(text: str) -> str:
    """The SHA-256 of a script as a Content-Security-Policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embed(value: Any) -> Markup:
    """JSON that is safe inside a <script type="application/json"> element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def metric(value: Any, name: str) -> str:
    """A metric in its usual number of digits: BLEU 36.42, exact match 0.871, others 4 digits."""
    if value is None:  # JSON's word for what is not finite, in summary.json
        return "not a number"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("infinite" if value > 0 else "-infinite")
    base = name.rsplit("/", 1)[-1]
    if base in PERCENT_METRICS:
        return f"{value:.2f}"
    if base in FRACTION_METRICS:
        return f"{value:.3f}"
    return compact(value)


def compact(value: float) -> str:
    """A number in 4 significant digits, with thousands separated: 12,345, 0.0312, 2.5e-05."""
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Seconds in words: 8.4 s, 1 min 52 s, 3 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(num_bytes: float) -> str:
    """A number of bytes in decimal units: 2.94 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def shorten(text: str, limit: int = 1000) -> str:
    """At most `limit` characters of a text, and how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} \u2026 ({len(text) - limit:,} more characters)"


_loader = FileSystemLoader(TEMPLATES)
_environment = Environment(
    loader=_loader,
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(embed=embed, metric=metric, compact=compact, shorten=shorten)
