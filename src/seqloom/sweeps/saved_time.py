"""How much time a search saved by stopping hopeless trials: an estimate, and how it was made.

The idea: a stopped trial would have taken as long as a finished one, by their median. Its own pace
is no better a guide: starting up takes part of the time, so that trials stopped at once look slow.
The price: that a stopped trial was slower or faster than the others is not seen.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def saved_time(
    finished: Sequence[tuple[float, int]], pruned: Sequence[tuple[float, int]]
) -> tuple[float, str]:
    """Seconds that were saved, and how that was estimated; 0 and "" where nothing is known.

    Args:
        finished, pruned: seconds and validations of each trial.
    """
    if not finished or not pruned:
        return 0.0, ""
    typical_s = statistics.median(seconds for seconds, _ in finished)
    saved = sum(max(0.0, typical_s - seconds) for seconds, _ in pruned)
    typical = statistics.median(count for _, count in finished)
    mean = statistics.mean(count for _, count in pruned)
    words = (
        f"{len(pruned)} trials were stopped after {mean:.1f} of {typical:g} validations in the "
        f"mean; a finished trial takes {typical_s:.0f} s, the median"
    )
    return saved, words
