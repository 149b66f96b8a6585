"""Adaptive softmax (Grave et al. 2017): most of a large vocabulary is looked at only when needed.

    p(w) = p_head(w)                      w < c_1, the frequent words
    p(w) = p_head(tail k) p_k(w)          c_k <= w < c_{k+1}, through a smaller projection

The assumption: a smaller id is a more frequent word, which holds for vocabularies of words and
characters, and nearly for subwords (merges, and pieces by score). Price: rare words share a small
space. Refuses label smoothing, and a weight shared with an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from seqloom.errors import ConfigError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs.base import Output, TokenLoss, refuse_smoothing, refuse_tie
from seqloom.layers.outputs.cross_entropy import cross_entropy, scores_layer, scores_scale


class Adaptive(Output):
    """One of V words, the frequent ones first.

    Args:
        input_size: D.
        output_size: V.
        embedding: must be None.
        cutoffs: ids at which a new tail begins, ascending, each in 1..V - 1; None: V / 10 and V /
            3.
        shrink: tail k reads D / shrink^k features, at least one.

    Raises:
        ConfigError: cutoffs that do not divide the vocabulary, an embedding.
    """

    reads: ClassVar[str] = "ids"

    def __init__(
        self,
        *,
        input_size: int,
        output_size: int,
        embedding: TokenEmbedding | None = None,
        cutoffs: Sequence[int] | None = None,
        shrink: float = 4.0,
    ) -> None:
        super().__init__()
        refuse_tie(embedding, "an adaptive softmax has no weight of the embedding's shape")
        starts = [output_size // 10, output_size // 3] if cutoffs is None else list(cutoffs)
        ascending = all(low < high for low, high in pairwise([0, *starts, output_size]))
        if not starts or not ascending:
            raise ConfigError(
                f"output.cutoffs={cutoffs}",
                f"does not divide {output_size} words",
                f"set ascending ids in 1..{output_size - 1}, or use output=categorical",
            )
        if shrink < 1:
            raise ConfigError(f"output.shrink={shrink}", "makes tails larger", "set 1 or more")
        self.num_frequent = starts[0]
        self.bounds = list(zip(starts, [*starts[1:], output_size], strict=True))
        self.scale = scores_scale(input_size)
        self.head = scores_layer(input_size, starts[0] + len(starts))
        self.narrow, self.tails = nn.ModuleList(), nn.ModuleList()
        for number, (low, high) in enumerate(self.bounds, start=1):
            size = max(int(input_size / shrink**number), 1)
            narrow = nn.Linear(input_size, size, bias=False)
            nn.init.normal_(narrow.weight, std=input_size**-0.5)
            self.narrow.append(narrow)
            self.tails.append(scores_layer(size, high - low))

    def logits(self, hidden: Tensor) -> Tensor:
        """Log probabilities of all words."""
        hidden = hidden * self.scale
        head = self.head(hidden).float().log_softmax(dim=-1)
        parts = [head[..., : self.num_frequent]]
        for number, (narrow, tail) in enumerate(zip(self.narrow, self.tails, strict=True)):
            of_tail = tail(narrow(hidden)).float().log_softmax(dim=-1)
            parts.append(of_tail + head[..., self.num_frequent + number].unsqueeze(-1))
        return torch.cat(parts, dim=-1)

    def predict(self, hidden: Tensor) -> Tensor:
        return self.logits(hidden).argmax(dim=-1)

    def loss(self, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> TokenLoss:
        """Each tail is computed for the rows whose word lies in it."""
        refuse_smoothing(smoothing, "an adaptive softmax does not look at every word")
        hidden = hidden * self.scale
        head_targets = targets.clamp(max=self.num_frequent - 1)
        sums = []
        for number, (low, high) in enumerate(self.bounds):
            rows = ((targets >= low) & (targets < high)).nonzero().squeeze(1)
            head_targets = head_targets.index_fill(0, rows, self.num_frequent + number)
            tail = self.tails[number]
            assert isinstance(tail, nn.Linear)
            sums.append(cross_entropy(self.narrow[number](hidden[rows]), tail, targets[rows] - low))
        sums.append(cross_entropy(hidden, self.head, head_targets))
        loss, nll = (torch.stack(parts).sum() for parts in zip(*sums, strict=True))
        return TokenLoss(loss, nll, len(targets))
