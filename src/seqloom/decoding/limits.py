"""How long an output may be, relative to its source.

Every length of this room, of source and output alike, counts the end symbol.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqloom.errors import ConfigError

ROUNDING_SLACK = 1e-9  # 0.1 * 30 is a little more than 3 in floating point


@dataclass(frozen=True)
class LengthLimits:
    """Shortest and longest output of each row.

    Attributes:
        max_length_ratio, max_length_offset: an output has at most ratio * source length + offset
            tokens, rounded down; the least maximum is one.
        min_length_ratio: and at least ratio * source length, rounded up, as far as the maximum
            allows.
    """

    max_length_ratio: float
    max_length_offset: int
    min_length_ratio: float

    def __post_init__(self) -> None:
        for name in ("max_length_ratio", "max_length_offset", "min_length_ratio"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{name}={getattr(self, name)}",
                    "a length is never negative",
                    "set it to 0 or more",
                )
        if self.max_length_ratio == 0 and self.max_length_offset == 0:
            raise ConfigError(
                "max_length_ratio=0",
                "with max_length_offset=0 nothing can be written",
                "raise one of them",
            )

    def of(self, source_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Minimum and maximum, both [B] int64, for `source_lengths` [B]."""
        lengths = source_lengths.to(torch.float64)
        longest = lengths * self.max_length_ratio + self.max_length_offset
        longest = (longest + ROUNDING_SLACK).floor().long().clamp(min=1)
        shortest = (lengths * self.min_length_ratio - ROUNDING_SLACK).ceil().long()
        return torch.minimum(shortest, longest), longest
