"""`Prediction`: what a learner's test step says of one example."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """One example, as text.

    Attributes:
        index: its position in its split, the same on every rank.
        input, target: the untouched lines of the data.
        prediction: what the model wrote.
        score: what the search ranked it by (0 for a greedy answer's unscored form).
        num_input_tokens: length of the input in tokens, end symbol included.
    """

    index: int
    input: str
    target: str
    prediction: str
    score: float
    num_input_tokens: int
