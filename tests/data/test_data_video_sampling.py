"""Which frames are chosen, by their times alone."""

import numpy as np
import pytest

from seqloom.data.video.sampling import KINDS, FrameSampling
from seqloom.errors import ConfigError


def steady(num_frames: int, fps: float = 25.0) -> np.ndarray:
    return np.arange(num_frames) / fps


def uneven(num_frames: int, seed: int = 0) -> np.ndarray:
    gaps = np.random.default_rng(seed).choice([0.001, 0.02, 0.04, 1.5], num_frames)
    return np.cumsum(gaps) - gaps[0]


@pytest.mark.parametrize("by", KINDS)
@pytest.mark.parametrize("max_frames", [None, 1, 5])
@pytest.mark.parametrize("times_s", [steady(1), steady(2), steady(60), uneven(1), uneven(41)])
def test_choices_ascend_lie_in_the_clip_and_are_as_many_as_counted(by, max_frames, times_s):
    sampling = FrameSampling(by=by, num_frames=7, fps=8.0, stride=3, max_frames=max_frames)
    rng = np.random.default_rng(3)
    for chance in (None, rng, rng, rng):
        chosen = sampling.choose(times_s, chance)
        assert chosen.dtype == np.int64
        assert len(chosen) == sampling.count(times_s) > 0
        assert (np.diff(chosen) >= 0).all()
        assert chosen[0] >= 0
        assert chosen[-1] < len(times_s)
    np.testing.assert_array_equal(sampling.choose(times_s, None), sampling.choose(times_s, None))
    if not sampling.is_random:
        np.testing.assert_array_equal(sampling.choose(times_s, rng), sampling.choose(times_s, None))


def test_uniform_is_the_frame_on_show_in_the_middle_of_each_stretch():
    sampling = FrameSampling(by="uniform", num_frames=4)
    assert sampling.choose(steady(8), None).tolist() == [1, 3, 5, 7]
    assert sampling.choose(steady(4), None).tolist() == [0, 1, 2, 3]
    assert sampling.choose(steady(2), None).tolist() == [0, 0, 1, 1]
    assert sampling.choose(steady(1), None).tolist() == [0, 0, 0, 0]
    # By time, not by number: a long frame is looked at more often than short ones.
    assert sampling.choose(np.array([0, 0.01, 0.02, 1.0, 2.0]), None).tolist() == [2, 2, 3, 4]


@pytest.mark.parametrize("times_s", [steady(60), steady(7), uneven(50), uneven(50, seed=5)])
@pytest.mark.parametrize("fps", [0.3, 5.0, 12.5, 25.0, 60.0])
def test_fps_takes_the_nearest_frame_to_each_tick(times_s, fps):
    chosen = FrameSampling(by="fps", fps=fps).choose(times_s, None)
    ticks = np.arange(len(chosen)) / fps
    assert ticks[-1] <= times_s[-1] + 1e-5
    assert ticks[-1] + 1 / fps > times_s[-1] - 1e-5
    # The law, frame by frame: none is nearer, and of two as near the earlier.
    for tick, number in zip(ticks, chosen, strict=True):
        distance = np.round(np.abs(times_s - tick), 5)
        assert number == np.argmin(distance)


def test_fps_of_the_clip_itself_is_every_frame():
    for fps in (24.0, 25.0, 29.97, 30.0):
        times_s = steady(200, fps)
        chosen = FrameSampling(by="fps", fps=fps).choose(times_s, None)
        assert chosen.tolist() == list(range(200))


def test_stride_and_all_count_frames():
    assert FrameSampling(by="stride", stride=4).choose(steady(9), None).tolist() == [0, 4, 8]
    assert FrameSampling(by="stride", stride=4).choose(steady(1), None).tolist() == [0]
    assert FrameSampling(by="all").choose(steady(3), None).tolist() == [0, 1, 2]


def test_segments_draw_within_their_stretch_and_every_frame_can_come():
    sampling, times_s = FrameSampling(by="segments", num_frames=3), steady(12)
    assert sampling.choose(times_s, None).tolist() == [1, 5, 9]
    rng = np.random.default_rng(0)
    drawn = np.stack([sampling.choose(times_s, rng) for _ in range(300)])
    for segment in range(3):
        assert set(drawn[:, segment]) == set(range(4 * segment, 4 * segment + 4))
    assert sampling.is_random


def test_max_frames_is_a_window_the_middle_one_without_chance():
    sampling = FrameSampling(by="all", max_frames=4)
    assert sampling.choose(steady(10), None).tolist() == [3, 4, 5, 6]
    assert sampling.choose(steady(3), None).tolist() == [0, 1, 2]
    rng = np.random.default_rng(0)
    windows = [sampling.choose(steady(10), rng) for _ in range(200)]
    assert all((np.diff(window) == 1).all() for window in windows)
    assert {window[0] for window in windows} == set(range(7))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"by": "random"}, "data.sampling.by=random"),
        ({"num_frames": 0}, "data.sampling.num_frames=0"),
        ({"stride": -1}, "data.sampling.stride=-1"),
        ({"max_frames": 0}, "data.sampling.max_frames=0"),
        ({"fps": 0.0}, "data.sampling.fps=0.0"),
        ({"fps": float("nan")}, "data.sampling.fps=nan"),
        ({"fps": float("inf")}, "data.sampling.fps=inf"),
    ],
)
def test_what_cannot_be_is_named(options, named):
    with pytest.raises(ConfigError) as caught:
        FrameSampling(**options)
    assert str(caught.value).startswith(f"{named}: ")
