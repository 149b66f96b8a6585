"""Classes: which are taken for which, and how well each is found.

The idea: everything is counted from predictions.jsonl, whose lines are the test split, so that the
table and the scores at the top of the page can be held against each other. Rows are targets,
columns predictions; a shade only repeats what the number in the cell says.
The price: above 40 classes no matrix, but the pairs that are confused most, and of the classes
those with the lowest F1. Refuses runs whose predictions are numbers or texts.
"""

import re
from collections import Counter
from typing import Any, NamedTuple

from seqloom.tracking.report.run_data import RunData
from seqloom.tracking.report.templating import Section, metric, render

CLASS_TOPOLOGIES = ("sequence_to_vector", "video_classifier")
MAX_CLASSES = 40
MAX_PAIRS = 30


class ClassScore(NamedTuple):
    """Scores of a class, 0 to 1; None where nothing is divided."""

    name: str
    precision: float | None
    recall: float | None
    f1: float
    num_examples: int


def classes(run: RunData) -> Section | None:
    """The confusion matrix and the scores of each class; None for other kinds of predictions."""
    if run.setting("task", "topology") not in CLASS_TOPOLOGIES or _tells_numbers(run):
        return None
    counts = Counter((row.target, row.prediction) for row in run.predictions)
    names = sorted({name for pair in counts for name in pair}, key=_natural)
    scores = class_scores(names, counts)
    is_small = len(names) <= MAX_CLASSES
    if not is_small:
        scores = sorted(scores, key=lambda score: score.f1)[:MAX_CLASSES]
    values = {
        "num_predictions": len(run.predictions),
        "num_right": sum(num for (target, output), num in counts.items() if target == output),
        "accuracy": _test_metric(run, "test/accuracy"),
        "frame_accuracy": _test_metric(run, "test/frame_accuracy"),
        "names": names,
        "rows": [_row(name, names, counts) for name in names] if is_small else [],
        "pairs": _most_confused(counts),
        "scores": [_words(score) for score in scores],
        "max_classes": MAX_CLASSES,
        "file_exists": (run.folder / "predictions.jsonl").is_file(),
        "why_missing": run.why_missing(),
    }
    return Section("Classes", render("classes.html", values), "classes")


def class_scores(names: list[str], counts: Counter[tuple[str, str]]) -> list[ClassScore]:
    """Of each class, from the number of examples by (target, prediction)."""
    actual, predicted = _totals(counts)
    return [
        ClassScore(
            name=name,
            precision=counts[name, name] / predicted[name] if predicted[name] else None,
            recall=counts[name, name] / actual[name] if actual[name] else None,
            f1=2 * counts[name, name] / (actual[name] + predicted[name]),
            num_examples=actual[name],
        )
        for name in names
    ]


def _totals(counts: Counter[tuple[str, str]]) -> tuple[Counter[str], Counter[str]]:
    """(examples by target, examples by prediction)."""
    actual: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    for (target, output), num in counts.items():
        actual[target] += num
        predicted[output] += num
    return actual, predicted


def _tells_numbers(run: RunData) -> bool:
    names = [*run.section("metrics"), *run.metrics]
    return any(name.endswith("/mse") for name in names)


def _test_metric(run: RunData, name: str) -> str | None:
    value = run.section("metrics").get(name)
    # Both in the digits of an accuracy, as they are there to be compared.
    return None if value is None else metric(value, "accuracy")


def _row(target: str, names: list[str], counts: Counter[tuple[str, str]]) -> dict[str, Any]:
    """One target's row: for each prediction (count, percent, shade 0..1, whether it is right)."""
    total = sum(counts[target, name] for name in names)
    cells = []
    for name in names:
        num = counts[target, name]
        share = num / total if total else 0.0
        # The root lifts the few errors of a good classifier out of the ground.
        cells.append((num, _percent(share) if num else "", f"{share**0.5:.2f}", name == target))
    return {"name": target, "cells": cells, "total": total}


def _words(score: ClassScore) -> dict[str, str]:
    parts = {"precision": score.precision, "recall": score.recall, "f1": score.f1}
    words = {key: "\u2013" if part is None else f"{part:.3f}" for key, part in parts.items()}
    return words | {"name": score.name, "num_examples": f"{score.num_examples:,}"}


def _most_confused(counts: Counter[tuple[str, str]]) -> list[tuple[str, str, str, str]]:
    """(target, prediction, count, percent of the target's examples), the most frequent first."""
    totals, _ = _totals(counts)
    wrong = [(pair, num) for pair, num in counts.items() if pair[0] != pair[1]]
    wrong.sort(key=lambda item: (-item[1], -item[1] / totals[item[0][0]], item[0]))
    return [
        (target, output, f"{num:,}", _percent(num / totals[target]))
        for (target, output), num in wrong[:MAX_PAIRS]
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that puts 2 before 10."""
    parts = re.findall(r"\d{1,18}|\D+|\d+", name)
    return [(0, int(p), "") if p.isdecimal() and len(p) < 19 else (1, 0, p) for p in parts]
