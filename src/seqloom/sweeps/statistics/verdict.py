"""`compare_groups`: the verdict on two groups of runs, and on every pair of many groups.

Which test over seeds is made depends on the number of runs and on their seeds alone, never on the
values: pairs by seed where both groups have the same seeds, and enough of them that pairs can show
something; else all regroupings. Runs of one group with the same seed say the same thing twice:
their mean counts once. Predictions count only if they give the values again, so that a metric of
another kind with the same name is never tested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from seqloom.sweeps.statistics.bootstrap import PairedTest, Resampled, compare_resampled, resample
from seqloom.sweeps.statistics.description import Mode, check_mode
from seqloom.sweeps.statistics.examples import Array, ExampleSums
from seqloom.sweeps.statistics.seeds import (
    LEVEL,
    almost_stochastic_order,
    compare_seeds,
    smallest_p,
)
from seqloom.sweeps.statistics.wording import Verdict, conclude, with_correction

TOLERANCE = 1e-4  # of a metric that the predictions give again


@dataclass(frozen=True, eq=False)
class GroupScores:
    """The runs of one group of equal configs.

    Attributes:
        label: its name in the words.
        seeds: one a run; None where it is not known.
        values: the metric of each run, in the same order; NaN where it has none.
        sums: of each run's predictions (`metric_sums` of the same metric), None of a run without;
            or None where there are none at all.
    """

    label: str
    seeds: Sequence[int | None]
    values: Sequence[float]
    sums: Sequence[ExampleSums | None] | None = None


@dataclass(frozen=True, eq=False)
class _Usable:
    """What of a group can be compared: a value a seed, and runs with predictions or `why_not`."""

    label: str
    values: dict[int | str, float]
    sums: Sequence[ExampleSums]
    num_lost: int
    why_not: str


@dataclass(frozen=True, eq=False)
class _Rows:
    """A group's runs among those that were resampled together."""

    resampled: Resampled
    runs: range


def compare_groups(
    a: GroupScores, b: GroupScores, metric: str, mode: Mode = "max", num_comparisons: int = 1
) -> Verdict:
    """Holds `a` against `b`, uncorrected; `metric` is its name in the words ("BLEU").

    `num_comparisons` is how many will be corrected for together: with the number of runs it decides
    whether they make pairs. What cannot be compared is told in the words, and is never an error.

    Raises:
        ConfigError: a mode that is neither `min` nor `max`.
    """
    (verdict,) = _compare_pairs([a, b], metric, mode, num_comparisons)
    return conclude(verdict, 1, verdict.p_value)


def compare_all(groups: Sequence[GroupScores], metric: str, mode: Mode = "max") -> list[Verdict]:
    """Every pair of groups, corrected together, in the order (0, 1), (0, 2), ..., (1, 2), ...

    Examples are drawn once for all groups with the same test set.
    """
    num_comparisons = math.comb(len(groups), 2)
    return with_correction(_compare_pairs(groups, metric, mode, num_comparisons))


def _compare_pairs(
    groups: Sequence[GroupScores], metric: str, mode: Mode, num_comparisons: int
) -> list[Verdict]:
    check_mode(mode)
    usable = [_usable(group, metric) for group in groups]
    rows = _resample_groups(usable)
    level = LEVEL / max(1, num_comparisons)
    return [
        _compare(usable[i], usable[j], _test_examples(rows[i], rows[j]), metric, mode, level)
        for i, j in combinations(range(len(groups)), 2)
    ]


def _usable(group: GroupScores, metric: str) -> _Usable:
    kept = [i for i, value in enumerate(group.values) if math.isfinite(value)]
    by_seed: dict[int | str, list[float]] = {}
    for i in kept:
        seed = group.seeds[i]
        by_seed.setdefault(f"run {i}" if seed is None else seed, []).append(group.values[i])
    given = [None if group.sums is None else group.sums[i] for i in kept]
    sums = [one for one in given if one is not None]
    values = [group.values[i] for i in kept]
    why_not = ""
    if not sums:
        why_not = f"no predictions tell {metric}"
    elif len(sums) < len(given):
        why_not = f"{group.label} lacks predictions of a run"
    elif not np.allclose([s.total for s in sums], values, rtol=TOLERANCE, atol=TOLERANCE):
        why_not = f"the predictions of {group.label} give another {metric}"
    elif len({(s.num_examples, s.examples) for s in sums}) > 1 or not sums[0].num_examples:
        why_not = f"the runs of {group.label} have no test set in common"
    means = {seed: math.fsum(same) / len(same) for seed, same in by_seed.items()}
    return _Usable(group.label, means, sums, len(group.values) - len(kept), why_not)


