"""Clips of one or two moving digits, each with the sentence that says what happens in it.

A digit is named by its colour, which a small network learns in a minute, or by its number, which
takes one that reads digits. The names, the motions, and whether these come at once or one after
the other are all needed for the sentence, and nothing else is: of two digits the one in the upper
half is named first when they move at once, and the one that moves first otherwise. The order of
two motions, and the motion itself, are in the order of the frames alone (`moving_digits`).
"""

from __future__ import annotations

import numpy as np

from seqloom.data.embedded.moving_digits import (
    MAX_FRAMES,
    MIN_FRAMES,
    MOTIONS,
    Path2D,
    bright_colour,
    cover_of,
    draw_path,
    paint,
)

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VERBS = {
    "left": "moves to the left",
    "right": "moves to the right",
    "up": "moves up",
    "down": "moves down",
    "clockwise": "circles clockwise",
    "counterclockwise": "circles counterclockwise",
    "growing": "grows",
    "shrinking": "shrinks",
}
COLOURS = {
    "red": (235, 60, 60),
    "green": (70, 220, 80),
    "blue": (80, 110, 250),
    "yellow": (240, 220, 60),
    "pink": (245, 120, 210),
    "white": (240, 240, 240),
}
NAMED_BY = ("colour", "digit")
KINDS = {1: ("alone", "twice"), 2: ("alone", "twice", "at once", "in turn")}
PLACES = ("at the top", "at the bottom")


def moving_sentence(
    digits: np.ndarray,
    labels: np.ndarray,
    *,
    named_by: str,
    max_digits: int,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, str]:
    """uint8 [T, size, size, 3] and its sentence, in words with spaces between.

    Args:
        digits: [N, 8, 8] in 0..1.
        labels: [N] which digit each is.
        named_by: `colour` or `digit`.
        max_digits: 1 or 2 in a clip.
    """
    kinds = KINDS[max_digits]
    kind = kinds[rng.integers(len(kinds))]
    # Two that differ: nobody can tell one long move from two short ones.
    motions = [MOTIONS[number] for number in rng.permutation(len(MOTIONS))[:2]]
    rows = rng.integers(len(digits), size=2)
    shown = [digits[row] for row in rows]
    if named_by == "colour":
        chosen = rng.permutation(len(COLOURS))[:2]
        names = [f"the {list(COLOURS)[number]} digit" for number in chosen]
        colours = [np.array([*COLOURS.values()][number], dtype=np.float32) for number in chosen]
    else:
        names = [f"the digit {NAMES[labels[row]]}" for row in rows]
        colours = [bright_colour(rng) for _ in rows]
    if kind in ("alone", "twice"):
        path, text = _one(motions[: 1 + (kind == "twice")], size=size, rng=rng)
        return _painted([(shown[0], path, colours[0])], size, rng), f"{names[0]} {text}"
    upper_first = kind == "at once" or rng.random() < 0.5
    paths = _two(motions, at_once=kind == "at once", upper_first=upper_first, size=size, rng=rng)
    places = PLACES if upper_first else PLACES[::-1]
    said = [
        f"{place} {name} {VERBS[motion]}"
        for place, name, motion in zip(places, names, motions, strict=True)
    ]
    word = "while" if kind == "at once" else "and then"
    frames = _painted(list(zip(shown, paths, colours, strict=True)), size, rng)
    return frames, f"{said[0]} {word} {said[1]}"


def _one(motions: list[str], *, size: int, rng: np.random.Generator) -> tuple[Path2D, str]:
    """One digit with one motion, or with two one after the other, the second where the first
    ended.
    """
    area = (0.0, 0.0, float(size), float(size))
    paths = [draw_path(m, num_frames=_length(rng), area=area, rng=rng) for m in motions]
    text = " and then ".join(VERBS[motion] for motion in motions)
    if len(paths) == 1:
        return paths[0], text
    return _joined(paths[0], paths[1], size), text


def _joined(first: Path2D, second: Path2D, size: int) -> Path2D:
    """`second` moved, turned and scaled to begin as `first` ends; then both are brought inside the
    picture, which changes no motion into another.
    """
    scale = first.size[-1] / second.size[0]
    x, y, sizes, angle = (
        np.concatenate([one, one[-1] + (two - two[0]) * factor])
        for one, two, factor in (
            (first.x, second.x, 1.0),
            (first.y, second.y, 1.0),
            (first.size, second.size, scale),
            (first.angle, second.angle, 1.0),
        )
    )
    sizes *= min(1.0, 0.7 * size / sizes.max())
    return Path2D(_inside(x, sizes, size), _inside(y, sizes, size), sizes, angle)


def _inside(track: np.ndarray, sizes: np.ndarray, size: int) -> np.ndarray:
    """The track shifted, and shortened where need be, so that the digit stays in the picture."""
    reach = sizes.max() / 2
    room, span = size - 2 * reach, np.ptp(track)
    if span > room:
        track = track * (room / span)
    low, high = reach - track.min(), size - reach - track.max()
    return track + np.clip(0.0, low, high)


def _two(
    motions: list[str], *, at_once: bool, upper_first: bool, size: int, rng: np.random.Generator
) -> list[Path2D]:
    """A digit in each half of the picture; at once, or the second stands until the first has
    ended.
    """
    half = size / 2
    areas = [(0.0, 0.0, float(size), half), (0.0, half, float(size), float(size))]
    if not upper_first:
        areas.reverse()
    lengths = [_length(rng) for _ in motions]
    if at_once:
        lengths = [max(lengths)] * 2
    paths = [
        draw_path(motion, num_frames=length, area=area, rng=rng)
        for motion, length, area in zip(motions, lengths, areas, strict=True)
    ]
    if at_once:
        return paths
    return [_held(paths[0], 0, lengths[1]), _held(paths[1], lengths[0], 0)]


def _held(path: Path2D, before: int, after: int) -> Path2D:
    """The path with its first place `before` frames longer, and its last `after` frames."""
    x, y, size, angle = (
        np.pad(values, (before, after), mode="edge")
        for values in (path.x, path.y, path.size, path.angle)
    )
    return Path2D(x, y, size, angle)


def _length(rng: np.random.Generator) -> int:
    return int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1)) * 2 // 3


def _painted(
    shown: list[tuple[np.ndarray, Path2D, np.ndarray]], size: int, rng: np.random.Generator
) -> np.ndarray:
    layers = [
        (cover_of(digit, path, height=size, width=size), colour) for digit, path, colour in shown
    ]
    return paint(layers, height=size, width=size, rng=rng)
