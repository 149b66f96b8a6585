"""`compare`: whether two runs came to the same, bit for bit, and what differs where they did not.

The idea: what a clock measured is left out, everything else must be equal: the weights of every
checkpoint, each row of metrics.csv, each line of predictions.jsonl, scores, steps and fingerprints
in the summary. A difference is one line that names the file, how much differs, and the first place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from seqloom.commands.loading import read_checkpoint
from seqloom.runs import RunFolder, read_metrics

CHECKPOINTS = ("best.ckpt", "last.ckpt", "average.ckpt")
FACTS = ("steps", "epochs", "metrics", "fingerprints")
_NO_ROW: dict[str, float] = {}


@dataclass
class Comparison:
    """How much was compared, and a line for each difference; none: the runs are the same."""

    num_tensors: int = 0
    num_rows: int = 0
    num_predictions: int = 0
    differences: list[str] = field(default_factory=list)


def compare(then: RunFolder, now: RunFolder, *, up_to: int | None = None) -> Comparison:
    """Compares two runs.

    Args:
        up_to: compare only the state after so many updates, for a run that was interrupted then:
            weights of last.ckpt, and the metrics that `then` logged before.

    Raises DataError where a checkpoint is damaged.
    """
    found = Comparison()
    for name in CHECKPOINTS if up_to is None else ("last.ckpt",):
        _compare_weights(found, name, then, now)
    _compare_metrics(found, then, now, up_to)
    if up_to is None:
        _compare_predictions(found, then, now)
        before, after = then.read_summary(), now.read_summary()
        best = [{key: run.best.get(key) for key in ("score", "step")} for run in (before, after)]
        found.differences += _facts("summary.json: best", *best)
        for name in FACTS:
            found.differences += _facts(
                f"summary.json: {name}", getattr(before, name), getattr(after, name)
            )
    return found


def _compare_weights(found: Comparison, name: str, then: RunFolder, now: RunFolder) -> None:
    paths = [run.checkpoints / name for run in (then, now)]
    there = [path.is_file() for path in paths]
    if not all(there):
        if any(there):
            found.differences.append(f"checkpoints/{name}: only {_side(there[0])}")
        return
    before, after = (read_checkpoint(path)["state_dict"] for path in paths)
    names = list(before | after)
    found.num_tensors += len(names)
    different = [key for key in names if not _same(before.get(key), after.get(key))]
    if different:
        largest, key = max((_distance(before.get(key), after.get(key)), key) for key in different)
        how = f"by {largest:.1e} of its largest value" if isfinite(largest) else "beyond measure"
        found.differences.append(
            f"checkpoints/{name}: {len(different)} of {len(names)} tensors differ, "
            f"{key} most, {how}"
        )


def _same(left: object, right: object) -> bool:
    """Whether two values of a state are equal, bit for bit."""
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
        return repr(left) == repr(right)
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    # As bytes, so that NaN equals itself, and -0 does not equal 0.
    return torch.equal(*(t.contiguous().flatten().view(torch.uint8) for t in (left, right)))


def _distance(left: object, right: object) -> float:
    """The largest difference, as a part of the largest value; infinite where none can be told."""
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)) or left.shape != right.shape:
        return float("inf")
    a, b = left.double(), right.double()
    distance = float((a - b).abs().max() / a.abs().max().clamp(min=torch.finfo(a.dtype).tiny))
    return distance if distance == distance else float("inf")


def _compare_metrics(found: Comparison, then: RunFolder, now: RunFolder, up_to: int | None) -> None:
    before, after = ([_timeless(row) for row in read_metrics(run.metrics)] for run in (then, now))
    if up_to is not None:
        # Where it was stopped again, a validation follows that the interrupted run did not have.
        before = [row for row in before if row["step"] < up_to]
        at = {row["step"]: row for row in after}
        after = [
            {name: value for name, value in at.get(row["step"], {}).items() if name in row}
            for row in before
        ]
    found.num_rows = len(before)
    different = [
        difference
        for left, right in zip_longest(before, after, fillvalue=_NO_ROW)
        if (difference := next(_values(left, right), None)) is not None
    ]
    if different:
        found.differences.append(
            f"metrics.csv: {len(different)} of {max(len(before), len(after))} rows, "
            f"first {different[0]}"
        )


def _timeless(row: Mapping[str, float]) -> dict[str, float]:
    return {k: v for k, v in row.items() if k != "seconds" and not k.endswith("_per_s")}


def _values(left: Mapping[str, float], right: Mapping[str, float]) -> Iterator[str]:
    step = f"step {(left or right)['step']:.0f}"
    if not left or not right:
        yield f"{step}, only {_side(bool(left))}"
    for name in {**left, **right}:
        if repr(left.get(name)) != repr(right.get(name)):
            yield f"{step}, {name}: {left.get(name)} then, {right.get(name)} now"


def _compare_predictions(found: Comparison, then: RunFolder, now: RunFolder) -> None:
    before, after = (_lines(run) for run in (then, now))
    found.num_predictions = len(before)
    different = [
        number
        for number, (left, right) in enumerate(zip_longest(before, after), start=1)
        if left != right
    ]
    if different:
        found.differences.append(
            f"predictions.jsonl: {len(different)} of {max(len(before), len(after))} lines, "
            f"first line {different[0]}"
        )


def _lines(run: RunFolder) -> list[bytes]:
    return run.predictions.read_bytes().splitlines() if run.predictions.is_file() else []


def _facts(name: str, left: Any, right: Any) -> Iterator[str]:
    """Lines for the values of two summaries that are not the same."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            if not str(key).endswith("_per_s"):
                yield from _facts(f"{name} {key}", left.get(key), right.get(key))
    elif repr(left) != repr(right):
        yield f"{name}: {left} then, {right} now"


def _side(is_then: bool) -> str:
    return "then" if is_then else "now"
