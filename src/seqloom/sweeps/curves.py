"""`Curve`: a long series of values in few points, thinned while it grows.

The idea: every n-th value is kept; when there are twice as many as wanted, every second of them
goes and n doubles. So the memory is bounded, the points stay evenly spread, and the newest value is
always there. The price: a spike between two kept points is not seen. Values that are not finite
are left out.
"""

from __future__ import annotations

import math

MAX_POINTS = 100


class Curve:
    """At most twice `MAX_POINTS` points."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []
        self._last: tuple[float, float] | None = None
        self._count = 0
        self._stride = 1

    def add(self, step: float, value: float) -> None:
        """The next value; steps only grow."""
        if not math.isfinite(value):
            return
        self._last = (step, value)
        if self._count % self._stride == 0:
            self._points.append(self._last)
        self._count += 1
        if len(self._points) >= 2 * MAX_POINTS:
            self._points, self._stride = self._points[::2], 2 * self._stride

    def points(self) -> list[tuple[float, float]]:
        """(step, value) in order, the newest one included."""
        if self._last is None or self._points[-1] == self._last:
            return list(self._points)
        return [*self._points, self._last]
