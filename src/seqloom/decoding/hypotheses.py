"""What searches remember: what was written, or the paths of a beam and the best of what ended.

A path of a beam is kept as one layer of (token, row of its parent) for each step and read backwards
once, at the end, so no step copies prefixes. Layer 0 holds the rows before the first token; a
hypothesis that ends is the row it ended from and its last token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqloom.decoding.protocol import Hypothesis
from seqloom.sequences import EOS_ID


class Paths:
    """Tokens and back-pointers, a layer a step, with the attention of every step if asked for."""

    def __init__(self) -> None:
        self._tokens: list[Tensor] = []
        self._parents: list[Tensor] = []
        self._attention: list[Tensor] = []

    def append(self, tokens: Tensor, parents: Tensor) -> None:
        """A layer of rows: their `tokens` [N] and their `parents` [N], rows of the layer before."""
        self._tokens.append(tokens)
        self._parents.append(parents)

    def append_attention(self, attention: Tensor) -> None:
        """The attention [N, S] with which the rows of the newest layer choose their next token."""
        self._attention.append(attention)

    def trace(self, layers: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens [M, T] on the way to `rows` [M] of `layers` [M], and attention [M, T + 1, S].

        T is the last of the layers; a row of layer n has n tokens and n + 1 steps of attention,
        what lies beyond is unspecified.
        """
        num_layers = int(layers.max())
        tokens = layers.new_zeros(len(layers), num_layers)
        current = torch.zeros_like(rows)
        ancestors = []
        for layer in range(num_layers, 0, -1):
            current = torch.where(layers == layer, rows, current)
            ancestors.append(current)
            tokens[:, layer - 1] = self._tokens[layer - 1][current]
            parents = self._parents[layer - 1][current]
            current = torch.where(layers >= layer, parents, 0)
        ancestors.append(torch.where(layers == 0, rows, current))
        if not self._attention:
            return tokens, None
        steps = zip(self._attention, reversed(ancestors), strict=False)
        return tokens, torch.stack([attention[rows] for attention, rows in steps], dim=1)


class Ended:
    """The `num_best` best of the hypotheses that ended, of each of B sentences, best first.

    Attributes:
        scores: [B, n], -inf where there is none yet; equal scores stay in the order of arrival.
        log_probs: [B, n].
        places: [B, n, 3] int64: layer, row in that layer, last token.
    """

    def __init__(self, num_sentences: int, num_best: int, device: torch.device) -> None:
        self.num_best = num_best
        self.scores = torch.full((num_sentences, num_best), -torch.inf, device=device)
        self.log_probs = self.scores.clone()
        self.places = torch.zeros(num_sentences, num_best, 3, dtype=torch.int64, device=device)

    def add(
        self,
        sentences: Tensor,
        scores: Tensor,
        log_probs: Tensor,
        rows: Tensor,
        tokens: Tensor,
        layer: int,
    ) -> None:
        """Offers m hypotheses [b, m] to each of `sentences` [b]; a score of -inf is no offer."""
        places = torch.stack([torch.full_like(rows, layer), rows, tokens], dim=2)
        scores = torch.cat([self.scores[sentences], scores], dim=1)
        log_probs = torch.cat([self.log_probs[sentences], log_probs], dim=1)
        places = torch.cat([self.places[sentences], places], dim=1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        order = order[:, : self.num_best]
        self.scores[sentences] = scores[:, : self.num_best]
        self.log_probs[sentences] = log_probs.gather(1, order)
        self.places[sentences] = places.gather(1, order.unsqueeze(2).expand(-1, -1, 3))


class Written:
    """What a search without a beam has written: tokens [N, T], length and log probability [N], and
    the attention of every step if asked for.

    Args:
        source_lengths: [N], of the source of each row.
        max_length: T.
    """

    def __init__(
        self,
        source_lengths: Tensor,
        max_length: int,
        device: torch.device,
        with_attention: bool,
    ) -> None:
        num_rows = len(source_lengths)
        self.source_lengths = source_lengths
        self.tokens = torch.zeros(num_rows, max_length, dtype=torch.int64, device=device)
        self.lengths = torch.zeros(num_rows, dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(num_rows, device=device)
        self.attention: list[Tensor] | None = [] if with_attention else None

    def write(
        self, rows: Tensor, length: int, tokens: Tensor, log_probs: Tensor, attention: Tensor
    ) -> None:
        """Token number `length` of `rows` [M], the log probability of all so far, and the attention
        [M, S] of this step."""
        self.tokens[rows, length - 1] = tokens
        self.lengths[rows] = length
        self.log_probs[rows] = log_probs
        if self.attention is not None:
            step = attention.new_zeros(len(self.tokens), attention.shape[1])
            step[rows] = attention
            self.attention.append(step)

    def hypotheses(self) -> list[Hypothesis]:
        """One for each row; its score is its log probability."""
        attention = None
        if self.attention:
            attention = torch.stack(self.attention, dim=1)
        results = []
        rows = zip(
            self.tokens.tolist(), self.lengths.tolist(), self.log_probs.tolist(), strict=True
        )
        for index, (tokens, length, log_prob) in enumerate(rows):
            steps = None
            if attention is not None:
                steps = attention[index, :length, : int(self.source_lengths[index])]
            results.append(as_hypothesis(tokens[:length], log_prob, log_prob, steps))
        return results


def as_hypothesis(
    tokens: Sequence[int], score: float, log_prob: float, attention: Tensor | None
) -> Hypothesis:
    """Of `tokens`, the end symbol included where there is one, and their attention [T, S]."""
    finished = tokens[-1] == EOS_ID
    steps: list[list[float]] = []
    if attention is not None and attention.shape[1] > 0:
        steps = attention.tolist()
    return Hypothesis(
        tokens=tuple(tokens[:-1] if finished else tokens),
        score=score,
        log_prob=log_prob,
        finished=finished,
        attention=tuple(tuple(step) for step in steps),
    )


def collect(
    finished: Ended, cut: Ended, paths: Paths, source_lengths: Tensor
) -> list[list[Hypothesis]]:
    """The best of each sentence: finished ones, then cut ones where those are too few."""
    scores = torch.cat([finished.scores, cut.scores], dim=1)
    found = scores > -torch.inf
    found &= found.cumsum(dim=1) <= finished.num_best
    sentences = found.nonzero()[:, 0].tolist()
    results: list[list[Hypothesis]] = [[] for _ in range(len(scores))]
    if sentences:
        places = torch.cat([finished.places, cut.places], dim=1)[found]
        tokens, attention = paths.trace(places[:, 0], places[:, 1])
        rows = zip(
            sentences,
            tokens.tolist(),
            places.tolist(),
            scores[found].tolist(),
            torch.cat([finished.log_probs, cut.log_probs], dim=1)[found].tolist(),
            strict=True,
        )
        for index, (sentence, prefix, (layer, _, last), score, log_prob) in enumerate(rows):
            steps = None
            if attention is not None:
                steps = attention[index, : layer + 1, : int(source_lengths[sentence])]
            hypothesis = as_hypothesis((*prefix[:layer], last), score, log_prob, steps)
            results[sentence].append(hypothesis)
    # A model whose logits are not numbers still gets an answer.
    nothing = Hypothesis(tokens=(), score=-torch.inf, log_prob=-torch.inf, finished=False)
    return [hypotheses or [nothing] for hypotheses in results]
