"""The comparison page: one self-contained HTML file for many runs, from its payload alone.

The idea: what can be said without a script stands in the page as HTML (the table of runs, groups,
differences, the search); the script sorts, filters and hides these rows, and draws the charts from
the same payload, each when it comes into view or the browser is idle. Looks, axes and copying are
those of a run's page.
The price: the payload is in the page beside its table, about twice the numbers. A library for
charts would be 5 MB a page, and mute for keyboards and screen readers.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from seqloom.runs.files import write_atomic
from seqloom.tracking.comparison.columns import COSTS, columns, cost
from seqloom.tracking.report.templating import Section, fingerprint, metric, raw, render, script

SCRIPTS = (
    "axes.js",
    "copying.js",
    "selection.js",
    "table.js",
    "plot.js",
    "curves.js",
    "parallel.js",
    "scatter.js",
    "matrix.js",
)
STATES = {  # state: its sign, and what a reader sees
    "finished": "\u2713",
    "failed": "\u2715",
    "interrupted": "\u25d2",
    "running": "\u25b6",
    "pruned": "\u2702",
    "waiting": "\u2026",
}
MAX_SLICES = 12
MAX_GROUP_TABLES = 4


def write_comparison(payload: dict[str, Any], path: Path) -> Path:
    """Write the page of `payload` (`tracking.comparison.payload`) to `path`, and answer `path`.

    An older page is replaced in one move. Links to the runs' own pages are relative to `path`'s
    folder, as the payload has them. Raises OSError where the folder cannot be written.
    """
    # Lone surrogates (from JSON escapes) have no UTF-8 form.
    write_atomic(path, render_comparison(payload).encode("utf-8", "replace").decode())
    return path


def render_comparison(payload: dict[str, Any]) -> str:
    """The whole page as a string."""
    values: dict[str, Any] = {
        "payload": payload,
        "columns": columns(payload),
        "states": Counter(run["status"] for run in payload["runs"]),
        "signs": STATES,
        "costs": _costs(payload),
        "cost_titles": COSTS,
        "link": _link,
        "whisker": _whisker,
        "cost": cost,
        "metric": metric,
        "max_slices": MAX_SLICES,
        "group_metrics": _group_metrics(payload),
        "pairs": _pairs(payload),
        "best_run": _best_run(payload),
        "has_one_task": len(payload["tasks"]) <= 1,
    }
    code = script(*SCRIPTS)
    return render(
        "page.html",
        {
            "title": payload["title"],
            "overview": render("comparison_heading.html", values),
            "sections": _sections(payload, values),
            "style": raw("style.css") + raw("comparison.css"),
            "script": code,
            "script_hash": fingerprint(code),
        },
    )


def _sections(payload: dict[str, Any], values: dict[str, Any]) -> list[Section]:
    runs = payload["runs"]
    parts = [
        ("Runs", "runs", True),
        ("Groups", "groups", bool(payload["groups"])),
        ("Curves", "run-curves", any(run["curves"] for run in runs)),
        ("Settings", "parallel", bool(payload["keys"] and payload["main"])),
        ("Slices", "slices", bool(payload["keys"] and payload["main"])),
        ("Cost", "cost", bool(values["costs"] and payload["main"])),
        ("Differences", "significance", bool(payload["significance"])),
        ("Search", "search", payload["search"] is not None),
        ("Notes", "notes", True),
    ]
    return [
        Section(title, render(f"comparison_{anchor.replace('-', '_')}.html", values), anchor)
        for title, anchor, is_there in parts
        if is_there
    ]


def _costs(payload: dict[str, Any]) -> list[str]:
    """The kinds of cost that are known, those first in which the runs differ."""
    found = {name: {run.get(name) for run in payload["runs"]} - {None} for name in COSTS}
    known = [name for name, values in found.items() if values]
    return sorted(known, key=lambda name: len(found[name]) == 1)


def _link(address: str) -> str:
    """A relative address that can be nothing else: no scheme, no host, nothing unescaped."""
    return "./" + quote(address.lstrip("/"))


def _group_metrics(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics that groups are tabulated by, the main one first, each with the axis of bars."""
    names = [m["name"] for m in payload["metrics"] if m["name"].startswith("test/")]
    names = [n for n in (payload["main"], *names) if n is not None]
    tables = []
    for name in list(dict.fromkeys(names))[:MAX_GROUP_TABLES]:
        found = [group["metrics"].get(name) for group in payload["groups"]]
        ends = [e[k] for e in found if e for k in ("mean", "low", "high", "best")]
        known = [end for end in ends if end is not None and math.isfinite(end)]
        if known:
            tables.append({"name": name, "low": min(known), "high": max(known)})
    return tables


def _whisker(entry: dict[str, Any], table: dict[str, Any]) -> dict[str, float]:
    """Where mean, best and the interval of a group stand on the bar, in percent of its width."""
    span = (table["high"] - table["low"]) or 1.0
    known = {k: entry[k] for k in ("mean", "low", "high", "best") if entry.get(k) is not None}
    return {k: round(3 + 94 * (v - table["low"]) / span, 2) for k, v in known.items()}


def _pairs(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """For each metric with comparisons: its groups in order, and the comparison of each two.

    `cells[i][j]` is None, or the comparison with `sign` "+" where group i is better than j.
    `is_open`: of one run in each group nothing can be shown, whatever the numbers are.
    """
    modes = {entry["name"]: entry["mode"] for entry in payload["metrics"]}
    tables = []
    for name in dict.fromkeys(entry["metric"] for entry in payload["significance"]):
        entries = [entry for entry in payload["significance"] if entry["metric"] == name]
        members = sorted({k for entry in entries for k in (entry["first"], entry["second"])})
        places = {group: place for place, group in enumerate(members)}
        cells: list[list[Any]] = [[None] * len(members) for _ in members]
        for entry in entries:
            difference = entry["difference"] or 0.0
            is_ahead = (difference > 0) == (modes.get(name, payload["mode"]) == "max")
            i, j = places[entry["first"]], places[entry["second"]]
            for row, column, ahead in ((i, j, is_ahead), (j, i, not is_ahead)):
                sign = ("+" if ahead else "\u2212") if difference else "="
                cells[row][column] = entry | {"sign": sign}
        tables.append(
            {
                "metric": name,
                "groups": members,
                "cells": cells,
                "entries": entries,
                "is_open": all(max(entry["num_runs"]) <= 1 for entry in entries),
            }
        )
    return tables


def _best_run(payload: dict[str, Any]) -> dict[str, Any] | None:
    """The finished run that is best by the main metric."""
    known = [
        run
        for run in payload["runs"]
        if run["status"] == "finished" and run["metrics"].get(payload["main"]) is not None
    ]
    choose = max if payload["mode"] == "max" else min
    return choose(known, key=lambda run: run["metrics"][payload["main"]]) if known else None
