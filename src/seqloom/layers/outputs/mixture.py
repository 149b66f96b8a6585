"""Mixture of softmaxes (Yang et al. 2018): a word's distribution may have a high rank.

    p(w | h) = sum_k softmax(P h)_k softmax(z_k W^T + b)_w,    z_k = tanh(V_k h)

The product of one softmax has at most the rank of a readout. Price: K times the products of
`categorical`. The loss is computed a chunk of rows at a time, and again for the backward pass, so
that logits never exist as a whole.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seqloom.errors import ConfigError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs.base import Output, TokenLoss
from seqloom.layers.outputs.cross_entropy import scores_layer, scores_scale

_ROWS_PER_CHUNK = 128


class Mixture(Output):
    """One of V words.

    Args:
        input_size: D.
        output_size: V.
        embedding: shares its weight [V, D]; None for a weight of its own.
        num_mixtures: K.
    """

    reads: ClassVar[str] = "ids"

    def __init__(
        self,
        *,
        input_size: int,
        output_size: int,
        embedding: TokenEmbedding | None = None,
        num_mixtures: int = 4,
    ) -> None:
        super().__init__()
        if num_mixtures < 1:
            raise ConfigError(
                f"output.num_mixtures={num_mixtures}", "needs a softmax", "set 1 or more"
            )
        self.num_mixtures = num_mixtures
        self.prior = nn.Linear(input_size, num_mixtures)
        self.latent = nn.Linear(input_size, num_mixtures * input_size)
        self.projection = scores_layer(input_size, output_size)
        self.scale = scores_scale(input_size)
        if embedding is not None:
            self.projection.weight = embedding.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Log probabilities of all words."""
        prior = self.prior(hidden).float().log_softmax(dim=-1)
        latent = torch.tanh(self.latent(hidden)).unflatten(-1, (self.num_mixtures, -1))
        of_each = self.projection(latent * self.scale).float().log_softmax(dim=-1)
        return (of_each + prior.unsqueeze(-1)).logsumexp(dim=-2)

    def predict(self, hidden: Tensor) -> Tensor:
        return self.logits(hidden).argmax(dim=-1)

    def loss(self, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> TokenLoss:
        """With label smoothing (Szegedy et al. 2016)."""
        count = len(targets)
        missing = _ROWS_PER_CHUNK if count == 0 else -count % _ROWS_PER_CHUNK
        # Chunks of one size: a new number of rows costs more than rows of zeros.
        chunks = F.pad(hidden, (0, 0, 0, missing)).split(_ROWS_PER_CHUNK)
        sums = []
        for number, rows in enumerate(chunks):
            start = number * _ROWS_PER_CHUNK
            arguments = (rows, targets[start : start + _ROWS_PER_CHUNK], smoothing)
            if torch.is_grad_enabled():
                chunk = checkpoint(
                    self._sums, *arguments, use_reentrant=False, preserve_rng_state=False
                )
            else:
                chunk = self._sums(*arguments)
            sums.append(chunk)
        loss, nll = torch.stack(sums).sum(dim=0).unbind()
        return TokenLoss(loss, nll.detach(), count)

    def _sums(self, hidden: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """The smoothed and the plain loss of as many rows as there are targets, [2]."""
        log_probs = self.logits(hidden)[: len(targets)]
        nll = -log_probs.gather(1, targets.unsqueeze(1)).sum()
        if not smoothing:
            return torch.stack([nll, nll])
        even = -log_probs.sum() / log_probs.shape[1]
        return torch.stack([(1 - smoothing) * nll + smoothing * even, nll])
