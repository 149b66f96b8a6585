"""Which jobs of a list cannot be composed, found before the first one starts.

The one idea: values of settings were checked with the first combination, so what is left is how the
chosen parts fit together: one job of each combination of groups is composed, a quarter of a second
each. Such a job is told, not refused: the others are wanted all the same, and it costs nothing to
let it fail. The price: what only a built model can tell (`unrolling=fused` of a cell without a
kernel) is seen when the job begins.
"""

from __future__ import annotations

from collections.abc import Sequence

from seqloom.config.fit import check_fit
from seqloom.config.overrides import compose_config
from seqloom.config.paths import config_dir, groups
from seqloom.config.runs import plain
from seqloom.errors import ConfigError

MAX_COMPOSED = 40  # combinations; more would keep the user waiting


def misfits(jobs: Sequence[Sequence[str]]) -> list[str]:
    """A line for each reason for which jobs will fail; [] where none is known.

    Args:
        jobs: the overrides of each, by number.
    """
    known = groups(config_dir())
    alike: dict[tuple[str, ...], list[int]] = {}
    for number, overrides in enumerate(jobs):
        parts = tuple(text for text in overrides if text.partition("=")[0] in known)
        alike.setdefault(parts, []).append(number)
    reasons: dict[str, list[int]] = {}
    for numbers in list(alike.values())[:MAX_COMPOSED]:
        reason = _why_not(jobs[numbers[0]])
        if reason is not None:
            reasons.setdefault(reason, []).extend(numbers)
    return [_line(reason, numbers, len(jobs)) for reason, numbers in reasons.items()]


def _why_not(overrides: Sequence[str]) -> str | None:
    try:
        config = compose_config(overrides)
        check_fit(config, overrides)
        plain(config)
    except ConfigError as error:
        return str(error)
    return None


def _line(reason: str, numbers: Sequence[int], num_jobs: int) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:5])) + (", ..." if len(numbers) > 5 else "")
    return f"{len(numbers)} of {num_jobs} jobs will fail ({shown}): {reason}"
