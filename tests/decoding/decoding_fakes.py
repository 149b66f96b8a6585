"""Small honest models: one remembers a token, one everything; and the answer by brute force."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seqloom.decoding.protocol import Decodable
from seqloom.sequences import BOS_ID, EOS_ID, UNK_ID, Padded


@dataclass(frozen=True)
class FakeState:
    """Memory of the outputs [N, H] and of the source [N, S, H], and how many sources there are."""

    hidden: Tensor
    memory: Tensor
    mask: Tensor
    num_sources: int


class RecurrentModel:
    """A random recurrent decoder with attention; its next token depends on all tokens before.

    Counts the rows of each step, and checks that rows of one source stay together.
    """

    def __init__(
        self, *, vocab_size: int, seed: int, attention: bool = True, end_bias: float = 0.0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        hidden_size = 6
        self.source_embedding = random(50, hidden_size)
        self.embedding = random(vocab_size, hidden_size)
        self.recurrent = random(hidden_size, hidden_size) / 2
        self.output = random(hidden_size, vocab_size)
        self.bias = torch.zeros(vocab_size)
        self.bias[EOS_ID] = end_bias
        self.attention = attention
        self.rows_seen: list[int] = []

    def start(self, source: Padded) -> FakeState:
        mask = source.mask()
        memory = self.source_embedding[source.values]
        hidden = (memory * mask.unsqueeze(2)).sum(1).tanh()
        return FakeState(hidden, memory, mask, source.batch_size)

    def step(self, tokens: Tensor, state: FakeState) -> tuple[Tensor, Tensor, FakeState]:
        self.rows_seen.append(len(tokens))
        hidden = (self.embedding[tokens] + state.hidden @ self.recurrent).tanh()
        scores = torch.einsum("nh,nsh->ns", hidden, state.memory)
        scores = scores.masked_fill(~state.mask, -torch.inf).softmax(1).nan_to_num(0)
        context = torch.einsum("ns,nsh->nh", scores, state.memory)
        logits = (hidden + context / 2) @ self.output + self.bias
        if not self.attention:
            scores = scores[:, :0]
        return logits, scores, FakeState(hidden, state.memory, state.mask, state.num_sources)

    def select(self, state: FakeState, rows: Tensor) -> FakeState:
        per_source = len(state.hidden) // state.num_sources
        num_sources = len((rows // per_source).unique_consecutive())
        shared = (rows // per_source).view(num_sources, -1)
        assert (shared == shared[:, :1]).all()
        return FakeState(state.hidden[rows], state.memory[rows], state.mask[rows], num_sources)


@dataclass(frozen=True)
class MarkovModel:
    """Next-token logits `tables` [X, V, V] by the last token; a source chooses by its sum."""

    tables: Tensor

    @classmethod
    def random(cls, *, vocab_size: int, seed: int) -> MarkovModel:
        generator = torch.Generator().manual_seed(seed)
        return cls(torch.randn(3, vocab_size, vocab_size, generator=generator) * 2)

    def start(self, source: Padded) -> Tensor:
        return source.zeroed().values.sum(1) % len(self.tables)

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.tables[state, tokens], torch.zeros(len(tokens), 0), state

    def select(self, state: Tensor, rows: Tensor) -> Tensor:
        return state[rows]


@dataclass(frozen=True)
class Scored:
    """A sequence found by brute force; `tokens` include the end symbol when it is finished."""

    tokens: tuple[int, ...]
    log_prob: float
    score: float


def make_source(lengths: list[int], *, seed: int, padding: int = 0) -> Padded:
    """Random source ids; `padding` extra columns of noise behind every row."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(4, 50, (len(lengths), max(lengths) + padding), generator=generator)
    return Padded(values, torch.tensor(lengths))


def one_row(source: Padded, row: int) -> Padded:
    """A row alone, without its padding."""
    length = int(source.lengths[row])
    return Padded(source.values[row : row + 1, :length], source.lengths[row : row + 1])


def rescore(
    model: Decodable, source: Padded, tokens: tuple[int, ...]
) -> tuple[float, list[list[float]]]:
    """Log probability of `tokens` for a single source, step by step, and the attention."""
    state, previous, total, attention = model.start(source), BOS_ID, 0.0, []
    for token in tokens:
        logits, weights, state = model.step(torch.tensor([previous]), state)
        total += float(logits.double().log_softmax(1)[0, token])
        attention.append(weights[0].tolist())
        previous = token
    return total, attention


def penalised(
    log_prob: float, attention: list[list[float]], alpha: float, kind: str, beta: float
) -> float:
    """The score of Wu et al. 2016, in plain Python."""
    length = len(attention)
    divisor = ((5 + length) / 6) ** alpha if kind == "gnmt" else length**alpha
    seen = [min(max(sum(column), 1e-6), 1.0) for column in zip(*attention, strict=True)]
    return log_prob / divisor + beta * sum(math.log(value) for value in seen)


def brute_force(
    model: Decodable,
    source: Padded,
    *,
    vocab_size: int,
    min_length: int,
    max_length: int,
    alpha: float,
    kind: str,
    beta: float,
) -> tuple[list[Scored], list[Scored]]:
    """Every finished and every cut sequence for a single source, each list best first."""
    finished: list[Scored] = []
    cut: list[Scored] = []
    pending: list[tuple[int, ...]] = [()]
    while pending:
        prefix = pending.pop()
        for token in (EOS_ID, *range(UNK_ID, vocab_size)):
            tokens = (*prefix, token)
            if token == EOS_ID and len(tokens) < min_length:
                continue
            if token != EOS_ID and len(tokens) < max_length:
                pending.append(tokens)
                continue
            log_prob, attention = rescore(model, source, tokens)
            score = penalised(log_prob, attention, alpha, kind, beta)
            (finished if token == EOS_ID else cut).append(Scored(tokens, log_prob, score))
    return (
        sorted(finished, key=lambda found: -found.score),
        sorted(cut, key=lambda found: -found.score),
    )
