"""The budget of a training run: which of its limits ended it, and the setting that goes on.

`max_steps`, `max_epochs` and `max_time` are Lightning's; whichever is reached first ends the run.
Only a larger limit makes a resume train on, so whoever suggests a resume names that one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DURATION = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")


def duration_s(text: str) -> int | None:
    """Seconds of DD:HH:MM:SS; None where `text` is not written so."""
    match = DURATION.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = map(int, match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def next_limit(limits: Mapping[str, Any], *, steps: int, epochs: int, seconds: float) -> str | None:
    """The limit that is used up, doubled, as a setting (`trainer.max_epochs=14`); None if none is.

    Args:
        limits: the config's `trainer`.
        steps, epochs, seconds: what training took.
    """
    max_steps, max_epochs, max_time = (
        limits[name] for name in ("max_steps", "max_epochs", "max_time")
    )
    if 0 < max_steps <= steps:
        return f"trainer.max_steps={2 * steps}"
    if max_epochs is not None and 0 < max_epochs <= epochs:
        return f"trainer.max_epochs={2 * epochs}"
    max_s = None if max_time is None else duration_s(max_time)
    if max_s is not None and max_s <= seconds:
        minutes, second = divmod(2 * max_s, 60)
        hours, minute = divmod(minutes, 60)
        day, hour = divmod(hours, 24)
        return f"trainer.max_time={day:02}:{hour:02}:{minute:02}:{second:02}"
    return None
