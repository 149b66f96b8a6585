"""Which frames of a clip are looked at, chosen by time.

The one idea: a choice is made of the frames' times alone, so that a clip at a variable rate is
looked at evenly, and nothing is decoded that is not looked at. How many frames a clip gives is
known from its times (`count`), by chance or not: batches are planned by it. The price: between two
ticks nothing is interpolated, the nearest frame stands for a tick, and a clip with fewer frames
than asked repeats some.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqloom.errors import ConfigError

KINDS = ("uniform", "fps", "stride", "segments", "all")


@dataclass(frozen=True, kw_only=True)
class FrameSampling:
    """How the frames of a clip are chosen.

    Args:
        by: `uniform` (`num_frames` spread evenly over the clip's time), `fps` (the frame nearest to
            each tick of `fps` a second), `stride` (each `stride`-th frame), `segments` (of each of
            `num_frames` equal stretches of time one frame: a random one in training, the middle one
            otherwise; TSN, Wang et al. 2016), `all`.
        num_frames: how many; only for `uniform` and `segments`.
        fps: ticks in a second; only for `fps`.
        stride: in frames; only for `stride`.
        max_frames: of more choices a window of so many consecutive ones: anywhere in training, the
            middle one otherwise. None: as many as there are.
    """

    by: str = "uniform"
    num_frames: int = 16
    fps: float = 10.0
    stride: int = 1
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.by not in KINDS:
            known = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
            raise ConfigError(f"data.sampling.by={self.by}", "is not known", f"use {known}")
        for name in ("num_frames", "stride", "max_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"data.sampling.{name}={value}", "must be 1 or more", "raise it")
        if not (0 < self.fps < np.inf):
            raise ConfigError(
                f"data.sampling.fps={self.fps}", "is no rate", "give a number above 0"
            )

    @property
    def is_random(self) -> bool:
        """Whether training may choose other frames than evaluation."""
        return self.by == "segments" or self.max_frames is not None

    def choose(self, times_s: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """[K] int64 ascending frame numbers of a clip whose frames stand at `times_s` [N].

        `rng` is the chance of training; None: the choice of evaluation, always the same.
        """
        chosen = self._choices(np.asarray(times_s, dtype=np.float64), rng)
        spare = len(chosen) - self.count(times_s)
        begin = spare // 2 if rng is None or not spare else int(rng.integers(spare + 1))
        return chosen[begin : len(chosen) - spare + begin]

    def count(self, times_s: np.ndarray) -> int:
        """K of `choose`: the same in training and in evaluation, 1 or more."""
        num_frames = len(times_s)
        assert num_frames > 0, "a clip has a frame"
        chosen = {
            "uniform": self.num_frames,
            "segments": self.num_frames,
            "fps": self._num_ticks(times_s),
            "stride": -(-num_frames // self.stride),
            "all": num_frames,
        }[self.by]
        return min(chosen, self.max_frames or chosen)

    def _choices(self, times_s: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """`choose` without `max_frames`."""
        if self.by == "all":
            return np.arange(len(times_s))
        if self.by == "stride":
            return np.arange(0, len(times_s), self.stride)
        if self.by == "fps":
            return nearest(times_s, times_s[0] + np.arange(self._num_ticks(times_s)) / self.fps)
        # A frame lasts until the next; what the last one lasts is not told: the mean of the others.
        length_s = (times_s[-1] - times_s[0]) * len(times_s) / max(1, len(times_s) - 1)
        edges = times_s[0] + np.linspace(0, length_s, self.num_frames + 1)
        if self.by == "segments":
            return of_segments(times_s, edges, rng)
        # The frame that is on show in the middle of each of `num_frames` equal stretches.
        return on_show(times_s, (edges[:-1] + edges[1:]) / 2)

    def _num_ticks(self, times_s: np.ndarray) -> int:
        """Ticks from the first frame to the last, both included, whatever rounding says."""
        return int(np.floor((times_s[-1] - times_s[0]) * self.fps + 1e-6)) + 1


def on_show(times_s: np.ndarray, moments_s: np.ndarray) -> np.ndarray:
    """[K] int64: for each moment the last frame that began by then, the first one if none did.

    A moment within a millionth of a second before a frame counts as that frame's.
    """
    return np.maximum(np.searchsorted(times_s, moments_s + 1e-6, side="right") - 1, 0)


def nearest(times_s: np.ndarray, moments_s: np.ndarray) -> np.ndarray:
    """[K] int64: for each moment the frame whose time is nearest, of two the earlier."""
    before = on_show(times_s, moments_s)
    after = np.minimum(before + 1, len(times_s) - 1)
    nearer = times_s[after] - moments_s < moments_s - times_s[before] - 1e-6
    return np.where(nearer, after, before)


def of_segments(
    times_s: np.ndarray, edges_s: np.ndarray, rng: np.random.Generator | None
) -> np.ndarray:
    """[K] int64: one frame of those that begin in each stretch between two of `edges_s` [K + 1].

    Where none begins, the one that is on show in its middle. `rng` draws one; None: the middle one
    (of two the earlier).
    """
    bounds = np.searchsorted(times_s, edges_s - 1e-6)
    first, num = bounds[:-1], np.diff(bounds)
    # Of one frame too: the chance is drawn as often whatever the clip.
    share = np.zeros(len(num)) if rng is None else rng.random(len(num))
    place = (num - 1) // 2 if rng is None else np.minimum((share * num).astype(np.int64), num - 1)
    middle = on_show(times_s, (edges_s[:-1] + edges_s[1:]) / 2)
    return np.where(num > 0, first + place, middle)
