"""What a learner says: `Answer` to a line of text, `ClipEvidence` of how it saw a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


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


@dataclass(frozen=True)
class ClipEvidence:
    """A clip as a model saw it, and what it took it for while it went on.

    Attributes:
        times_s: [T] float64, of its frames.
        frames: uint8 [T, 3, height, width].
        classes: names of all classes; empty where the model does not classify.
        probabilities: [T, C] float32 on the CPU, of each class after each frame; [T, 0] without
            classes.
    """

    times_s: np.ndarray
    frames: Tensor
    classes: tuple[str, ...]
    probabilities: Tensor