def _resample_groups(groups: Sequence[_Usable]) -> list[_Rows | None]:
    """All groups with the same test set together; None of one without a test set."""
    by_set: dict[tuple[int, str], list[_Usable]] = {}
    for group in groups:
        if not group.why_not:
            first = group.sums[0]
            by_set.setdefault((first.num_examples, first.examples), []).append(group)
    found: dict[int, _Rows] = {}
    for same in by_set.values():
        if len(same) < 2:
            continue
        resampled = resample([sums for group in same for sums in group.sums])
        start = 0
        for group in same:
            found[id(group)] = _Rows(resampled, range(start, start + len(group.sums)))
            start += len(group.sums)
    return [found.get(id(group)) for group in groups]


def _test_examples(a: _Rows | None, b: _Rows | None) -> PairedTest | None:
    if a is None or b is None or a.resampled is not b.resampled:
        return None
    return compare_resampled(a.resampled, a.runs, b.runs)


def _compare(
    a: _Usable, b: _Usable, examples: PairedTest | None, metric: str, mode: Mode, level: float
) -> Verdict:
    """The verdict without its conclusion; `level` is what a single p value will have to reach."""
    notes = _notes(a, b, examples)
    num_runs = (len(a.values), len(b.values))
    if not a.values or not b.values:
        return Verdict(a.label, b.label, metric, mode, num_runs, notes)
    ours, theirs, paired = _in_order(a.values, b.values, level)
    seeds = compare_seeds(ours, theirs, paired)
    difference = float(np.mean(ours) - np.mean(theirs))
    deciding = examples if examples and examples.p_value > seeds.p_value else seeds
    has_interval = math.isfinite(deciding.low)
    # Of the better one over the other, with the greater value the better one.
    sign = 1.0 if mode == "max" else -1.0
    better, other = (ours, theirs) if difference * sign > 0 else (theirs, ours)
    epsilon = almost_stochastic_order(sign * better, sign * other)
    return Verdict(
        first=a.label,
        second=b.label,
        metric=metric,
        mode=mode,
        num_runs=num_runs,
        notes=notes,
        difference=difference,
        low=deciding.low if has_interval else None,
        high=deciding.high if has_interval else None,
        p_seeds=seeds.p_value,
        p_examples=examples.p_value if examples else None,
        epsilon=epsilon if min(num_runs) > 1 else None,
        p_value=deciding.p_value,
    )


def _in_order(
    a: dict[int | str, float], b: dict[int | str, float], level: float
) -> tuple[Array, Array, bool]:
    """The values of both, by seed and as pairs where that can show a difference at `level`."""
    paired = a.keys() == b.keys() and all(isinstance(seed, int) for seed in a)
    paired = paired and smallest_p(len(a), len(b), paired=True) <= level
    partners = [b[seed] for seed in a] if paired else list(b.values())
    return np.array(list(a.values())), np.array(partners), paired


def _notes(a: _Usable, b: _Usable, examples: PairedTest | None) -> tuple[str, ...]:
    notes = []
    for group in (a, b):
        if group.num_lost:
            runs = "1 run" if group.num_lost == 1 else f"{group.num_lost} runs"
            notes.append(f"{runs} of {group.label} without a value left out")
    if examples is None and a.values and b.values:
        sizes = [group.sums[0].num_examples for group in (a, b) if group.sums]
        reasons = list(dict.fromkeys(group.why_not for group in (a, b) if group.why_not))
        reasons = reasons or [f"other test sets ({sizes[0]} and {sizes[1]} examples)"]
        notes.append(f"examples not compared: {', '.join(reasons)}")
    return tuple(notes)
