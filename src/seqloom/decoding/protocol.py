"""What a search needs of a model, and what it gives back.

State is a value: `start` makes it, `step` returns a new one, `select` picks and repeats rows of it.
A search never emits padding or the begin symbol.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from torch import Tensor

from seqloom.sequences import Padded

State = TypeVar("State")


class Decodable(Protocol[State]):
    """A model that can be searched: N rows, each a partial output sequence.

    Every search keeps the rows of one source together, in the order of the sources, and equally
    many for each. A model may therefore hold what depends on the source alone (encoder outputs)
    once for each source and let its N / B rows share it.
    """

    def start(self, source: Padded) -> State:
        """The state before the first token: one row for each of the B rows of `source`."""
        ...

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Reads `tokens` [N] int64 (the begin symbol first).

        Returns logits [N, V] in float32 (not normalised, V > 3; a search does not write to them),
        attention [N, S] (S the padded source length, zero beyond the source's own; S = 0 without
        attention), and the state after the tokens.
        """
        ...

    def select(self, state: State, rows: Tensor) -> State:
        """The state of `rows` [M] int64 (indices into N, repeats allowed), in that order.

        Called only when the rows change. Sources that are done leave; of each source that stays,
        M / B' rows are picked from its own rows, B' being how many stay.
        """
        ...


@dataclass(frozen=True)
class Hypothesis:
    """One output for one input.

    Attributes:
        tokens: ids without begin and end symbol.
        score: the score that the search ranks by (log probability over its length penalty, plus the
            coverage penalty).
        log_prob: sum of the log probabilities of the tokens and, when `finished`, the end symbol.
        finished: whether it ended with the end symbol, or was cut at its maximum length.
        attention: [T, S] of the tokens (the end symbol's row last when `finished`) over the
            source's own S positions; empty if not asked for, without attention, or when S is 0.
    """

    tokens: tuple[int, ...]
    score: float
    log_prob: float
    finished: bool
    attention: tuple[tuple[float, ...], ...] = field(default=())
