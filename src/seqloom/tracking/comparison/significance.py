"""Whether two groups differ, for every pair of the best groups and every test metric.

The idea: the tests are those of `sweeps.statistics`, fed with the values of the runs and with sums
over the predictions they stored (each file is read once, and only of groups that are tested); what
is shown and what is not comes back in words. The price: pairs grow with the square, so only the
best `MAX_GROUPS` groups of a task are held against each other, and the page says so.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from seqloom.runs.files import json_lines
from seqloom.sweeps.statistics import (
    ExampleSums,
    GroupScores,
    Verdict,
    compare_all,
    metric_sums,
)
from seqloom.tracking.comparison.groups import Group
from seqloom.tracking.comparison.runs import ComparedRun
from seqloom.tracking.comparison.scores import Metric, scores_of
from seqloom.tracking.report.run_data import text_of

MAX_GROUPS = 10
Texts = tuple[list[str], list[str]]  # targets, predictions


@dataclass(frozen=True)
class Comparison:
    """What is shown of two groups; `first` and `second` are their places in the list of groups."""

    metric: str
    first: int
    second: int
    verdict: Verdict


def compare(groups: Sequence[Group], metrics: Sequence[Metric]) -> tuple[list[Comparison], str]:
    """Every pair of the best groups (those first in `groups`) of one task, for each test metric;
    and a sentence on those that were left out, empty where none was."""
    found: list[Comparison] = []
    texts = _Predictions()
    cut = 0
    for task in dict.fromkeys(group.task for group in groups):
        for metric in metrics:
            able = [
                place
                for place, group in enumerate(groups)
                if group.task == task and metric.name in group.metrics
            ]
            cut = max(cut, len(able) - MAX_GROUPS)
            able = able[:MAX_GROUPS]
            scores = _scores([groups[place] for place in able], metric, texts)
            verdicts = compare_all(scores, metric.title, metric.mode)
            pairs = [(a, b) for k, a in enumerate(able) for b in able[k + 1 :]]
            found += [
                Comparison(metric.name, first, second, verdict)
                for (first, second), verdict in zip(pairs, verdicts, strict=True)
            ]
    words = (
        f"Only the best {MAX_GROUPS} groups are held against each other; {cut} more are not."
        if cut > 0
        else ""
    )
    return found, words


class _Predictions:
    """Targets and predictions of runs, each file read once."""

    def __init__(self) -> None:
        self._texts: dict[int, Texts | None] = {}

    def sums(self, runs: Sequence[ComparedRun], metric: Metric) -> list[ExampleSums | None]:
        """Of each run's predictions; None where there are none, or they do not tell the metric.

        Runs of one test set often say the same: what they say is cut into words once.
        """
        for run in runs:
            if id(run) not in self._texts:
                self._texts[id(run)] = _read_texts(run)
        texts = [self._texts[id(run)] for run in runs]
        places: dict[tuple[str, str], int] = {}
        rows = [
            [places.setdefault(pair, len(places)) for pair in zip(*both, strict=True)]
            for both in texts
            if both is not None
        ]
        if not rows:
            return [None] * len(runs)
        targets, predictions = zip(*places, strict=True)
        counted = metric_sums(metric.name.removeprefix("test/"), targets, predictions)
        if counted is None:
            return [None] * len(runs)
        left = iter(rows)
        return [
            None
            if both is None
            else replace(counted, values=counted.values[next(left)], examples=_digest(both[0]))
            for both in texts
        ]


def _read_texts(run: ComparedRun) -> Texts | None:
    """(targets, predictions), or None where the file is absent or has a damaged line."""
    targets, predictions = [], []
    try:
        text = (run.folder / "predictions.jsonl").read_text(encoding="utf-8", errors="replace")
        for line in json_lines(text):
            row = json.loads(line)
            targets.append(text_of(row["target"]))
            predictions.append(text_of(row["prediction"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (targets, predictions) if targets else None


def _digest(targets: Sequence[str]) -> str:
    """Tells test sets apart."""
    return hashlib.sha256(json.dumps(targets).encode()).hexdigest()


def _scores(
    groups: Sequence[Group], metric: Metric, predictions: _Predictions
) -> list[GroupScores]:
    sums = iter(predictions.sums([run for group in groups for run in group.finished], metric))
    scores = []
    for group in groups:
        values = [scores_of(run).get(metric.name) for run in group.finished]
        numbers = [math.nan if value is None else value for value in values]
        own = [next(sums) for _ in numbers]
        scores.append(GroupScores(group.label, group.seeds, numbers, own))
    return scores
