"""What the page of `seqloom watch` polls: the jobs in words and the curves in few points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from seqloom.sweeps.layout import STYLES, number
from seqloom.sweeps.progress import span
from seqloom.sweeps.standings import ENDED, Standing, best, counts, left_s
from seqloom.sweeps.watched import View

REPORT = "report.html"

Curves = Mapping[str, Mapping[int, list[tuple[float, float]]]]


def page_state(view: View, curves: Curves, root: Path) -> dict[str, Any]:
    """Plain values for JSON; numbers in words as people read them.

    Returns "name", "over", "counts" [[state, how many]], "left", "best", "objectives", "report"
    (of the whole; null: none), "jobs" and "curves" {metric: {number of the job: [[step, value]]}}.
    """
    record = view.record
    if record is None:
        return {"name": "", "over": False, "counts": [], "left": "", "best": None}
    states, leader = counts(view.standings), best(record, view.standings)
    states["waiting"] = states.get("waiting", 0) + max(0, record.num_jobs - len(view.standings))
    rest_s = left_s(view.standings, record.num_jobs)
    return {
        "name": record.name,
        "over": view.is_over,
        "counts": [[state, states[state]] for state in STYLES if states.get(state)],
        "left": "" if rest_s is None else span(rest_s),
        "best": None if leader is None else leader.job.number,
        "objectives": list(record.objectives),
        "report": REPORT if (root / REPORT).is_file() else None,
        "jobs": [_job(standing, root) for standing in view.standings],
        "curves": curves,
    }


def _job(standing: Standing, root: Path) -> dict[str, Any]:
    job, progress = standing.job, standing.progress
    has_report = progress.state in ENDED and (root / job.folder / REPORT).is_file()
    return {
        "number": job.number,
        "label": standing.label,
        "state": progress.state,
        "note": progress.note,
        "step": f"{progress.step:,}" if progress.step else "",
        "latest": number(progress.latest),
        "best": number(progress.best),
        "more": [number(value) for value in job.values[1:]],
        "fraction": progress.fraction,
        "left": "" if progress.left_s is None else span(progress.left_s),
        "took": span(progress.seconds) if progress.seconds else "",
        "report": quote(f"{job.folder}/{REPORT}") if has_report else None,
    }
