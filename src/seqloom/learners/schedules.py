"""Learning-rate schedules: a factor on the optimiser's rate for each update.

A schedule is a function of the update's number and of `progress`, the share of the budget that is
used. Progress goes by updates; when the run has a clock as its limit (`trainer.max_time`), by
whichever of the two is further.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from seqloom.errors import ConfigError


class Schedule(Protocol):
    """The factor of update number `step` (from 0) at `progress` in 0..1."""

    def factor(self, step: int, progress: float) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Constant:
    """1 after a linear warm-up."""

    warmup_steps: int = 0

    def factor(self, step: int, progress: float) -> float:
        return _warmup(step, self.warmup_steps)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """A half cosine from 1 to `final_factor` at the end of the budget, after a linear warm-up."""

    warmup_steps: int = 0
    final_factor: float = 0.0

    def factor(self, step: int, progress: float) -> float:
        wave = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return _warmup(step, self.warmup_steps) * (
            self.final_factor + (1 - self.final_factor) * wave
        )


@dataclass(frozen=True, kw_only=True)
class InverseSqrt:
    """sqrt(warmup_steps / step) after a linear warm-up (Vaswani et al. 2017)."""

    warmup_steps: int = 4000

    def __post_init__(self) -> None:
        if self.warmup_steps < 1:
            raise ConfigError(
                f"scheduler.warmup_steps={self.warmup_steps}",
                "the rate falls from the end of the warm-up",
                "set at least 1",
            )

    def factor(self, step: int, progress: float) -> float:
        return min((step + 1) / self.warmup_steps, math.sqrt(self.warmup_steps / (step + 1)))


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """1 after a linear warm-up, times `decay` whenever the monitored score has not improved for
    `patience` validations.

    Attributes:
        monitor: a logged metric, `val/loss` for example.
        mode: `min` or `max`.
    """

    monitor: str
    mode: Literal["min", "max"]
    warmup_steps: int = 0
    decay: float = 0.5
    patience: int = 2

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise ConfigError(f"scheduler.mode={self.mode}", "unknown", "use min or max")
        if not 0 < self.decay < 1:
            raise ConfigError(
                f"scheduler.decay={self.decay}",
                "must lower the rate",
                "set a number between 0 and 1",
            )

    def factor(self, step: int, progress: float) -> float:
        """Of the warm-up alone: what validations make of the rate is the optimiser's state."""
        return _warmup(step, self.warmup_steps)


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
