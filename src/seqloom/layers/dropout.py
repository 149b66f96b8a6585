"""Dropouts that know time.

`SequenceDropout` draws every element anew; with `locked`, one mask a sequence is used at all its
steps (variational dropout, Gal and Ghahramani 2016), which spares a recurrent network noise that
changes at each step. Price: a model that is trained step by step draws a mask at each step even so.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SequenceDropout(nn.Module):
    """Dropout on [B, T, F, ...] or, for one step of features, [N, F].

    Args:
        probability: the chance that an element is zeroed; the others are scaled by 1 / (1 -
            probability), so that the expectation is the input. Off in evaluation.
        locked: one mask [B, 1, F] for all steps of a sequence (and for whole feature maps, where
            features have further axes). A single step [N, F] draws its own.
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
        shape = (values.shape[0], 1, values.shape[2], *[1] * (values.ndim - 3))
        return values * F.dropout(values.new_ones(shape), self.probability)
