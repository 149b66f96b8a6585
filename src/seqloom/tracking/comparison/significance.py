"""Whether two groups differ, for every pair of the best groups and every test metric.

The idea: the tests are those of `sweeps.statistics`, fed with the values of the runs and with sums
over the predictions they stored; what is shown and what is not comes back in words. Predictions
count only where they give the run's own score again: a file of another split, or a metric that is
made of more than texts, would test something else. The price: pairs grow with the square, so only
the best `MAX_GROUPS` groups of a task are held against each other, and the page says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from seqloom.errors import DataError
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

MAX_GROUPS = 10
TOLERANCE = 1e-4


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
            scores = [_scores(groups[place], metric, texts) for place in able]
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
    """Targets and predictions of runs, each file read once; sums of metrics over them."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[list[str], list[str]] | None] = {}

    def sums(self, run: ComparedRun, metric: Metric) -> ExampleSums | None:
        """Sums whose total is the run's own score, or None."""
        key = str(run.folder)
        if key not in self._texts:
            self._texts[key] = _read_texts(run)
        texts = self._texts[key]
        score = scores_of(run).get(metric.name)
        if texts is None or score is None:
            return None
        try:
            sums = metric_sums(metric.name.removeprefix("test/"), *texts)
        except DataError:
            return None
        if sums is None or not math.isclose(sums.total, score, rel_tol=TOLERANCE, abs_tol=1e-6):
            return None
        return sums


def _read_texts(run: ComparedRun) -> tuple[list[str], list[str]] | None:
    """(targets, predictions), or None where the file is absent or has a damaged line."""
    targets, predictions = [], []
    try:
        text = (run.folder / "predictions.jsonl").read_text(encoding="utf-8", errors="replace")
        # Not splitlines(): U+2028 and its like may stand unescaped inside a JSON string.
        for line in filter(str.strip, text.split("\n")):
            row = json.loads(line)
            targets.append(_text(row["target"]))
            predictions.append(_text(row["prediction"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (targets, predictions) if targets else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _scores(group: Group, metric: Metric, texts: _Predictions) -> GroupScores:
    runs = group.finished
    values = [scores_of(run).get(metric.name) for run in runs]
    numbers = [math.nan if value is None else value for value in values]
    found = [texts.sums(run, metric) for run in runs]
    sums = [item for item in found if item is not None]
    whole = sums if sums and len(sums) == len(runs) else None
    return GroupScores(group.label, group.seeds, numbers, whole)
