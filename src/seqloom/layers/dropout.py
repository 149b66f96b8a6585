"""Dropouts that know time.

`SequenceDropout` draws every element anew; with `locked`, one mask a sequence is used at all its
steps (variational dropout, Gal and Ghahramani 2016), which spares a recurrent network noise that
changes at each step. Price: a model that is trained step by step draws a mask at each step even so.
"""

from __future__ import annotations

import copy
from typing import Self

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
        self._keeps_mask = False
        self._mask: Tensor | None = None

    def for_slices(self) -> Self:
        """This dropout for one batch of sequences that comes in slices of time: with `locked` the
        mask drawn for the first slice is that of all."""
        dropout = copy.copy(self)
        dropout._keeps_mask = True
        return dropout

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return values
        if not self.locked or values.ndim == 2:
            return F.dropout(values, self.probability)
        if self._mask is not None:
            return values * self._mask
        shape = (values.shape[0], 1, values.shape[2], *[1] * (values.ndim - 3))
        mask = F.dropout(values.new_ones(shape), self.probability)
        if self._keeps_mask:
            self._mask = mask
        return values * mask
