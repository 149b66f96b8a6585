"""`ProfileResult`: what a profile found, as profile.json and as tables for a terminal.

The mean of a row is what adds up to the mean update; the median is what an update usually takes,
and for what happens seldom (a line of metrics.csv, a worker that was late) the two differ.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqloom.tracking.stopwatch import REST, Lap

FIRST = ("data", "transfer", "learner")
LAST = ("optimizer", "callbacks", "logging", REST, "profiling")


@dataclass(frozen=True)
class Row:
    """A part of an update: milliseconds and calls an update, and its share (0..1) of all."""

    name: str
    mean_ms: float
    median_ms: float
    share: float
    calls: float


@dataclass(frozen=True)
class Operator:
    """One of torch's operators: own milliseconds and calls an update, share (0..1) of all."""

    name: str
    ms: float
    share: float
    calls: float


@dataclass(frozen=True)
class ProfileResult:
    """Of `num_updates` updates on `device`; `rates` are counts a second, as `Throughput`'s."""

    device: str
    num_updates: int
    mean_ms: float
    median_ms: float
    rates: dict[str, float]
    rows: list[Row]
    operators: list[Operator]

    @classmethod
    def of(
        cls,
        laps: Sequence[Lap],
        *,
        device: str,
        counts: Mapping[str, int],
        operators: Sequence[Operator],
        left_out: Sequence[str] = (),
    ) -> ProfileResult:
        """From one lap an update, at least one.

        Args:
            counts: what all updates together read.
            left_out: names that are not part of an update.
        """
        seconds = [
            {name: value for name, value in lap.seconds.items() if name not in left_out}
            for lap in laps
        ]
        totals = [sum(lap.values()) for lap in seconds]
        total, num = sum(totals) or 1e-9, len(laps)
        rows = []
        for name in _ordered(list(dict.fromkeys(name for lap in seconds for name in lap))):
            values = [lap.get(name, 0.0) for lap in seconds]
            rows.append(
                Row(
                    name=name,
                    mean_ms=1000 * sum(values) / num,
                    median_ms=1000 * statistics.median(values),
                    share=sum(values) / total,
                    calls=sum(lap.calls.get(name, 0) for lap in laps) / num,
                )
            )
        return cls(
            device=device,
            num_updates=num,
            mean_ms=1000 * sum(totals) / num,
            median_ms=1000 * statistics.median(totals),
            rates={f"{name}_per_s": count / total for name, count in sorted(counts.items())},
            rows=rows,
            operators=list(operators),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for profile.json."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """Two tables, and what was read a second."""
        head = f"{self.num_updates} updates on {self.device}"
        lines = [
            f"{head}: {self.mean_ms:.1f} ms each (median {self.median_ms:.1f})",
            _line("where the time goes", "ms", "median", "share", "calls"),
        ]
        for row in self.rows:
            ms, median = f"{row.mean_ms:.2f}", f"{row.median_ms:.2f}"
            lines.append(_line(row.name, ms, median, f"{row.share:.1%}", f"{row.calls:.3g}"))
        lines.append(_line("sum", f"{sum(row.mean_ms for row in self.rows):.2f}", "", "", ""))
        if self.operators:
            lines += ["", _line("largest operators", "ms", "", "share", "calls")]
        for each in self.operators:
            name = each.name if len(each.name) <= 40 else f"{each.name[:37]}..."
            lines.append(
                _line(name, f"{each.ms:.2f}", "", f"{each.share:.1%}", f"{each.calls:.3g}")
            )
        rates = [
            f"{rate:,.0f} {name.removesuffix('_per_s').replace('_', ' ')}"
            for name, rate in self.rates.items()
            if not name.endswith("_positions_per_s")
        ]
        return [*lines, "", f"a second: {', '.join(rates)}"]


def _ordered(names: list[str]) -> list[str]:
    """As an update runs: data, the parts forward in the order of their calls, backward, update."""
    middle = [name for name in names if name not in FIRST + LAST]
    forward = [name for name in middle if not name.endswith("backward")]
    backward = [name for name in middle if name.endswith("backward")]
    first, last = ([name for name in group if name in names] for group in (FIRST, LAST))
    return [*first, *forward, *backward, *last]


def _line(name: str, ms: str, median: str, share: str, calls: str) -> str:
    return f"  {name:<46}{ms:>9}{median:>9}{share:>8}{calls:>9}".rstrip()
