"""How far a run has come, seen from outside: from the files that it leaves while it works.

The idea: whoever looks at a run has nothing but its folder: metrics.csv as it grows, the limits in
config.yaml (read once), summary.json, and the lock, which tells whether its process lives. Nothing
is written or locked, and no state of a file is an error: what is torn or absent is not there yet.
The price: how long an epoch is shows only when the first one is over.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seqloom.runs.budget import duration_s
from seqloom.runs.files import YAML_LOADER
from seqloom.runs.lock import is_held
from seqloom.sweeps.rows import RowReader

QUIET_S = 300.0  # A run that is silent for longer is said to be so.


@dataclass(frozen=True)
class Progress:
    """How a run stands.

    Attributes:
        state: one of `outcome.STATES`, but never "pruned", which only a sweep knows.
        note: one line: why it failed, or for how long it has given no sign of life; "" for none.
        step: updates done.
        epoch: the one it is in, from 0.
        seconds: of work, over all its sessions.
        fraction: how much of the training is done, by whichever limit comes first; None: unknown.
        latest, best: values of the objective; None before the first one.
        left_s: seconds until the training ends; None where it is unknown: before the first epoch
            has ended, where patience may end it at any time, and when the test has begun.
        quiet_s: seconds since the last sign of life; 0 for a run that has ended.
    """

    state: str = "waiting"
    note: str = ""
    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    fraction: float | None = None
    latest: float | None = None
    best: float | None = None
    left_s: float | None = None
    quiet_s: float = 0.0


class ProgressReader:
    """Follows the run in `folder`, which need not be there yet.

    Args:
        objective: the metric to follow; "" takes the run's own `task.monitor`.
        mode: "min" or "max", for `objective`.
    """

    def __init__(self, folder: Path, objective: str = "", mode: str = "min") -> None:
        self.folder = folder
        self.objective = objective
        self.mode = mode
        self._handed = RowReader(folder / "metrics.csv")
        self._seen = RowReader(folder / "metrics.csv")
        self._config: dict[str, Any] | None = None
        self._summary: dict[str, Any] = {}
        self._summary_mark: tuple[int, int] | None = None
        self._row: dict[str, float] = {}
        self._values: tuple[float | None, float | None] = (None, None)  # Latest and best.
        self._steps_per_epoch: float | None = None

    def new_rows(self) -> list[dict[str, float]]:
        """See `RowReader.new_rows`; independent of `read`."""
        return self._handed.new_rows()

    def read(self) -> Progress:
        """How the run stands now. Never raises."""
        self._read_config()
        for row in self._seen.new_rows():
            self._notice(row)
        self._read_summary()
        status = self._summary.get("status")
        if status in ("finished", "failed", "interrupted"):
            return self._ended(str(status))
        return self._working()

    def _working(self) -> Progress:
        held = is_held(self.folder)
        quiet_s = self._quiet_s()
        if held is False:
            if not self._summary and self._config is None:
                return Progress()
            note = f"no sign of life for {span(quiet_s)}" if self._summary else ""
            return self._with("interrupted", note, quiet_s, None)
        is_silent = quiet_s > QUIET_S
        word = "nothing new" if held else "no sign of life"
        note = f"{word} for {span(quiet_s)}" if is_silent else ""
        fraction, left_s = self._fraction(), None
        is_open = is_silent or bool(self._limits().get("patience"))
        if fraction is not None and 0 < fraction < 1 and not is_open:
            took_s = self._row.get("seconds", 0.0)
            left_s = max(0.0, took_s * (1 - fraction) / fraction - quiet_s)
        return self._with("running", note, quiet_s, left_s)

    def _ended(self, status: str) -> Progress:
        error = self._summary.get("error")
        note = " ".join(str(error).split()) if error else ""
        return self._with(status, note, 0.0, None)

    def _with(self, state: str, note: str, quiet_s: float, left_s: float | None) -> Progress:
        latest, best = self._values
        steps = int(self._row["step"]) + 1 if self._row else 0
        seconds = self._row.get("seconds", 0.0)
        if state == "running":
            seconds += quiet_s if self._row else 0.0
        else:
            steps = int(_number(self._summary.get("steps")) or steps)
            seconds = _number(self._summary.get("seconds")) or seconds
        noted = self._summary.get("best")
        if isinstance(noted, Mapping) and noted.get("monitor") == self.objective:
            score = _number(noted.get("score"))
            best = best if score is None else score
        fraction = 1.0 if state == "finished" else self._fraction()
        epoch = int(self._row.get("epoch", 0))
        return Progress(state, note, steps, epoch, seconds, fraction, latest, best, left_s, quiet_s)

    def _notice(self, row: dict[str, float]) -> None:
        before = self._row
        if before and row.get("epoch", 0) > before.get("epoch", 0):
            self._steps_per_epoch = (before["step"] + 1) / (before.get("epoch", 0) + 1)
        self._row = row
        value = row.get(self.objective)
        if value is None:
            return
        best = self._values[1]
        better = min if self.mode == "min" else max
        if math.isfinite(value):
            best = value if best is None else better(best, value)
        self._values = (value, best)

    def _fraction(self) -> float | None:
        if not self._row:
            return None
        limits, done, parts = self._limits(), self._row["step"] + 1, []
        if limits.get("steps"):
            parts.append(done / limits["steps"])
        if limits.get("epochs") and self._steps_per_epoch:
            parts.append(done / self._steps_per_epoch / limits["epochs"])
        if limits.get("seconds"):
            parts.append(self._row.get("seconds", 0.0) / limits["seconds"])
        return min(1.0, max(parts)) if parts else None

    def _limits(self) -> dict[str, float]:
        """What ends the training: steps, epochs, seconds, patience; those that are set."""
        trainer, callbacks = _section(self._config, "trainer"), _section(self._config, "callbacks")
        max_time = trainer.get("max_time")
        limits = {
            "steps": _number(trainer.get("max_steps")),
            "epochs": _number(trainer.get("max_epochs")),
            "seconds": duration_s(max_time) if isinstance(max_time, str) else None,
            "patience": _number(callbacks.get("early_stopping_patience")),
        }
        return {name: float(limit) for name, limit in limits.items() if limit and limit > 0}

    def _quiet_s(self) -> float:
        """Since the newest of the files that a living run writes."""
        times = [0.0]
        for name in ("metrics.csv", "summary.json", "config.yaml", "run.lock"):
            try:
                times.append(os.stat(self.folder / name).st_mtime)
            except OSError:
                continue
        return max(0.0, time.time() - max(times)) if max(times) else 0.0

    def _read_config(self) -> None:
        """Once: it does not change while a run works."""
        if self._config is not None:
            return
        try:
            text = (self.folder / "config.yaml").read_text(encoding="utf-8")
            config = yaml.load(text, YAML_LOADER)
        except (OSError, ValueError, yaml.YAMLError):
            return
        self._config = config if isinstance(config, dict) else {}
        task = _section(self._config, "task")
        if not self.objective:
            self.objective = str(task.get("monitor") or "")
            self.mode = str(task.get("mode") or "min")

    def _read_summary(self) -> None:
        path = self.folder / "summary.json"
        try:
            about = os.stat(path)
            mark = (about.st_ino, about.st_mtime_ns)
            if mark == self._summary_mark:
                return
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(found, dict):
            self._summary, self._summary_mark = found, mark


def _section(config: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    found = (config or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def span(seconds: float) -> str:
    """A time as people say it: 40 s, 5 min, 3 h 20 min, 2 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
