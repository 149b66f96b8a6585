"""The part of a clip in which something moves is found, whatever its size and place."""

from __future__ import annotations

import numpy as np
import pytest

from seqloom.data.video.moving_part import moving_part
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError


def clip_with(row: int, column: int, reach: int, *, noise: float = 2.0) -> np.ndarray:
    """A bright square that goes round a place, [24, 60, 90, 3], with noise everywhere."""
    rng = np.random.default_rng(3)
    frames = rng.normal(90, noise, size=(24, 60, 90, 3))
    for step, frame in enumerate(frames):
        turn = 2 * np.pi * step / len(frames)
        top, left = int(row + reach * np.sin(turn)), int(column + reach * np.cos(turn))
        frame[top - 3 : top + 3, left - 3 : left + 3] = 220
    return frames.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("row", [22, 36])
@pytest.mark.parametrize("column", [25, 45, 65])
@pytest.mark.parametrize("reach", [8, 14])
def test_it_holds_what_moves(row: int, column: int, reach: int) -> None:
    found_row, found_column, side = moving_part(clip_with(row, column, reach))
    assert abs(found_row - row) < 3
    assert abs(found_column - column) < 3
    assert 2 * reach - 4 <= side <= 2 * reach + 14


@pytest.mark.parametrize("num_frames", [1, 5])
def test_where_nothing_moves_it_is_the_middle(num_frames: int) -> None:
    still = np.full((num_frames, 60, 90, 3), 70, dtype=np.uint8)
    assert moving_part(still) == (30, 45, 60)


def test_the_transform_cuts_it_out_and_fills_the_answer() -> None:
    frames = clip_with(22, 25, 8, noise=0.0)
    transform = ClipTransform(height=32, width=32, resize="motion")
    near = transform(frames, None)
    whole = ClipTransform(height=32, width=32)(frames, None)
    assert near.shape == (24, 3, 32, 32)

    def bright(clip: np.ndarray) -> float:
        return float((clip > 150).mean())

    assert bright(near.numpy()) > 2 * bright(whole.numpy())


def test_chance_shifts_it_and_stays_inside() -> None:
    frames = clip_with(22, 25, 14)
    transform = ClipTransform(height=24, width=32, resize="motion", crop_scale=[0.5, 3.0])
    drawn = [transform(frames, np.random.default_rng(seed)) for seed in range(6)]
    assert all(clip.shape == (24, 3, 24, 32) for clip in drawn)
    assert len({clip.numpy().tobytes() for clip in drawn}) == 6
    again = transform(frames, np.random.default_rng(2))
    assert again.numpy().tobytes() == drawn[2].numpy().tobytes()
    assert transform.is_random
    assert not ClipTransform(resize="motion").is_random


def test_bright_and_dark_change_places() -> None:
    frames = clip_with(22, 25, 8)
    plain = ClipTransform(height=60, width=90)(frames, None)
    inverted = ClipTransform(height=60, width=90, invert=1.0)(frames, np.random.default_rng(1))
    assert (inverted == 255 - plain).all()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"crop_scale": [0.5, 2.0]}, r"crop_scale=\[0\.5,2\.0\].*at most 1"),
        ({"crop_scale": [0.5, 5.0], "resize": "motion"}, r"at most 4"),
        ({"invert": 1.5}, r"data\.transform\.invert=1\.5"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        ClipTransform(**options)  # type: ignore[arg-type]
