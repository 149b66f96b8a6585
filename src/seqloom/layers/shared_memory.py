"""A memory that the hypotheses of a search read without a copy each.

N = B * K rows read B sentences, row n the sentence n // K. Beams come and go inside their
sentence, which leaves the memory as it is; only when sentences leave the batch, or rows are mixed
freely, is it gathered anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqloom.layers.attention import Attention, Memory


@dataclass(frozen=True)
class SharedMemory:
    """Memory of B sentences and the number of rows K that read each of them."""

    memory: Memory
    num_rows_each: int = 1

    def attend(self, attention: Attention, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [N, Q] -> contexts [N, C] and weights [N, S]."""
        grouped = queries.unflatten(0, (-1, self.num_rows_each))
        contexts, weights = attention(grouped, self.memory)
        return contexts.flatten(0, 1), weights.flatten(0, 1)

    def select(self, rows: Tensor) -> SharedMemory:
        """The memory that rows [M] (indices into N, repeats allowed) read, in that order."""
        sentences = rows // self.num_rows_each
        kept, counts = torch.unique_consecutive(sentences, return_counts=True)
        num_rows_each = int(counts[0]) if len(counts) else 1
        if len(counts) == 0 or not bool((counts == num_rows_each).all()):
            return SharedMemory(self.memory.select(sentences))
        if len(kept) == len(self.memory.keys) and bool((kept.diff() > 0).all()):
            return SharedMemory(self.memory, num_rows_each)
        return SharedMemory(self.memory.select(kept), num_rows_each)
