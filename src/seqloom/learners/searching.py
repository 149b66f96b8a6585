"""What `decoding=` gives, and how learners use it."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from seqloom.decoding.protocol import Decodable, Hypothesis
from seqloom.sequences import Padded


class Search(Protocol):
    """Finds outputs of anything `Decodable`."""

    def greedy(self) -> Search:
        """The greedy search under the same limits."""
        ...

    def __call__(
        self,
        model: Decodable[Any],
        source: Padded,
        *,
        num_best: int = 1,
        with_attention: bool = False,
    ) -> list[list[Hypothesis]]: ...


def find(
    search: Search,
    model: Decodable[Any],
    source: Padded,
    *,
    num_best: int = 1,
    with_attention: bool = False,
) -> list[list[Hypothesis]]:
    """Searches in float32, whatever training computes in.

    A sentence alone and in a batch of 64 goes through other kernels; in bfloat16 their rounding
    could decide between two words.
    """
    with torch.autocast(source.values.device.type, enabled=False):
        return search(model, source, num_best=num_best, with_attention=with_attention)
