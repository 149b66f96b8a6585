"""Scores of single elements: ids at every step, one class an example, vectors of numbers.

The idea: a score is kept as sums and counts, which add up over batches and ranks, and divided once
at the end; so padding, batch sizes and the number of processes leave no trace. Each class tells
`loss`, the mean negative log likelihood of an element, and the scores in its `names`. The price: no
score that needs all examples at once (BLEU: `metrics.translation`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from seqloom.sequences import Padded


class MeanLoss(Metric):
    """Nats an element over everything seen since `reset`; the part that all scores share.

    Attributes:
        names: what `compute` tells beside `loss`.
        signatures: how a score was computed, of those that have such a thing; known after
            `compute`.
    """

    full_state_update = False
    names: tuple[str, ...] = ()
    nll: Tensor
    num_elements: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.signatures: dict[str, str] = {}
        self._add_sum("nll", torch.float64)
        self._add_sum("num_elements")

    def update(self, nll: Tensor, num_elements: int, *rest: Any) -> None:
        """Adds the sum `nll` over `num_elements` elements."""
        self.nll += nll.detach()
        self.num_elements += num_elements

    def compute(self) -> dict[str, float]:
        """Every score by name; `loss` is NaN when nothing was seen."""
        return {"loss": float(self.nll / self.num_elements)}

    def _add_sum(self, name: str, dtype: torch.dtype = torch.int64, *shape: int) -> None:
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")


class StepScores(MeanLoss):
    """Of sequences of ids, predicted step by step.

    `accuracy` is the share of right steps, `exact_match` the share of rows whose steps are all
    right (a row without steps is), `bits_per_token` the loss in bits, `perplexity` its exponential.

    Args:
        names: which of these are told.
    """

    num_right: Tensor
    num_rows: Tensor
    num_exact: Tensor

    def __init__(self, *, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        for name in ("num_right", "num_rows", "num_exact"):
            self._add_sum(name)

    def update(self, nll: Tensor, num_elements: int, predicted: Tensor, target: Padded) -> None:
        """Adds ids `predicted` [B, T] for `target` [B, T], and the loss of all real steps."""
        super().update(nll, num_elements)
        wrong = ((predicted != target.values) & target.mask()).sum(dim=1)
        self.num_right += target.num_elements - wrong.sum()
        self.num_exact += (wrong == 0).sum()
        self.num_rows += target.batch_size

    def compute(self) -> dict[str, float]:
        loss = super().compute()["loss"]
        scores = {
            "perplexity": perplexity(loss),
            "bits_per_token": loss / math.log(2),
            "accuracy": float(self.num_right / self.num_elements),
            "exact_match": float(self.num_exact / self.num_rows),
        }
        return {"loss": loss, **{name: scores[name] for name in self.names}}


class ClassScores(MeanLoss):
    """Of one class for each example.

    `f1` is the mean, over the classes that occur in targets or predictions, of 2 TP / (2 TP + FP +
    FN).

    Args:
        num_classes: C.
    """

    names: tuple[str, ...] = ("accuracy", "f1")
    counts: Tensor

    def __init__(self, *, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self._add_sum("counts", torch.int64, 3, num_classes)

    def update(self, nll: Tensor, num_elements: int, predicted: Tensor, target: Tensor) -> None:
        """Adds ids `predicted` and `target`, both [B]."""
        super().update(nll, num_elements)
        counted = (predicted[predicted == target], predicted, target)
        self.counts += torch.stack([_count(ids, self.num_classes) for ids in counted])

    def compute(self) -> dict[str, float]:
        right, predicted, actual = self.counts.double()
        occurs = predicted + actual > 0
        f1 = 2 * right[occurs] / (predicted + actual)[occurs]
        accuracy = float(right.sum() / actual.sum())
        return {**super().compute(), "accuracy": accuracy, "f1": float(f1.mean())}


class VideoScores(ClassScores):
    """Of one class for each clip; `frame_accuracy` is the share of clips that a classifier of
    single frames gets right.

    Args:
        num_classes: C.
        has_frame_answers: whether there is such a classifier; else its score is not told.
    """

    num_frame_right: Tensor

    def __init__(self, *, num_classes: int, has_frame_answers: bool) -> None:
        super().__init__(num_classes=num_classes)
        self._add_sum("num_frame_right")
        if has_frame_answers:
            self.names = (*self.names, "frame_accuracy")

    def update_frames(self, predicted: Tensor, target: Tensor) -> None:
        """Adds what single frames say: ids `predicted` and `target`, both [B]; beside `update`."""
        self.num_frame_right += (predicted == target).sum()

    def compute(self) -> dict[str, float]:
        scores = super().compute()
        if "frame_accuracy" in self.names:
            scores["frame_accuracy"] = float(self.num_frame_right.double() / self.num_elements)
        return scores


class NumberScores(MeanLoss):
    """Of vectors of numbers: `mse` and `mae` are means over all numbers of all valid elements."""

    names = ("mse", "mae")
    squared: Tensor
    absolute: Tensor
    num_numbers: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._add_sum("squared", torch.float64)
        self._add_sum("absolute", torch.float64)
        self._add_sum("num_numbers")

    def update(self, nll: Tensor, num_elements: int, predicted: Tensor, target: Tensor) -> None:
        """Adds `predicted` and `target`, both [M, F], without padding."""
        super().update(nll, num_elements)
        errors = predicted.double() - target.double()
        self.squared += errors.square().sum()
        self.absolute += errors.abs().sum()
        self.num_numbers += errors.numel()

    def compute(self) -> dict[str, float]:
        mse, mae = self.squared / self.num_numbers, self.absolute / self.num_numbers
        return {**super().compute(), "mse": float(mse), "mae": float(mae)}


def perplexity(nats: float) -> float:
    """exp of nats a token; infinite instead of an overflow."""
    return math.exp(nats) if nats < 700 else math.inf


def _count(ids: Tensor, num_classes: int) -> Tensor:
    return torch.bincount(ids.reshape(-1), minlength=num_classes)
