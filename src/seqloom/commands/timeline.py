"""Class probabilities while a clip plays: frame after frame, however long it is.

The one idea: the times of all frames are known before a frame is decoded (`video.reader`), so what
is looked at and when something is told are planned first; then frames are decoded, transformed in
pieces of `CHUNK_FRAMES` and handed to the learner, which carries its state from piece to piece.
Memory holds one piece. A model that cannot carry a state (it reads a clip from both ends, or in
volumes) sees, whenever something is told, a window of the last frames, as many as it was trained
on; windows are independent. The price of that: a window's frames are computed again for each of
its tellings.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from seqloom.data.spec import VideoSide
from seqloom.data.video.reader import VideoReader
from seqloom.data.video.sampling import FrameSampling
from seqloom.errors import ConfigError

CHUNK_FRAMES = 16
# Of a model that cannot carry a state and was trained on clips of any length.
WINDOW_FRAMES = 64
# Times from a file and multiples of `every_s` are sums of fractions.
TOLERANCE_S = 1e-6


class Watcher(Protocol):
    """What is asked of a learner."""

    def watch(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """[K', C] class probabilities of each piece of frames [K, 3, h, w], given all so far.

        Raises ConfigError for models that cannot, at the first `next` at the latest.
        """

    def probabilities(self, frames: Tensor) -> Tensor:
        """[C] class probabilities of one whole clip [T, 3, h, w]."""


@dataclass(frozen=True)
class Moment:
    """What is told of a clip at one time.

    Attributes:
        time_s: since the first frame.
        probabilities: [C] float32 on the CPU, of all frames up to then.
    """

    time_s: float
    probabilities: Tensor


def playing(sampling: FrameSampling, fps: float | None) -> FrameSampling:
    """How frames of a playing clip are chosen: at `fps`, else at the run's own rate (`fps` or
    `stride`) where it has one, else all of them."""
    if fps is not None:
        return FrameSampling(by="fps", fps=fps)
    if sampling.by in ("fps", "stride"):
        return replace(sampling, max_frames=None)
    return FrameSampling(by="all")


def window_frames(sampling: FrameSampling) -> int:
    """How many frames a run trains on at most; `WINDOW_FRAMES` where that is not limited."""
    if sampling.by in ("uniform", "segments"):
        return min(sampling.num_frames, sampling.max_frames or sampling.num_frames)
    return sampling.max_frames or WINDOW_FRAMES


def can_watch(learner: Watcher) -> bool:
    """Whether the learner can carry its state through a clip."""
    try:
        next(iter(learner.watch(iter(()))), None)
    except ConfigError:
        return False
    return True


def timeline(
    clip: VideoReader,
    learner: Watcher,
    side: VideoSide,
    *,
    every_s: float,
    fps: float | None = None,
    carries: bool = True,
    device: torch.device | str = "cpu",
) -> Iterator[Moment]:
    """What the learner thinks at `every_s`, 2 `every_s`, ... and at the last frame looked at.

    Args:
        side: of the run: how its frames are cut, and how many it trained on.
        fps: frames looked at in a second of the clip; None: see `playing`.
        carries: what `can_watch` says of the learner.

    A moment comes as soon as its last frame is computed, so at most a piece of frames late.
    Raises DataError for a clip that does not decode, after the moments before, and ConfigError for
    a transform that needs the whole clip.
    """
    if side.transform.resize == "motion":
        raise ConfigError(
            "timeline=true",
            "this run looks for what moves in the whole clip (data.transform.resize=motion)",
            "leave timeline out",
        )
    indices = playing(side.sampling, fps).choose(clip.times_s, None)
    due = deque(moments(clip.times_s[indices], every_s))
    pieces = _pieces(clip, indices, side, device)
    if carries:
        found = _watched(learner, pieces)
    else:
        asked = frozenset(position for position, _ in due)
        found = _windowed(learner, pieces, asked, window_frames(side.sampling))
    latest: Tensor | None = None
    for position, latest in found:
        while due and due[0][0] <= position:
            yield Moment(due.popleft()[1], latest)
    while due and latest is not None:  # what a model holds back until more frames come
        yield Moment(due.popleft()[1], latest)


def moments(times_s: np.ndarray, every_s: float) -> list[tuple[int, float]]:
    """(position of the last frame that is seen by then, time in seconds) of each telling.

    Args:
        times_s: [K] ascending, the times of the frames looked at, at least one.
    """
    end_s = float(times_s[-1])
    ticks = [count * every_s for count in range(1, math.floor(end_s / every_s) + 2)]
    told = [tick for tick in ticks if tick < end_s - TOLERANCE_S]
    positions = np.searchsorted(times_s, np.array(told) + TOLERANCE_S, side="right") - 1
    return [*zip(positions.tolist(), told, strict=True), (len(times_s) - 1, end_s)]


def _pieces(
    clip: VideoReader, indices: np.ndarray, side: VideoSide, device: torch.device | str
) -> Iterator[Tensor]:
    """The chosen frames [K, 3, h, w] uint8 in pieces of at most `CHUNK_FRAMES`."""
    wanted = groupby(indices.tolist())
    repeats = next(wanted, None)
    piece: list[np.ndarray] = []
    for index, (_, frame) in enumerate(clip.frames()):
        if repeats is None:
            break
        if index != repeats[0]:
            continue
        for _ in repeats[1]:
            piece.append(frame)
            if len(piece) == CHUNK_FRAMES:
                yield side.transform(np.stack(piece), None).to(device)
                piece = []
        repeats = next(wanted, None)
    if piece:
        yield side.transform(np.stack(piece), None).to(device)


def _watched(learner: Watcher, pieces: Iterator[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """(position of its last frame, probabilities [C]) of every answer of the learner.

    Where a piece has fewer answers than frames, they are spread over it evenly.
    """
    sizes: deque[int] = deque()

    def counted() -> Iterator[Tensor]:
        for piece in pieces:
            sizes.append(len(piece))
            yield piece

    first, num_frames = 0, 0
    for answers in learner.watch(counted()):
        num_frames += sizes.popleft()
        for row, answer in enumerate(answers.float().cpu(), 1):
            yield first + math.ceil(row * (num_frames - first) / len(answers)) - 1, answer
        first = num_frames if len(answers) else first


def _windowed(
    learner: Watcher, pieces: Iterator[Tensor], asked: frozenset[int], num_frames: int
) -> Iterator[tuple[int, Tensor]]:
    """(position, probabilities [C] of the last `num_frames` frames) of the positions asked for."""
    window: deque[Tensor] = deque(maxlen=num_frames)
    frames = (frame for piece in pieces for frame in piece)
    for position, frame in enumerate(frames):
        window.append(frame)
        if position in asked:
            yield position, learner.probabilities(torch.stack([*window])).float().cpu()
