"""Dropouts that know time.

`Dropout` draws every element anew; with `locked`, one mask a sequence is used at all its steps
(variational dropout, Gal and Ghahramani 2016), which spares a recurrent network noise that changes
at each step.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SequenceDropout(nn.Module):
    """Dropout on [B, T, F] or, for one step, [N, F].

    Args:
        probability: the chance that an element is zeroed; the others are scaled by 1 / (1 -
            probability).
        locked: one mask [B, 1, F] for all steps of a sequence. A single step [N, F] draws its own.
    """

    def __init__(self, *, probability: float, locked: bool) -> None:
        super().__init__()
        self.probability = probability
        self.locked = locked

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return values
        if not self.locked or values.ndim == 2:
            return F.dropout(values, self.probability)
        mask = F.dropout(values.new_ones(values.shape[0], 1, values.shape[2]), self.probability)
        return values * mask
