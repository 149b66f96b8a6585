"""Line charts as small inline SVG: drawn here once, drawn again by `script.js` on zoom and switch.

The idea: a chart is lines in a box of 1000 x 1000 units that the browser stretches to any width
(strokes do not scale), while all words stand outside as HTML, so that text is never squeezed. The
data travel beside the picture as JSON, thinned to its extremes.
The price: `script.js` repeats the scale and the ticks in 40 lines. Values that are not finite (or
beyond 1e100) break the line and are counted in words. An axis is logarithmic where values are
positive and span more than a factor of 50.
"""

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from markupsafe import Markup

from seqloom.tracking.report.run_data import Point
from seqloom.tracking.report.templating import compact, render

BOX = 1000
MAX_POINTS = 400  # a series in the page; more are thinned to the extremes of their neighbours
NUM_MEANS = 80  # points of the mean line over a long, noisy series
MAX_TABLE_ROWS = 40
MAX_DOTS = 40  # series up to this length show their points


class Axis(NamedTuple):
    """A range of values and whether it is logarithmic; `place` maps a value to 0..BOX."""

    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return BOX * (value - low) / (high - low)

    def ticks(self, num: int) -> list[float]:
        """Round values inside the range, about `num` of them (1-2-5 steps, or 1-2-5 decades)."""
        if self.is_log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            mantissas = (1,) if last - first > 4 else (1, 2, 5)
            marks = [m * 10.0**e for e in range(first, last + 1) for m in mantissas]
            return [mark for mark in marks if self.low <= mark <= self.high]
        step = _round_step((self.high - self.low) / num)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [float(f"{k * step:.6g}") for k in range(first, last + 1)]


def line_chart(title: str, anchor: str, series: dict[str, list[Point]]) -> Markup:
    """A chart of one or more metrics over steps (and, with the script, over seconds)."""
    finite = {name: [p for p in points if _is_drawn(p)] for name, points in series.items()}
    drawn = {name: points for name, points in finite.items() if points}
    values = {
        "title": title,
        "anchor": anchor,
        "names": list(series),
        "empty": not drawn,
        "description": _describe(title, finite),
        "gaps": [
            _gap(name, points) for name, points in series.items() if len(finite[name]) < len(points)
        ],
    }
    if not drawn:
        return render("chart.html", values)
    heights = [point.value for points in drawn.values() for point in points]
    x_axis = _padded([point.step for points in drawn.values() for point in points], False)
    y_axis = _padded(heights, min(heights) > 0 and max(heights) > 50 * min(heights))
    lines = [_line(name, points, series[name]) for name, points in drawn.items()]
    for line in lines:
        line["path"] = _path(line["points"], x_axis, y_axis)
        line["mean_path"] = _path(line["mean"], x_axis, y_axis) if line["mean"] else ""
        line["number"] = list(series).index(line["name"])
    return render(
        "chart.html",
        values
        | {
            "lines": lines,
            "x_ticks": [(short(t), x_axis.place(t) / 10) for t in x_axis.ticks(6)],
            "y_ticks": [(short(t), 100 - y_axis.place(t) / 10) for t in y_axis.ticks(5)],
            "table": _table(drawn),
            "num_rows": max(len(points) for points in drawn.values()),
            "data": {
                "log": y_axis.is_log,
                "series": [
                    {k: line[k] for k in ("name", "number", "points", "mean")} for line in lines
                ],
            },
        },
    )


