"""The softmax over a vocabulary.

One matrix compares a readout with every word; it may be that of the embedding. Its loss is computed
in chunks (`cross_entropy`), so that logits of a batch never exist as a whole.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs.base import Output, TokenLoss
from seqloom.layers.outputs.cross_entropy import cross_entropy, scores_layer, scores_scale


class Categorical(Output):
    """One of V words.

    Args:
        input_size: D.
        output_size: V.
        embedding: shares its weight [V, D] (Press and Wolf 2017); None for a weight of its own.
    """

    reads: ClassVar[str] = "ids"

    def __init__(
        self, *, input_size: int, output_size: int, embedding: TokenEmbedding | None = None
    ) -> None:
        super().__init__()
        self.projection = scores_layer(input_size, output_size)
        self.scale = scores_scale(input_size)
        if embedding is not None:
            self.projection.weight = embedding.weight

    def logits(self, hidden: Tensor) -> Tensor:
        return self.projection(hidden * self.scale).float()

    def predict(self, hidden: Tensor) -> Tensor:
        return self.logits(hidden).argmax(dim=-1)

    def loss(self, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> TokenLoss:
        """With label smoothing (Szegedy et al. 2016)."""
        loss, nll = cross_entropy(hidden * self.scale, self.projection, targets, smoothing)
        return TokenLoss(loss, nll, len(targets))
