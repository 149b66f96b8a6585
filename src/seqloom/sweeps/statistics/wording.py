"""`Verdict`: what is shown of the difference of two groups of runs, in numbers and in words.

The idea: two questions are asked. Would the method be better with other seeds? (A permutation test
over the runs.) Would these models be better on other examples? (A paired bootstrap over the test
set.) A method is called better only if both say so, where both can be asked: the larger p value
decides. Of many comparisons Holm's correction keeps the chance of a single false one at 5 %.
The price: three runs each show nothing, and the words say so instead of naming a winner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from seqloom.sweeps.statistics.correction import holm
from seqloom.sweeps.statistics.description import Mode
from seqloom.sweeps.statistics.seeds import LEVEL, smallest_p

MAX_NEEDED = 50


@dataclass(frozen=True)
class Verdict:
    """What is shown of the difference of two groups.

    Attributes:
        first, second: the labels.
        metric, mode: its name in the words, and which direction is better.
        num_runs: how many runs of each have a value, those of one seed counted once.
        notes: what could not be compared, and why.
        difference: mean of the first less mean of the second; None without values.
        low, high: its 95 % interval by the test that decides; None where there is none.
        p_seeds: of the permutation test over seeds; None without values.
        p_examples: of the paired bootstrap over examples; None without predictions.
        epsilon: epsilon_min of the better group over the other by `almost_stochastic_order`; None
            of fewer than two runs.
        p_value: the larger of both; None where there is none.
        num_comparisons: how many are corrected for together; 1 before the correction.
        p_corrected: `p_value` after Holm's correction; before it, `p_value`.
        is_shown: whether `p_corrected` is at most 5 %.
        words: all this in a sentence.
    """

    first: str
    second: str
    metric: str
    mode: Mode
    num_runs: tuple[int, int]
    notes: tuple[str, ...] = ()
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_seeds: float | None = None
    p_examples: float | None = None
    epsilon: float | None = None
    p_value: float | None = None
    num_comparisons: int = 1
    p_corrected: float | None = None
    is_shown: bool = False
    words: str = ""


def conclude(verdict: Verdict, num_comparisons: int, p_corrected: float | None) -> Verdict:
    """The verdict with this correction, and with the words for it."""
    is_shown = p_corrected is not None and p_corrected <= LEVEL and bool(verdict.difference)
    concluded = replace(
        verdict,
        num_comparisons=num_comparisons,
        p_corrected=p_corrected,
        is_shown=is_shown,
    )
    parts = _shown(concluded) if is_shown else _not_shown(concluded)
    return replace(concluded, words="; ".join([*parts, *verdict.notes]))


def with_correction(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The same after Holm's correction for all of them that have a p value; words anew."""
    tested = [v.p_value for v in verdicts if v.p_value is not None]
    corrected = iter(holm(tested))
    return [
        conclude(v, len(tested), None if v.p_value is None else next(corrected)) for v in verdicts
    ]


def runs_needed(num_comparisons: int = 1) -> int:
    """How many runs each group needs for a difference that 5 % can show, among so many."""
    counts = range(1, MAX_NEEDED)
    level = LEVEL / max(1, num_comparisons)
    return next((n for n in counts if smallest_p(n, n) <= level), MAX_NEEDED)


def _shown(verdict: Verdict) -> list[str]:
    difference = verdict.difference or 0.0
    is_first = (difference > 0) == (verdict.mode == "max")
    better = verdict.first if is_first else verdict.second
    within = [_p(verdict)]
    if verdict.low is not None and verdict.high is not None:
        # A difference that is shown has an interval on one side of 0.
        ends = sorted((abs(verdict.low), abs(verdict.high)))
        within.insert(0, f"95 % interval {_number(ends[0])} to {_number(ends[1])}")
    amount = f"{_number(abs(difference))} {verdict.metric}"
    return [f"shown: {better} is better by {amount} ({', '.join(within)})"]


def _not_shown(verdict: Verdict) -> list[str]:
    if verdict.p_value is None or verdict.p_seeds is None:
        without = [
            label
            for label, num in zip((verdict.first, verdict.second), verdict.num_runs, strict=True)
            if not num
        ]
        return [f"not shown: {' and '.join(without)} without a value of {verdict.metric}"]
    runs = _runs(verdict.num_runs)
    least, num = smallest_p(*verdict.num_runs), verdict.num_comparisons
    if least > LEVEL:
        needed = f"at least {runs_needed()} each are needed"
        words = [f"not shown: {runs} cannot show a difference at 5 % ({needed})"]
    else:
        words = [f"not shown ({_p(verdict)})"]
        # Holm holds only the least p value of all against 5 % / num, so that it is no "cannot".
        if least * num > LEVEL >= verdict.p_value:
            needed = f"at least {runs_needed(num)} each would do"
            words.append(f"{runs} can hardly show one among {num} comparisons ({needed})")
    if verdict.p_examples is not None and verdict.p_examples <= LEVEL < verdict.p_seeds:
        examples = format_p(verdict.p_examples)
        words.append(f"these trained models differ on the examples ({examples}), seeds may be why")
    elif verdict.p_examples is not None and verdict.p_seeds <= LEVEL < verdict.p_examples:
        seeds = format_p(verdict.p_seeds)
        words.append(f"it holds over seeds ({seeds}), but other examples may turn it")
    return words


def _runs(num_runs: tuple[int, int]) -> str:
    low, high = sorted(num_runs)
    return f"{_plural(low)} each" if low == high else f"{_plural(low)} against {high}"


def _plural(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _p(verdict: Verdict) -> str:
    after = verdict.num_comparisons
    ending = f" after correction for {after} comparisons" if after > 1 else ""
    return format_p(verdict.p_corrected if verdict.p_corrected is not None else 1.0) + ending


def format_p(p_value: float) -> str:
    """`p = 0.21`, `p < 0.001`; never rounded down to 0.05."""
    if p_value < 0.001:
        return "p < 0.001"
    rounded = f"{p_value:.2g}"
    return f"p = {p_value:.3g}" if float(rounded) == LEVEL else f"p = {rounded}"


def _number(value: float) -> str:
    """Three digits that tell something."""
    return f"{value:.3g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:,.0f}"
