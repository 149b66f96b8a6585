"""What a job came to, read from its run folder: a job returns nothing but what it left there.

A run that ended well but whose objective is not a number has failed too: nothing can be compared
with it. A folder without a summary, or one that still says "running" though nobody holds it, was
interrupted: it can go on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqloom.errors import DataError
from seqloom.runs import Summary

# waiting: not begun; pruned: stopped by a search, for others are better.
STATES = ("waiting", "running", "finished", "failed", "pruned", "interrupted")


@dataclass(frozen=True)
class Outcome:
    """How a job stands.

    Attributes:
        state: one of STATES.
        values: of each objective; () unless it is finished and all were logged.
        error: one line: why it failed, or which objective a finished run did not log, as one that
            ended before its first validation.
        seconds: of work, over all its sessions.
        steps: updates of the optimiser.
    """

    state: str
    values: tuple[float, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    steps: int = 0


def read_outcome(folder: Path, objectives: Sequence[str]) -> Outcome:
    """How the run in `folder` stands, if nobody works on it.

    Args:
        objectives: names of metrics ("val/loss"); each is the value at the best checkpoint where
            the run noted one, else the last one logged.
    """
    path = folder / "summary.json"
    if not path.exists():
        return Outcome("interrupted" if (folder / "config.yaml").exists() else "waiting")
    try:
        summary = Summary.read(path)
    except DataError as error:
        return Outcome("failed", error=str(error))
    seconds, steps = summary.seconds, summary.steps
    if summary.status == "failed":
        return Outcome("failed", error=summary.error, seconds=seconds, steps=steps)
    if summary.status != "finished":
        return Outcome("interrupted", seconds=seconds, steps=steps)
    values = [objective_value(summary, name) for name in objectives]
    for name, value in zip(objectives, values, strict=True):
        if value is not None and not math.isfinite(value):
            return Outcome("failed", error=f"{name} is {value}", seconds=seconds, steps=steps)
    found = tuple(value for value in values if value is not None)
    if len(found) < len(objectives):
        missing = f"{objectives[values.index(None)]} was not logged"
        return Outcome("finished", error=missing, seconds=seconds, steps=steps)
    return Outcome("finished", found, seconds=seconds, steps=steps)


def objective_value(summary: Summary, name: str) -> float | None:
    """The value of metric `name` that judges a run; None where it has none, NaN where JSON has
    null for it."""
    if summary.best.get("monitor") == name:
        found = summary.best.get("score")
        return math.nan if found is None else float(found)
    metrics = {**summary.metrics, **summary.best.get("metrics", {})}
    if name not in metrics:
        return None
    return math.nan if metrics[name] is None else float(metrics[name])
