"""Tests over the seeds of two groups of runs: does the method make the difference, or chance?

The idea: if the groups did not differ, any run could as well stand in the other group. Of all ways
to regroup the values, how many part them as far as they are? (Fisher 1935.) That asks nothing of
the distribution, and errs in at most 5 % of cases for any number of runs. The price: few runs
cannot show anything (`smallest_p`: 3 each give 0.1 at best).

The same regroupings give the interval of the shift between the groups that is not refused at 5 %
(Hartigan 1969, Bauer 1972), which therefore never contradicts the p value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np

from seqloom.errors import DataError
from seqloom.sweeps.statistics.examples import Array

LEVEL = 0.05
MAX_REGROUPINGS = 20_000  # more of them are drawn at random: 9,999
NUM_DRAWN = 9_999
NUM_BOOTSTRAPS = 1_000
SEED = 12345
TOLERANCE = 1e-9  # of equal differences that were summed in another order

Values = Sequence[float] | Array


@dataclass(frozen=True)
class SeedTest:
    """Of the values of two groups.

    Attributes:
        p_value: two-sided: twice the smaller tail, at most 1.
        low, high: the 95 % interval of first less second; infinite of too few runs.
    """

    p_value: float
    low: float
    high: float


def smallest_p(num_first: int, num_second: int, paired: bool = False) -> float:
    """The least p value that `permutation_test` of so many values can give; 1 without values."""
    ways = 2**num_first if paired else math.comb(num_first + num_second, num_first)
    least = 2 / ways if ways <= MAX_REGROUPINGS else 2 / (NUM_DRAWN + 1)
    return min(1.0, least)


def permutation_test(a: Values, b: Values, paired: bool = False) -> float:
    """Two-sided p value of the difference of means; see `compare_seeds`."""
    return compare_seeds(a, b, paired).p_value


def compare_seeds(a: Values, b: Values, paired: bool = False) -> SeedTest:
    """The permutation test of the difference of means, with its interval.

    All regroupings are tried up to 20,000 of them, else 9,999 drawn ones, and the observed counts
    as one more (Phipson and Smyth 2010). `paired`: only the two values of a pair change places.

    Raises:
        DataError: values that are no numbers, or pairs without a partner.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("NaN or infinite", "it is no value to compare", "leave such runs out")
    if paired and len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} values", "they are no pairs", "pair them")
    if not first.size or not second.size:
        return SeedTest(1.0, -math.inf, math.inf)
    shifts, num_equal = _shifts(first, second, paired)
    total = num_equal + len(shifts)
    margin = TOLERANCE * max(np.abs(first).max(), np.abs(second).max())
    tail = min((shifts <= margin).sum(), (shifts >= -margin).sum()) + num_equal
    # The shift is refused where fewer regroupings than these lie on one side of it.
    rank = math.floor(LEVEL / 2 * total + TOLERANCE) + 1 - num_equal
    if rank < 1:
        return SeedTest(min(1.0, 2 * float(tail) / total), -math.inf, math.inf)
    return SeedTest(
        min(1.0, 2 * float(tail) / total), float(shifts[rank - 1]), float(shifts[-rank])
    )


def almost_stochastic_order(a: Values, b: Values) -> float:
    """epsilon_min, 0 to 1: how much may be missing from `a` being the greater one throughout.

    The share of the squared distance of the quantile functions where `b` is above (Del Barrio et
    al. 2018, equation 4), at the upper end of its one-sided 95 % bootstrap bound (Dror et al. 2019,
    equation 7). 0: `a` is stochastically greater; below 0.5: nearer to it than `b` is; below 0.2 is
    what Ulmer et al. 2022 ask for. 1 of fewer than two values in a group; equal groups have 0.5
    before the bound.

    Raises:
        DataError: values that are no numbers.
    """
    first, second = np.sort(np.asarray(a, np.float64)), np.sort(np.asarray(b, np.float64))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("NaN or infinite", "it is no value to compare", "leave such runs out")
    n, m = len(first), len(second)
    if n < 2 or m < 2:
        return 1.0
    generator = np.random.default_rng(SEED)
    drawn_first = np.sort(generator.choice(first, size=(NUM_BOOTSTRAPS, n)), axis=-1)
    drawn_second = np.sort(generator.choice(second, size=(NUM_BOOTSTRAPS, m)), axis=-1)
    violation = float(_violation(first, second))
    # sqrt(nm / (n + m)) of the paper scales the spread up and the bound down again.
    spread = float((_violation(drawn_first, drawn_second) - violation).std(ddof=1))
    return float(np.clip(violation + 1.6448536269514722 * spread, 0.0, 1.0))


def _shifts(first: Array, second: Array, paired: bool) -> tuple[Array, int]:
    """For each regrouping the shift of the groups, ascending, at which it parts them as much as
    they are; and how many regroupings leave the groups as they are (these part them so at any)."""
    if paired:
        swapped = _swaps(len(first))
        sums, counts = swapped @ (first - second), swapped.sum(axis=-1)
    else:
        left, entered = _regroupings(len(first), len(second))
        sums, counts = left @ first - entered @ second, left.sum(axis=-1)
    moved = counts > 0
    return np.sort(sums[moved] / counts[moved]), int((~moved).sum())


@cache
def _swaps(num: int) -> Array:
    """1 where a pair changes places, [W, n], in all W ways or in as many as are drawn."""
    if 2**num <= MAX_REGROUPINGS:
        return (np.arange(2**num)[:, None] >> np.arange(num) & 1).astype(np.float64)
    drawn = np.random.default_rng(SEED).integers(2, size=(NUM_DRAWN, num))
    return np.concatenate([np.zeros((1, num)), drawn])


@cache
def _regroupings(num_first: int, num_second: int) -> tuple[Array, Array]:
    """1 for values that leave the first group [W, n], and that come from the second [W, m]."""
    total = num_first + num_second
    if math.comb(total, num_first) <= MAX_REGROUPINGS:
        chosen = np.array(list(combinations(range(total), num_first)))
    else:
        places = np.tile(np.arange(total), (NUM_DRAWN + 1, 1))
        np.random.default_rng(SEED).permuted(places[1:], axis=1, out=places[1:])
        chosen = places[:, :num_first]
    inside = np.zeros((len(chosen), total))
    np.put_along_axis(inside, chosen, 1.0, axis=1)
    return 1.0 - inside[:, :num_first], inside[:, num_first:].copy()


def _violation(first: Array, second: Array) -> Array:
    """Of sorted values [..., n] and [..., m]; both quantile functions are steps, summed exactly."""
    n, m = first.shape[-1], second.shape[-1]
    edges = np.unique(np.concatenate([np.arange(n + 1) * m, np.arange(m + 1) * n]))  # of n * m
    squared = (first[..., edges[:-1] // m] - second[..., edges[:-1] // n]) ** 2
    squared = squared * np.diff(edges)
    above = first[..., edges[:-1] // m] < second[..., edges[:-1] // n]
    whole = squared.sum(axis=-1)
    part = (squared * above).sum(axis=-1)
    return np.divide(part, whole, out=np.full_like(whole, 0.5), where=whole > 0)
