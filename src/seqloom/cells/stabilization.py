"""What the two cells with exponential gates (xLSTM) share: memories whose numbers are scaled.

A part of the state stands for part * exp(m), where m, the last part, is the stabiliser. So two
states are mixed only after they have been brought to the same m.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqloom.cells.base import State
from seqloom.errors import ConfigError


def zone_out(masks: Sequence[Tensor], old: State, new: State) -> State:
    """What `old` and `new` stand for, mixed by `masks` (1: the old value); parts [N, k * S] and
    last the stabiliser [N, S], whose own mask is not read."""
    stabilizer = torch.maximum(old[-1], new[-1])
    scale_old, scale_new = torch.exp(old[-1] - stabilizer), torch.exp(new[-1] - stabilizer)
    parts = []
    for mask, before, after in zip(masks[:-1], old[:-1], new[:-1], strict=True):
        repeats = before.shape[1] // stabilizer.shape[1]
        before = before * scale_old.repeat_interleave(repeats, dim=1)
        after = after * scale_new.repeat_interleave(repeats, dim=1)
        parts.append(after + mask * (before - after))
    return *parts, stabilizer


def check_heads(
    hidden_size: int, num_heads: int, forget_bias_min: float, forget_bias_max: float
) -> None:
    """Raises:
    ConfigError: heads that do not divide the hidden size, or bounds in the wrong order.
    """
    if num_heads < 1 or hidden_size % num_heads:
        raise ConfigError(
            f"cell.num_heads={num_heads}",
            f"does not divide the hidden size, {hidden_size}",
            "set a divisor of it",
        )
    if forget_bias_min > forget_bias_max:
        raise ConfigError(
            f"cell.forget_bias_min={forget_bias_min}",
            f"is above cell.forget_bias_max={forget_bias_max}",
            "set it no larger than that",
        )
