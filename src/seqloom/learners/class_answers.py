"""The classes of each example of a batch as answers, the likeliest first."""

from __future__ import annotations

from torch import Tensor

from seqloom.data.spec import Side
from seqloom.learners.answers import Answer


def ranked_classes(side: Side, logits: Tensor, num_best: int) -> list[list[Answer]]:
    """Logits [B, C] -> for each row at most `num_best` classes with their probabilities as
    scores."""
    log_probs = logits.float().log_softmax(dim=-1).cpu()
    values, ids = log_probs.sort(dim=-1, descending=True, stable=True)
    count = min(num_best, log_probs.shape[-1])
    return [
        [
            Answer(side.format(ids[row, rank]), float(value.exp()), float(value))
            for rank, value in enumerate(values[row, :count])
        ]
        for row in range(len(log_probs))
    ]