def thin(points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` points in order: first, last, and the lowest and highest of each stretch."""
    if len(points) <= limit:
        return list(points)
    inner = points[1:-1]
    kept: list[Point] = []
    for stretch in _stretches(inner, (limit - 2) // 2):
        low = min(range(len(stretch)), key=lambda i: stretch[i].value)
        high = max(range(len(stretch)), key=lambda i: stretch[i].value)
        kept += [stretch[i] for i in sorted({low, high})]
    return [points[0], *kept, points[-1]]


def short(value: float) -> str:
    """A tick's label: 0.5, 1200, 20k, 3M, 5e-5."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(unit, 1e4):
            return f"{value / unit:.6g}{name}"
    if value and abs(value) < 1e-4:
        mantissa, exponent = f"{value:.5e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.6g}"


def _line(name: str, points: list[Point], logged: list[Point]) -> dict[str, Any]:
    """One series as plain rows [step, seconds, epoch, value]; None marks a break of the line."""
    kept = thin(points, MAX_POINTS)
    rows: list[list[float | None] | None] = []
    breaks = deque(p.step for p in logged if not _is_drawn(p))
    for point in kept:
        if breaks and breaks[0] <= point.step:
            rows.append(None)
        while breaks and breaks[0] <= point.step:
            breaks.popleft()
        rows.append(_row(point))
    mean = []
    if len(points) >= 2 * NUM_MEANS:
        mean = [_row(_mean(stretch)) for stretch in _stretches(points, NUM_MEANS)]
    return {
        "name": name,
        "points": rows,
        "mean": mean,
        "dots": len(points) <= MAX_DOTS,
        "last": compact(points[-1].value),
    }


def _row(point: Point) -> list[float | None]:
    rounded = [None if item is None else float(f"{item:.6g}") for item in point[1:]]
    return [point.step, *rounded]


def _mean(points: Sequence[Point]) -> Point:
    def mean(items: list[float | None]) -> float | None:
        known = [item for item in items if item is not None]
        return sum(known) / len(known) if known else None

    step, seconds, epoch, value = (mean(list(column)) for column in zip(*points, strict=True))
    assert step is not None
    assert value is not None
    return Point(step, seconds, epoch, value)


def _stretches(points: Sequence[Point], num: int) -> list[Sequence[Point]]:
    """`points` cut into `num` neighbouring stretches of nearly equal length, none empty."""
    cuts = [len(points) * k // num for k in range(num + 1)]
    return [points[a:b] for a, b in pairwise(cuts) if b > a]


def _path(rows: list[Any], x_axis: Axis, y_axis: Axis) -> str:
    """The `d` of a path through rows; a row of None lifts the pen; a lone point is a dot."""
    parts, pen_is_down = [], False
    for row in rows:
        if row is None:
            pen_is_down = False
            continue
        x, y = x_axis.place(row[0]), BOX - y_axis.place(row[3])
        parts.append(
            f"{'L' if pen_is_down else 'M'}{x:.1f} {y:.1f}" + ("" if pen_is_down else "h0")
        )
        pen_is_down = True
    return "".join(parts)


def _padded(values: list[float], is_log: bool) -> Axis:
    """The range of values with a little air, never of width 0."""
    low, high = min(values), max(values)
    if is_log:
        return Axis(low / 1.15, high * 1.15, True)
    air = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(low - air, high + air)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)


def _is_drawn(point: Point) -> bool:
    # Beyond 1e100 the arithmetic of an axis would leave the range of a float.
    return math.isfinite(point.value) and abs(point.value) < 1e100


def _gap(name: str, points: list[Point]) -> str:
    broken = [point for point in points if not _is_drawn(point)]
    counts = f"{len(broken):,} of {len(points):,} values are not finite"
    return f"{name}: {counts}, the first at step {compact(broken[0].step)}"


def _describe(title: str, series: dict[str, list[Point]]) -> str:
    """The chart in words, for those who do not see it."""
    sentences = []
    for name, points in series.items():
        if not points:
            sentences.append(f"{name}: no finite value.")
            continue
        first, last = points[0], points[-1]
        low = min(points, key=lambda point: point.value)
        high = max(points, key=lambda point: point.value)
        sentences.append(
            f"{name}: {compact(first.value)} at step {compact(first.step)}, "
            f"{compact(last.value)} at step {compact(last.step)}, "
            f"lowest {compact(low.value)} at step {compact(low.step)}, "
            f"highest {compact(high.value)} at step {compact(high.step)}."
        )
    return f"{title} over steps. " + " ".join(sentences)


def _table(series: dict[str, list[Point]]) -> list[list[str]]:
    """Rows (step, a cell a series) at evenly chosen steps, first and last among them."""
    by_step: dict[float, dict[str, float]] = {}
    for name, points in series.items():
        for point in points:
            by_step.setdefault(point.step, {})[name] = point.value
    # Steps where the rarest series has a value say most: validation beside training.
    rarest = min(series.values(), key=len)
    steps = sorted({point.step for point in rarest} | {min(by_step), max(by_step)})
    if len(steps) > MAX_TABLE_ROWS:
        last = len(steps) - 1
        steps = [steps[k * last // (MAX_TABLE_ROWS - 1)] for k in range(MAX_TABLE_ROWS)]
    return [
        [compact(step)]
        + [compact(by_step[step][name]) if name in by_step[step] else "" for name in series]
        for step in steps
    ]
