"""`describe`: the values of repeated runs in a line: mean, deviation, interval, best.

The interval is Student's t of the mean (Student 1908): where values are skewed and few, it is
narrow for what it promises. Of one run nothing but its value is known, and nothing else is told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seqloom.errors import ConfigError

Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Description:
    """Of `count` values that are numbers.

    Attributes:
        count: how many there are; NaN and infinite ones are not counted.
        mean: None of no values.
        deviation: with n - 1 below; None of fewer than two.
        low, high: the 95 % interval of the mean; None of fewer than two.
        best: None of no values.
    """

    count: int
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None
    best: float | None


def describe(values: Sequence[float], mode: Mode) -> Description:
    """The description of `values`; `mode` tells whether the least or the greatest is best.

    Raises:
        ConfigError: another mode.
    """
    check_mode(mode)
    finite = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if not finite.size:
        return Description(0, None, None, None, None, None)
    mean, best = float(finite.mean()), float(finite.min() if mode == "min" else finite.max())
    if finite.size == 1:
        return Description(1, mean, None, None, None, best)
    # Less than half the time that importing scipy.stats takes.
    from scipy.special import stdtrit

    deviation = float(finite.std(ddof=1))
    half = float(stdtrit(finite.size - 1, 0.975)) * deviation / math.sqrt(finite.size)
    return Description(finite.size, mean, deviation, mean - half, mean + half, best)


def check_mode(mode: str) -> None:
    """Raises ConfigError of a direction that is neither `min` nor `max`."""
    if mode not in ("min", "max"):
        raise ConfigError(f"mode={mode}", "there is no such direction", "mode=min or mode=max")
