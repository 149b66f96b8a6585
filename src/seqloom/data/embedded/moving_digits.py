"""Clips of handwritten digits that move, rendered and encoded: the class is in the motion alone.

Eight motions in four pairs, each the other's reversal in time: left and right, up and down, round
in a circle clockwise and counterclockwise, growing and shrinking. A clip of the second of a pair
is drawn like one of the first and its path is walked backwards, so places, sizes and brightness
are distributed alike for both: a bag of frames can tell the pair, never its member, and gets at
most half of the clips right. Frames are encoded one by one with a fixed quantiser (H.264 without
prediction between frames), as a codec that looks back would leave the order of time in the quality
of frames. A second motion or a second digit is for sentences (`moving_sentences`).
The price: the digits are the 1797 of scikit-learn, so those of the same writer are in all splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from seqloom.errors import DataError

MOTIONS = (
    "left",
    "right",
    "up",
    "down",
    "clockwise",
    "counterclockwise",
    "growing",
    "shrinking",
)
FPS = 10
MIN_FRAMES, MAX_FRAMES = 10, 24
DIGIT_PIXELS = 8
NOISE = 6.0  # standard deviation of a pixel, of 255
QUANTISER = 20  # of H.264: 0 is lossless


@dataclass(frozen=True)
class Path2D:
    """Where a digit is in each of T frames.

    Attributes:
        x, y: [T] of its middle, in pixels.
        size: [T] pixels of its side.
        angle: [T] radians, clockwise.
    """

    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    angle: np.ndarray

    def backwards(self) -> Path2D:
        """The same places in the other order of time."""
        return Path2D(self.x[::-1], self.y[::-1], self.size[::-1], self.angle[::-1])


def draw_path(
    motion: str,
    *,
    num_frames: int,
    area: tuple[float, float, float, float],
    rng: np.random.Generator,
) -> Path2D:
    """A path of the motion inside `area` (left, top, right, bottom in pixels)."""
    kind = MOTIONS.index(motion) // 2
    left, top, right, bottom = area
    room = min(right - left, bottom - top)
    steps = np.linspace(0, 1, num_frames)
    still = np.ones(num_frames)
    low, high = room * rng.uniform(0.34, 0.42), room * rng.uniform(0.62, 0.72)
    size = low + (high - low) * steps if kind == 3 else still * room * rng.uniform(0.4, 0.52)
    reach = size.max() / 2
    x, y = (
        still * rng.uniform(begin + reach, end - reach)
        for begin, end in ((left, right), (top, bottom))
    )
    angle = still * rng.uniform(-0.3, 0.3)
    if kind == 2:
        radius = (room / 2 - reach) * rng.uniform(0.8, 1.0)
        around = rng.uniform(0, 2 * np.pi) + rng.uniform(0.75, 1.75) * np.pi * steps
        x = (left + right) / 2 + radius * np.cos(around)  # clockwise: rows go down
        y = (top + bottom) / 2 + radius * np.sin(around)
    if kind < 2:
        begin, end = (left, right) if kind == 0 else (top, bottom)
        span = end - begin - 2 * reach
        distance = span * rng.uniform(0.6, 1.0)
        start = end - reach - rng.uniform(0, span - distance)
        track = start - distance * steps  # to the left, or up
        x, y = (track, y) if kind == 0 else (x, track)
    path = Path2D(x, y, size, angle)
    return path if MOTIONS.index(motion) % 2 == 0 else path.backwards()


def cover_of(digit: np.ndarray, path: Path2D, *, height: int, width: int) -> np.ndarray:
    """[T, height, width] float32 in 0..1: how much of each pixel the ink of a digit covers.

    Args:
        digit: [8, 8] in 0..1.
    """
    rows, columns = np.mgrid[:height, :width].astype(np.float32) + 0.5
    place = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (path.x, path.y, path.angle))
    x, y, angle = place
    scale = DIGIT_PIXELS / np.asarray(path.size, dtype=np.float32)[:, None, None]
    right, down = columns - x, rows - y
    cosine, sine = np.cos(angle), np.sin(angle)
    # The inverse of a turn clockwise on a screen, whose rows go down; a border of no ink around.
    u = (right * cosine + down * sine) * scale + DIGIT_PIXELS / 2 + 0.5
    v = (down * cosine - right * sine) * scale + DIGIT_PIXELS / 2 + 0.5
    ink = np.pad(digit.astype(np.float32), 1)
    u, v = (np.clip(where, 0, DIGIT_PIXELS + 0.999) for where in (u, v))
    column, row = u.astype(np.int32), v.astype(np.int32)
    u, v = u - column, v - row
    flat, at = ink.ravel(), row * (DIGIT_PIXELS + 2) + column
    below = at + DIGIT_PIXELS + 2
    upper = flat[at] * (1 - u) + flat[at + 1] * u
    lower = flat[below] * (1 - u) + flat[below + 1] * u
    return upper * (1 - v) + lower * v


def background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """[height, width, 3] float32, dark, with slow changes of colour."""
    coarse = rng.uniform(10, 100, size=(5, 5, 3)).astype(np.float32)
    for axis, pixels in ((0, height), (1, width)):
        at = np.linspace(0, 3.999, pixels).astype(np.float32)
        first = at.astype(np.int32)
        share = (at - first).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        coarse = coarse.take(first, axis) * (1 - share) + coarse.take(first + 1, axis) * share
    return coarse


def bright_colour(rng: np.random.Generator) -> np.ndarray:
    """[3] float32, red, green and blue in 0..255."""
    return rng.uniform(150, 255, size=3).astype(np.float32)


def paint(
    layers: list[tuple[np.ndarray, np.ndarray]],
    *,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """uint8 [T, height, width, 3]: layers of ink (each [T, height, width] and its colour [3], at
    least one) over a dark texture, with noise anew in each frame.
    """
    picture = background(height, width, rng)[None]
    for cover, colour in layers:
        ink = cover[..., None]
        picture = picture * (1 - ink) + colour * ink
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * NOISE
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def moving_digit(
    motion: str, digits: np.ndarray, *, size: int, rng: np.random.Generator
) -> np.ndarray:
    """uint8 [T, size, size, 3]: one digit of `digits` [N, 8, 8] (0..1) that moves, sometimes with a
    second one that stands still behind it.
    """
    num_frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
    area = (0.0, 0.0, float(size), float(size))
    path = draw_path(motion, num_frames=num_frames, area=area, rng=rng)
    layers = [cover_of(digits[rng.integers(len(digits))], path, height=size, width=size)]
    if rng.random() < 0.3:
        middle = rng.uniform(0.2 * size, 0.8 * size, size=2)
        still = np.ones(num_frames)
        place = Path2D(still * middle[0], still * middle[1], still * size * 0.3, still * 0)
        layers.insert(
            0, cover_of(digits[rng.integers(len(digits))], place, height=size, width=size)
        )
    coloured = [(layer, bright_colour(rng)) for layer in layers]
    return paint(coloured, height=size, width=size, rng=rng)


def encode_clip(frames: np.ndarray, path: Path) -> None:
    """Writes uint8 [T, H, W, 3] (even H and W) as H.264; the same frames give the same bytes."""
    import av  # loads a codec of every kind, which other data should not wait for

    try:
        with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream("libx264", rate=FPS)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.thread_count = 1
            stream.options = {
                "preset": "ultrafast",
                "x264-params": f"keyint=1:qp={QUANTISER}:ipratio=1:log-level=none",
            }
            for number, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (av.FFmpegError, ValueError, OSError) as error:
        raise DataError(
            str(path),
            f"cannot be encoded as H.264 ({error})",
            "install av from PyPI, which has libx264, and look for room on the disk",
        ) from error
