"""Runs with equal settings, and any seed, as one group: what a method is worth, not one run.

The idea: a repeat over seeds is the normal case, so the unit of a comparison is the group. Only
finished runs have a say in its numbers: one that was stopped early has scores of another training.
Failed ones are counted apart, for a method that fails in half of its runs is not a good one. Every
run is in exactly one group, or in none because its config could not be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from seqloom.sweeps.statistics.description import Description, describe
from seqloom.tracking.comparison.runs import ComparedRun
from seqloom.tracking.comparison.scores import Metric, scores_of
from seqloom.tracking.comparison.settings import Row, Settings, words_of


@dataclass(eq=False)
class Group:
    """Runs of one group.

    Attributes:
        label: what sets it apart, as on a command line ("cell=gru unrolling=static").
        metrics: of the finished runs, by metric; those of which there is a value.
    """

    label: str
    task: str
    settings: Row
    runs: list[ComparedRun]
    metrics: dict[str, Description] = field(default_factory=dict)

    @property
    def finished(self) -> list[ComparedRun]:
        return [run for run in self.runs if run.status == "finished"]

    @property
    def num_failed(self) -> int:
        return sum(run.status == "failed" for run in self.runs)

    @property
    def seeds(self) -> list[int | None]:
        """Of the finished runs."""
        return [run.seed for run in self.finished]


def make_groups(
    runs: Sequence[ComparedRun],
    settings: Settings,
    keys: Sequence[str],
    metrics: Sequence[Metric],
    main: Metric | None,
) -> list[Group]:
    """Groups of the runs whose `keys` and task are equal; task by task, the best mean of `main`
    first, those without one last."""
    found: dict[tuple[str, ...], Group] = {}
    for run in runs:
        if settings.known(run):
            row = settings.of(run, keys)
            key = (run.task, *(repr(row.get(name)) for name in keys))
            label = " ".join(f"{name}={words_of(value)}" for name, value in row.items())
            group = found.setdefault(key, Group(label or f"task={run.task}", run.task, row, []))
            group.runs.append(run)
    for group in found.values():
        for metric in metrics:
            values = [scores_of(run).get(metric.name) for run in group.finished]
            numbers = [value for value in values if value is not None]
            if numbers:
                group.metrics[metric.name] = describe(numbers, metric.mode)
    return sorted(found.values(), key=lambda group: _badness(group, main))


def _badness(group: Group, main: Metric | None) -> tuple[str, float, str]:
    mean = group.metrics[main.name].mean if main and main.name in group.metrics else None
    if mean is None or main is None:
        return (group.task, math.inf, group.label)
    return (group.task, mean if main.mode == "min" else -mean, group.label)
