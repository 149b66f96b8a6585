"""Where the time of an update went, of a run with `debug=profile`; no section for others.

A damaged profile.json is a sentence in the section: the page is written all the same.
"""

import json
import math
from typing import Any

from seqloom.tracking.report.run_data import RunData
from seqloom.tracking.report.templating import Section, render

TITLE, ANCHOR = "Where the time goes", "profile"


def profile(run: RunData) -> Section | None:
    """The rows of profile.json as a table with bars, and torch's largest operators."""
    path = run.folder / "profile.json"
    if not path.is_file():
        return None
    values: dict[str, Any] = {"problem": "", "trace": (run.folder / "trace.json.gz").is_file()}
    try:
        values |= _read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        values["problem"] = " ".join(str(error).split())[:200]
    return Section(TITLE, render("profile.html", values), ANCHOR)


def _read(found: Any) -> dict[str, Any]:
    rates = {
        name.removesuffix("_per_s").replace("_", " "): _number(rate)
        for name, rate in found["rates"].items()
        if not name.endswith("_positions_per_s")
    }
    return {
        "device": str(found["device"]),
        "num_updates": int(found["num_updates"]),
        "mean_ms": f"{_number(found['mean_ms']):.1f}",
        "rates": [f"{rate:,.0f} {name}" for name, rate in rates.items()],
        "rows": [_cells(row, ("mean_ms", "median_ms")) for row in found["rows"]],
        "operators": [_cells(row, ("ms",)) for row in found["operators"]],
    }


def _cells(row: Any, times: tuple[str, ...]) -> dict[str, Any]:
    """A row in words; `bar` is its share in percent, between 0 and 100."""
    share = 100 * _number(row["share"])
    return {
        "name": str(row["name"]),
        "times": [f"{_number(row[name]):.2f}" for name in times],
        "share": f"{share:.1f}",
        "bar": f"{min(max(share, 0.0), 100.0):.1f}",
        "calls": f"{_number(row['calls']):.3g}",
    }


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a number")
    return number
