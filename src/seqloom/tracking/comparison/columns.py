"""Columns of the table of runs: what each one shows, and a run's value in words.

The idea: a column is the place of a value in the payload (`kind`, `name`); Python writes the words
of a cell, and the page's script sorts and filters by the value at the same place, so no number is
read back out of its words.
"""

import json
from typing import Any, NamedTuple

from seqloom.tracking.report.templating import compact, duration, metric, shorten, size

MAX_METRICS = 6  # columns of metrics that are shown at first; the others are one click away
COSTS = {
    "parameters": "parameters",
    "seconds": "time",
    "peak_memory_bytes": "peak memory",
    "energy_wh": "energy (estimate)",
}
EXTRAS = {"steps": "steps", "epochs": "epochs"}


class Column(NamedTuple):
    """A column: `kind` field, settings or metrics; `name` inside of it; whether it is shown."""

    kind: str
    name: str
    title: str
    is_shown: bool = True

    def value(self, run: dict[str, Any]) -> Any:
        """The value of a run, or None where it has none."""
        return run.get(self.name) if self.kind == "field" else run[self.kind].get(self.name)

    def words(self, run: dict[str, Any]) -> str:
        """The cell of a run; an empty string where it has no value."""
        if self.kind != "field" and self.name not in run[self.kind]:
            return ""
        value = self.value(run)
        if self.kind == "settings":
            return shorten(text(value), 80)
        if value is None:
            return "not a number" if self.kind == "metrics" else ""
        if self.kind == "metrics":
            return metric(value, self.name)
        return cost(value, self.name)


def columns(payload: dict[str, Any]) -> list[Column]:
    """All columns but name and state, in order: what differs, the metrics, the cost."""
    settings = [Column("settings", key, key) for key in payload["keys"]]
    seed = [] if "seed" in payload["keys"] else [Column("field", "seed", "seed")]
    names = [entry["name"] for entry in payload["metrics"]]
    names.sort(key=lambda name: (name != payload["main"], not name.startswith("test/")))
    metrics = [
        Column("metrics", name, name, place < MAX_METRICS) for place, name in enumerate(names)
    ]
    costs = [Column("field", name, title) for name, title in COSTS.items()]
    extras = [Column("field", name, title, False) for name, title in EXTRAS.items()]
    every = [*settings, *seed, *metrics, *costs, *extras]
    return [c for c in every if c.kind == "settings" or any(_has(c, r) for r in payload["runs"])]


def text(value: Any) -> str:
    """A setting as it is written on a command line: null, true, [1,2], words."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def cost(value: Any, name: str) -> str:
    """A cost in its unit: 1 min 52 s, 2.94 GB, 0.31 Wh, 5,234,123."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return text(value)
    if name == "seconds":
        return duration(value)
    if name == "peak_memory_bytes":
        return size(value)
    return f"{value:.3g} Wh" if name == "energy_wh" else compact(value)


def _has(column: Column, run: dict[str, Any]) -> bool:
    return column.value(run) is not None
