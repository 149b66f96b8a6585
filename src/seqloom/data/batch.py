"""The batch of a problem with text on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqloom.sequences import Padded


@dataclass(frozen=True)
class PairBatch:
    """B source and target sequences.

    Attributes:
        index: [B] int64 on the CPU, the position of each pair in its split: its identity over
            ranks.
        source: ids [B, S], each row ending with the end symbol.
        target: ids [B, T], each row ending with the end symbol, without a begin symbol.
        source_text, target_text: the untouched lines, for scores; empty tuples in training.
    """

    index: Tensor
    source: Padded
    target: Padded
    source_text: tuple[str, ...] = ()
    target_text: tuple[str, ...] = ()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PairBatch:
        return PairBatch(
            self.index,
            self.source.to(device, non_blocking),
            self.target.to(device, non_blocking),
            self.source_text,
            self.target_text,
        )

    def pin_memory(self) -> PairBatch:
        return PairBatch(
            self.index,
            self.source.pin_memory(),
            self.target.pin_memory(),
            self.source_text,
            self.target_text,
        )
