"""Token embeddings whose weight may also be that of an output layer.

The weight starts at N(0, 1 / E), right for scores, and what is looked up is scaled by sqrt(E)
(Vaswani et al. 2017, section 3.4), so that a recurrent layer reads inputs of unit variance from
the first step on. Without the scale a translation model on Multi30k is three times as slow to
leave its first plateau.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TokenEmbedding(nn.Module):
    """Ids to features.

    Args:
        vocab_size: V.
        size: E.
    """

    def __init__(self, *, vocab_size: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, size) / math.sqrt(size))

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [...] int64 -> [..., E], about unit variance at the start."""
        return F.embedding(ids, self.weight) * math.sqrt(self.weight.shape[1])
