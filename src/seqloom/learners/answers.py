"""`Answer`: what a learner says to a line of text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One output text.

    Attributes:
        score: what answers are ranked by: a search's score, or a probability.
        log_prob: natural logarithm of the output's probability; 0 where the model has none.
    """

    text: str
    score: float
    log_prob: float
