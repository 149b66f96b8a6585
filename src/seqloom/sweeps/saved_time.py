"""How much time a search saved by stopping hopeless trials: an estimate, and how it was made.

The idea: a stopped trial would have made as many validations as a finished one typically does, each
at its own pace. The price: a trial is as fast at its end as at its beginning, and its start-up is
part of its pace, so that trials stopped at once count a little too much.
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
    known = [(seconds, count) for seconds, count in pruned if count > 0]
    if not finished or not known:
        return 0.0, ""
    typical = statistics.median(count for _, count in finished)
    saved = sum(seconds / count * max(0.0, typical - count) for seconds, count in known)
    mean = statistics.mean(count for _, count in known)
    words = (
        f"{len(known)} trials were stopped after {mean:.1f} of {typical:g} validations in the "
        "mean; what they had left is counted at the pace of each"
    )
    return saved, words
