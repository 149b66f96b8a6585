"""Attention of a decoder over the positions of its source.

One form serves training and search: queries [B, T, Q] against a memory of B rows. Under teacher
forcing T is time; in a search the K hypotheses of a sentence stand in the place of time, so the
memory is never copied for them.

Scores of a query q and a position k (True positions of the mask only):
    dot         q . k                           Luong, Pham, Manning 2015, arXiv 1508.04025
    general     q . W k                         the same
    concat      v . tanh(W [q; k])              the same
    bahdanau    v . tanh(W q + U k + b)         Bahdanau, Cho, Bengio 2015, arXiv 1409.0473
    multihead   scaled dots in each head        Vaswani et al. 2017, arXiv 1706.03762
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.errors import ConfigError
from seqloom.sequences import Padded

_SIZE_MULTIPLE = 8


@dataclass(frozen=True)
class Memory:
    """What attention looks at: computed once for a source, read at every step.

    Its positions P are those of the source, S, and as many of padding as round them up (`product`).

    Attributes:
        keys: [B, P, A], the projected positions that scores are computed from.
        values: [B, P, C], what a context is made of.
        mask: [B, P] bool, True where a position is real; None when all are.
        num_positions: S.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None
    num_positions: int

    def select(self, rows: Tensor) -> Memory:
        """The memory of rows [M] (indices into B)."""
        mask = None if self.mask is None else self.mask[rows]
        return Memory(self.keys[rows], self.values[rows], mask, self.num_positions)


class Attention(nn.Module, ABC):
    """Weights over the positions of a memory, and the mean of its values under them.

    Attributes:
        context_size: C, the features of a context.
    """

    def __init__(self, context_size: int) -> None:
        super().__init__()
        self.context_size = context_size

    @abstractmethod
    def project(self, values: Tensor) -> Tensor:
        """Source positions [B, S, C] -> keys [B, S, A]."""

    @abstractmethod
    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Queries [B, T, Q] and keys [B, S, A] -> scores [B, T, S]."""

    def prepare(self, source: Padded) -> Memory:
        """Encoder outputs [B, S, C] -> the memory that all steps read."""
        padding = (0, 0, 0, -source.max_length % _SIZE_MULTIPLE)
        rounded = source.with_values(F.pad(source.zeroed().values, padding))
        mask = None if rounded.is_full else rounded.mask()
        keys = self.project(rounded.values)
        return Memory(keys, rounded.values, mask, source.max_length)

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Queries [B, T, Q] -> contexts [B, T, C] and weights [B, T, S], which sum to 1 (0 for an
        empty row)."""
        weights = masked_softmax(self.scores(queries, memory.keys), memory.mask)
        return product(weights, memory.values), weights[..., : memory.num_positions]


def product(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right` of batches of matrices, computed with both sides rounded up by zeros.

    Every pair of lengths would be a shape of its own, for which oneDNN compiles a kernel first;
    that took longer than the training step around it.
    """
    rounded = _rounded_up(left) @ _rounded_up(right)
    return rounded[..., : left.shape[-2], : right.shape[-1]]


def _rounded_up(matrices: Tensor) -> Tensor:
    rows, columns = (-size % _SIZE_MULTIPLE for size in matrices.shape[-2:])
    return F.pad(matrices, (0, columns, 0, rows)) if rows or columns else matrices


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax in float32 over the last axis of [B, T, S], zero where mask [B, S] is False; a row
    without any True is all zero."""
    scores = scores.float()
    if mask is None:
        return scores.softmax(dim=-1)
    mask = mask.unsqueeze(1)
    # The lowest finite number, not -inf: a row without any real position must not become NaN.
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0)


class DotAttention(Attention):
    """No parameters; query and memory must be of one size."""

    def __init__(self, *, query_size: int, memory_size: int) -> None:
        super().__init__(memory_size)
        if query_size != memory_size:
            raise ConfigError(
                "attention=dot",
                f"decoder outputs ({query_size}) and encoder outputs ({memory_size}) differ",
                "use attention=general",
            )

    def project(self, values: Tensor) -> Tensor:
        return values

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return product(queries, keys.transpose(1, 2))


class GeneralAttention(Attention):
    """A matrix between query and memory."""

    def __init__(self, *, query_size: int, memory_size: int) -> None:
        super().__init__(memory_size)
        self.weight = nn.Linear(memory_size, query_size, bias=False)

    def project(self, values: Tensor) -> Tensor:
        return self.weight(values)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return product(queries, keys.transpose(1, 2))


class AdditiveAttention(Attention):
    """A tanh layer over query and memory. Costs T * S * A numbers where the products cost T * S.

    Args:
        query_size: Q.
        memory_size: C.
        attention_size: A, the width of the layer; None takes the size of the memory.
        bias: adds b inside the tanh: with it Bahdanau's form, without it Luong's `concat`
            (W [q; k] is the sum of a matrix for q and one for k).
    """

    def __init__(
        self, *, query_size: int, memory_size: int, attention_size: int | None = None, bias: bool
    ) -> None:
        super().__init__(memory_size)
        size = memory_size if attention_size is None else attention_size
        self.query = nn.Linear(query_size, size, bias=False)
        self.key = nn.Linear(memory_size, size, bias=bias)
        self.energy = nn.Linear(size, 1, bias=False)

    def project(self, values: Tensor) -> Tensor:
        return self.key(values)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        hidden = torch.tanh(self.query(queries).unsqueeze(2) + keys.unsqueeze(1))
        return self.energy(hidden).squeeze(-1)


class MultiHeadAttention(Attention):
    """Scaled dot products in `num_heads` subspaces; the weights told are the mean over the
    heads."""

    def __init__(self, *, query_size: int, memory_size: int, num_heads: int = 4) -> None:
        super().__init__(memory_size)
        if memory_size % num_heads:
            raise ConfigError(
                f"attention.num_heads={num_heads}",
                f"does not divide the encoder's output size {memory_size}",
                "set a divisor of it",
            )
        self.num_heads = num_heads
        self.query = nn.Linear(query_size, memory_size)
        self.key = nn.Linear(memory_size, memory_size)
        self.value = nn.Linear(memory_size, memory_size)
        self.output = nn.Linear(memory_size, memory_size)

    def project(self, values: Tensor) -> Tensor:
        return self.key(values)

    def prepare(self, source: Padded) -> Memory:
        memory = super().prepare(source)
        return dataclasses.replace(memory, values=self.value(memory.values))

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Scores of all heads, [B, heads * T, S]: heads stand in the place of time for the
        softmax."""
        queries, keys = self._heads(self.query(queries)), self._heads(keys)
        scores = product(queries, keys.transpose(2, 3)) / math.sqrt(keys.shape[-1])
        return scores.flatten(1, 2)

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        weights = masked_softmax(self.scores(queries, memory.keys), memory.mask)
        weights = weights.unflatten(1, (self.num_heads, queries.shape[1]))
        contexts = product(weights, self._heads(memory.values))
        weights = weights.mean(dim=1)[..., : memory.num_positions]
        return self.output(contexts.transpose(1, 2).flatten(2)), weights

    def _heads(self, values: Tensor) -> Tensor:
        """[B, X, C] -> [B, heads, X, C / heads]."""
        return values.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
