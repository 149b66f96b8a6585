"""An output layer over padded sequences: its loss, and what it predicts.

Where steps are independent of each other, only real ones go through the layer for a loss, and a few
at a time for predictions, so that logits never exist as a whole; an output over whole sequences
knows lengths itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqloom.layers.outputs import Output, SequenceOutput, TokenLoss
from seqloom.sequences import Padded

_ROWS_PER_CHUNK = 1024


def sequence_loss(
    output: Output | SequenceOutput, hidden: Padded, target: Padded, *, smoothing: float = 0.0
) -> TokenLoss:
    """Sums over the real steps of `target` [B, T, ...], given readouts `hidden` [B, T, D]."""
    if isinstance(output, SequenceOutput):
        return output.loss(hidden, target, smoothing=smoothing)
    return output.loss(*real_steps(hidden, target), smoothing=smoothing)


def predicted_sequence(output: Output | SequenceOutput, hidden: Padded) -> Padded:
    """What `output` takes for the targets of readouts [B, T, D]; of the same lengths, unspecified
    on padding."""
    if isinstance(output, SequenceOutput):
        return output.predict(hidden)
    rows = hidden.values.flatten(0, 1).split(_ROWS_PER_CHUNK)
    predicted = torch.cat([output.predict(chunk) for chunk in rows])
    return hidden.with_values(predicted.unflatten(0, hidden.values.shape[:2]))


def real_steps(hidden: Padded, target: Padded) -> tuple[Tensor, Tensor]:
    """The steps of both without padding, [M, ...]."""
    if target.is_full:
        return hidden.values.flatten(0, 1), target.values.flatten(0, 1)
    mask = target.mask()
    return hidden.values[mask], target.values[mask]
