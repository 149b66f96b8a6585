"""`holm`: p values of several comparisons, raised so that all of them together err seldom."""

from __future__ import annotations

import math
from collections.abc import Sequence

from seqloom.errors import DataError


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values in the order given (Holm 1979, step-down).

    Rejecting those of at most 5 % makes one or more false rejections in at most 5 % of all cases,
    whatever the comparisons have to do with each other. Equal p values stay equal; none stay none.

    Raises:
        DataError: a value that is no probability.
    """
    for p in p_values:
        if math.isnan(p) or not 0 <= p <= 1:
            raise DataError(f"p={p}", "it is no probability", "a number from 0 to 1")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, highest)
    return adjusted
