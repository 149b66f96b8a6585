"""`Prediction`: what a learner's test step says of one example, and those of all ranks together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.distributed as dist


@dataclass(frozen=True)
class Prediction:
    """One example, as text.

    Attributes:
        index: its position in its split, the same on every rank.
        input, target: the untouched lines of the data.
        prediction: what the model wrote.
        score: what the search ranked it by (0 for a greedy answer's unscored form).
        num_input_tokens: length of the input in tokens, end symbol included.
    """

    index: int
    input: str
    target: str
    prediction: str
    score: float
    num_input_tokens: int


def gather_predictions(own: Sequence[Prediction]) -> list[Prediction]:
    """The predictions of all ranks, each example once, in the order of the data."""
    parts: list[Sequence[Prediction]] = [own]
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        parts = [()] * dist.get_world_size()
        dist.all_gather_object(parts, list(own))
    by_index = {prediction.index: prediction for part in parts for prediction in part}
    return [by_index[index] for index in sorted(by_index)]
