"""The limit that ended a run, doubled."""

from __future__ import annotations

import pytest

from seqloom.runs import duration_s, next_limit


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        ((10, -1, None), None),
        ((5, -1, None), "trainer.max_epochs=10"),
        ((5, 100, None), "trainer.max_steps=200"),
        ((-1, -1, "00:00:01:40"), "trainer.max_time=00:00:03:20"),
        ((None, -1, "00:00:01:41"), None),
        ((None, 101, None), None),
    ],
)
def test_the_limit_that_ended_training_is_doubled(
    limits: tuple[int | None, int, str | None], setting: str | None
) -> None:
    names = ("max_epochs", "max_steps", "max_time")
    given = dict(zip(names, limits, strict=True))
    assert next_limit(given, steps=100, epochs=5, seconds=100.0) == setting


@pytest.mark.parametrize(
    ("text", "seconds"), [("01:02:03:04", 93784), ("00:00:90:00", 5400), ("10", None), ("", None)]
)
def test_a_duration_counts_days_hours_minutes_and_seconds(text: str, seconds: int | None) -> None:
    assert duration_s(text) == seconds


def test_doubling_carries_over() -> None:
    limits = {"max_epochs": None, "max_steps": -1, "max_time": "00:12:40:30"}
    setting = next_limit(limits, steps=1, epochs=1, seconds=1e6)
    assert setting == "trainer.max_time=01:01:21:00"
