"""A playing clip: moments at their times, each of all frames until then, as soon as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_fakes import SIDE, GreyClip, GreyLearner, small_learner, write_clip

from seqloom.commands.timeline import (
    CHUNK_FRAMES,
    WINDOW_FRAMES,
    can_watch,
    moments,
    playing,
    timeline,
    window_frames,
)
from seqloom.data.spec import VideoSide
from seqloom.data.video.reader import open_clip
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform


def moments_by_loop(times_s: Sequence[float], every_s: float) -> list[tuple[int, float]]:
    """By trying every frame at every tick."""
    told, count = [], 1
    while count * every_s < times_s[-1] - 1e-6:
        tick = count * every_s
        told.append((max(n for n, t in enumerate(times_s) if t <= tick + 1e-6), tick))
        count += 1
    return [*told, (len(times_s) - 1, times_s[-1])]


@pytest.mark.parametrize("fps", [0.3, 1.0, 10.0, 29.97])
@pytest.mark.parametrize("every_s", [0.1, 0.25, 1.0, 7.0])
@pytest.mark.parametrize("num_frames", [1, 2, 11, 100])
def test_moments_are_every_multiple_and_the_end(
    fps: float, every_s: float, num_frames: int
) -> None:
    times_s = np.arange(num_frames) / fps
    expected = moments_by_loop(times_s.tolist(), every_s)
    found = moments(times_s, every_s)
    assert [position for position, _ in found] == [position for position, _ in expected]
    np.testing.assert_allclose([t for _, t in found], [t for _, t in expected], atol=1e-9)


@pytest.mark.parametrize("num_frames", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("fps", [None, 4.0, 25.0])
def test_a_moment_tells_of_all_frames_until_then(num_frames: int, fps: float | None) -> None:
    learner, clip = GreyLearner(), GreyClip(num_frames)
    told = list(timeline(clip, learner, SIDE, every_s=0.5, fps=fps))
    indices = playing(SIDE.sampling, fps).choose(clip.times_s, None)
    expected = moments_by_loop(clip.times_s[indices].tolist(), 0.5)
    assert [moment.time_s for moment in told] == pytest.approx([time for _, time in expected])
    for moment, (position, _) in zip(told, expected, strict=True):
        mean = (indices[: position + 1] % 256).mean() / 255
        assert moment.probabilities.tolist() == pytest.approx([1 - mean, mean], abs=1e-5)
    assert sum(learner.pieces) == len(indices)
    assert max(learner.pieces) <= CHUNK_FRAMES


def test_moments_come_while_the_clip_plays() -> None:
    clip = GreyClip(1000)
    told = timeline(clip, GreyLearner(), SIDE, every_s=1.0)
    for number in range(1, 50):
        assert next(told).time_s == number
        assert clip.num_given <= 10 * number + 1 + CHUNK_FRAMES


@pytest.mark.parametrize("held_back", [1, 2, 3, 16])
def test_a_learner_with_fewer_answers_than_frames_is_spread(held_back: int) -> None:
    learner = GreyLearner(held_back=held_back)
    told = list(timeline(GreyClip(40), learner, SIDE, every_s=0.5))
    assert [moment.time_s for moment in told] == pytest.approx([*np.arange(1, 8) / 2, 3.9])
    shares = [moment.probabilities[1].item() for moment in told]
    assert shares == sorted(shares)


@pytest.mark.parametrize("num_frames", [1, 3, 50])
def test_a_learner_that_carries_no_state_sees_windows(num_frames: int) -> None:
    learner = GreyLearner(carries=False)
    assert not can_watch(learner)
    assert can_watch(GreyLearner())
    clip = GreyClip(num_frames)
    told = list(timeline(clip, learner, SIDE, every_s=1.0, carries=False))
    positions = [position for position, _ in moments(clip.times_s, 1.0)]
    assert learner.windows == [[*range(max(0, p - 3), p + 1)] for p in positions]
    assert len(told) == len(positions)


@pytest.mark.parametrize(
    ("sampling", "frames", "by"),
    [
        (FrameSampling(by="uniform", num_frames=8), 8, "all"),
        (FrameSampling(by="segments", num_frames=8, max_frames=3), 3, "all"),
        (FrameSampling(by="fps", fps=5.0), WINDOW_FRAMES, "fps"),
        (FrameSampling(by="stride", stride=3, max_frames=9), 9, "stride"),
        (FrameSampling(by="all"), WINDOW_FRAMES, "all"),
    ],
)
def test_a_clip_plays_at_the_rate_of_the_run(sampling: FrameSampling, frames: int, by: str) -> None:
    assert window_frames(sampling) == frames
    chosen = playing(sampling, None)
    assert (chosen.by, chosen.max_frames) == (by, None)
    assert chosen.stride == sampling.stride
    assert playing(sampling, 2.0) == FrameSampling(by="fps", fps=2.0)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_real_model_ends_where_it_ends_on_the_whole_clip(
    tmp_path: Path, bidirectional: bool
) -> None:
    path = write_clip(tmp_path / "clip.mp4", 37, seed=1)
    side = VideoSide(FrameSampling(by="all"), ClipTransform(height=16, width=16))
    learner = small_learner(side, bidirectional=bidirectional)
    carries = can_watch(learner)
    assert carries is not bidirectional
    with open_clip(path) as clip:
        told = list(timeline(clip, learner, side, every_s=0.7, carries=carries))
    frames = side.parse(str(path))
    assert [moment.time_s for moment in told] == pytest.approx([0.7, 1.4, 2.1, 2.8, 3.5, 3.6])
    for moment in told:
        seen = frames[: int(moment.time_s * 10 + 1.001)]
        expected = learner.probabilities(seen)
        torch.testing.assert_close(moment.probabilities, expected, rtol=1e-4, atol=1e-5)
    shares = torch.stack([moment.probabilities for moment in told])
    assert len(shares[:, 0].unique()) == len(told)
