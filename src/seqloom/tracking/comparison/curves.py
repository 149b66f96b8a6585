"""Curves of a metrics.csv in a few points each, for pages that show hundreds of them.

The idea: time is cut into equal parts, and of each part the lowest and the highest value stay, so a
spike of one step is still seen; the first and the last value stay exact. The price: what lies
between is gone, the run's own page has it. Values that are not finite are no points.
"""

from __future__ import annotations

import csv
import math
from typing import NamedTuple


class Curve(NamedTuple):
    """Values of one metric in the order they were logged; lists of one length.

    `seconds` is wall time since the run began, None where the file does not tell.
    """

    step: list[float]
    seconds: list[float | None]
    value: list[float]


def read_curves(text: str, max_points: int) -> dict[str, Curve]:
    """The curves of training loss and of every validation metric, of at most `max_points` each.

    A torn last line (of a killed run) is left out. Raises ValueError where there is no column
    "step", and csv.Error.
    """
    rows = csv.reader(text.splitlines())
    names = next(rows, None)
    if names is None:
        return {}
    place = {name: index for index, name in enumerate(names)}
    if "step" not in place:
        raise ValueError("it has no column step")
    wanted = {name: place[name] for name in names if _is_shown(name)}
    found: dict[str, Curve] = {name: Curve([], [], []) for name in wanted}
    for row in rows:
        if len(row) != len(names):
            continue
        step = _finite(row[place["step"]])
        if step is None:
            continue
        seconds = _finite(row[place["seconds"]]) if "seconds" in place else None
        for name, index in wanted.items():
            value = _finite(row[index])
            if value is not None:
                curve = found[name]
                curve.step.append(step)
                curve.seconds.append(seconds)
                curve.value.append(value)
    return {name: thinned(curve, max_points) for name, curve in found.items() if curve.value}


def thinned(curve: Curve, max_points: int) -> Curve:
    """`curve` in at most `max_points` (4 or more) of its own points: the first, the last, and the
    lowest and highest of equal parts between them."""
    num = len(curve.value)
    if num <= max_points:
        return curve
    num_parts = (max_points - 2) // 2
    kept = {0, num - 1}
    for part in range(num_parts):
        start = 1 + part * (num - 2) // num_parts
        stop = 1 + (part + 1) * (num - 2) // num_parts
        kept.add(min(range(start, stop), key=curve.value.__getitem__))
        kept.add(max(range(start, stop), key=curve.value.__getitem__))
    order = sorted(kept)
    return Curve(
        [curve.step[k] for k in order],
        [curve.seconds[k] for k in order],
        [curve.value[k] for k in order],
    )


def _is_shown(name: str) -> bool:
    return name == "train/loss" or name.startswith("val/")


def _finite(cell: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
