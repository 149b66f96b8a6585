"""Schedules: warm-up, ends, and the law that progress decides."""

import math

import pytest

from seqloom.errors import ConfigError
from seqloom.learners.schedules import Constant, Cosine, InverseSqrt, Plateau


def test_warm_up_is_linear_and_reaches_one() -> None:
    for schedule in (
        Constant(warmup_steps=10),
        Plateau(monitor="val/loss", mode="min", warmup_steps=10),
    ):
        factors = [schedule.factor(step, 0.0) for step in range(12)]
        assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
        assert factors[10:] == [1.0, 1.0]


def test_cosine_ends_at_its_final_factor_and_stays_there() -> None:
    schedule = Cosine(final_factor=0.1)
    assert schedule.factor(5, 0.0) == pytest.approx(1.0)
    assert schedule.factor(5, 0.5) == pytest.approx(0.55)
    assert schedule.factor(5, 1.0) == schedule.factor(5, 1.5) == pytest.approx(0.1)


def test_inverse_sqrt_peaks_at_the_end_of_the_warm_up() -> None:
    schedule = InverseSqrt(warmup_steps=100)
    factors = [schedule.factor(step, 0.0) for step in range(1000)]
    assert max(factors) == factors[99] == 1.0
    assert factors[399] == pytest.approx(math.sqrt(100 / 400))


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="warmup_steps=0"):
        InverseSqrt(warmup_steps=0)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Plateau(monitor="val/loss", mode="min", decay=1.5)
