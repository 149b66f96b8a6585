"""Tests over seeds, descriptions and corrections, against scipy and against their definitions."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from seqloom.errors import ConfigError, DataError
from seqloom.sweeps.statistics import describe, holm, seeds
from seqloom.sweeps.statistics.seeds import (
    almost_stochastic_order,
    compare_seeds,
    permutation_test,
    smallest_p,
)


def scipy_p(a: np.ndarray, b: np.ndarray, paired: bool) -> float:
    return float(
        stats.permutation_test(
            (a, b),
            lambda x, y, axis=-1: np.mean(x, axis=axis) - np.mean(y, axis=axis),
            permutation_type="samples" if paired else "independent",
            n_resamples=np.inf,
            vectorized=True,
        ).pvalue
    )


SIZES = [
    (1, 1, False), (1, 4, False), (3, 3, False), (4, 5, False), (7, 2, False), (6, 8, False),
    (1, 1, True), (3, 3, True), (5, 5, True), (9, 9, True),
]  # fmt: skip


@pytest.mark.parametrize(("n", "m", "paired"), [s for s in SIZES if min(s[:2]) > 1])
@pytest.mark.parametrize("digits", [9, 0])
def test_permutation_test_equals_scipy(n: int, m: int, paired: bool, digits: int) -> None:
    generator = np.random.default_rng(n * m)
    for effect in (0.0, 1.5):
        a = np.round(generator.normal(effect, size=n), digits) * 0.1
        b = np.round(generator.normal(size=m), digits) * 0.1
        assert permutation_test(a, b, paired) == pytest.approx(scipy_p(a, b, paired))


def test_drawn_regroupings_come_near_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(0.9, size=8), generator.normal(size=8)
    for paired in (False, True):
        whole = compare_seeds(a, b, paired)
        with monkeypatch.context() as patch:
            patch.setattr(seeds, "MAX_REGROUPINGS", 10)
            seeds._regroupings.cache_clear()
            seeds._swaps.cache_clear()
            drawn = compare_seeds(a, b, paired)
            far = permutation_test(a + 100, b, paired)
        seeds._regroupings.cache_clear()
        seeds._swaps.cache_clear()
        assert drawn != whole
        assert drawn.p_value == pytest.approx(whole.p_value, abs=0.01)
        assert (drawn.low, drawn.high) == pytest.approx((whole.low, whole.high), abs=0.1)
        # The observed grouping is one of them: p is never 0.
        assert 2 / 10_000 <= far <= 2 / whole_count(paired) + 0.004


def whole_count(paired: bool) -> int:
    return 2**8 if paired else math.comb(16, 8)


def test_more_regroupings_than_are_tried_are_drawn() -> None:
    a, b = np.arange(10.0) + 20, np.arange(10.0)
    assert permutation_test(a, b) == 2 / 10_000 == smallest_p(10, 10)


@pytest.mark.parametrize(("n", "m", "paired"), [s for s in SIZES if min(s[:2]) > 2])
def test_the_interval_holds_the_shifts_that_are_not_refused(n: int, m: int, paired: bool) -> None:
    generator = np.random.default_rng(n + m)
    a, b = generator.normal(size=n), generator.normal(size=m)
    test = compare_seeds(a, b, paired)
    assert math.isinf(test.low) == (smallest_p(n, m, paired) > 0.05)
    if math.isinf(test.low):
        return
    for end, outwards in ((test.low, -1e-6), (test.high, 1e-6)):
        assert permutation_test(a - end - outwards, b, paired) <= 0.05
        assert permutation_test(a - end + outwards, b, paired) > 0.05


@pytest.mark.parametrize(("n", "m", "paired"), SIZES)
def test_smallest_p_is_what_groups_far_apart_give(n: int, m: int, paired: bool) -> None:
    a, b = np.arange(n) + 100.0, np.arange(m, dtype=float)
    assert permutation_test(a, b, paired) == pytest.approx(smallest_p(n, m, paired))


def test_so_many_runs_are_needed() -> None:
    assert [smallest_p(n, n) <= 0.05 for n in (2, 3, 4, 5)] == [False, False, True, True]
    assert [smallest_p(n, n, paired=True) <= 0.05 for n in (4, 5, 6)] == [False, False, True]
    assert smallest_p(0, 3) == smallest_p(0, 0, paired=True) == 1


def test_equal_values_and_no_values_differ_in_nothing() -> None:
    assert permutation_test([2.0] * 5, [2.0] * 5) == 1
    assert permutation_test([], [1.0]) == permutation_test([], []) == 1
    assert compare_seeds([1.0], [2.0]).low == -math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="NaN or infinite: it is no value to compare; leave"):
        permutation_test([1.0, value], [1.0])
    with pytest.raises(DataError, match="NaN or infinite"):
        almost_stochastic_order([1.0], [value])
    with pytest.raises(DataError, match="2 and 1 values: they are no pairs; pair them"):
        permutation_test([1.0, 2.0], [1.0], paired=True)


def violation_by_integral(a: np.ndarray, b: np.ndarray) -> float:
    """The share of the squared distance of quantiles where `b` is above, on a fine grid."""
    at = (np.arange(60_000) + 0.5) / 60_000
    gap = np.quantile(a, at, method="inverted_cdf") - np.quantile(b, at, method="inverted_cdf")
    return float((gap[gap < 0] ** 2).sum() / (gap**2).sum())


@pytest.mark.parametrize(("n", "m"), [(3, 3), (4, 6), (5, 3), (10, 8)])
def test_violation_equals_the_integral_over_quantiles(n: int, m: int) -> None:
    generator = np.random.default_rng(n + m)
    a, b = np.sort(generator.normal(0.2, size=n)), np.sort(generator.normal(size=m))
    expected = violation_by_integral(a, b)
    assert float(seeds._violation(a, b)) == pytest.approx(expected, abs=1e-4)
    assert float(seeds._violation(b, a)) == pytest.approx(1 - expected, abs=1e-4)
    assert expected <= almost_stochastic_order(a, b) + 1e-4


def test_almost_stochastic_order_of_clear_cases() -> None:
    low, high = [1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0]
    assert almost_stochastic_order(high, low) == 0
    assert almost_stochastic_order(low, high) == 1
    assert almost_stochastic_order(low, low) >= 0.5
    assert almost_stochastic_order([5.0] * 3, [5.0] * 3) == 0.5
    assert almost_stochastic_order([9.0], low) == almost_stochastic_order([], low) == 1


def holm_by_closure(p_values: list[float]) -> list[float]:
    """Of each hypothesis the largest Bonferroni p of all sets that hold it (Marcus et al. 1976)."""
    indices = range(len(p_values))
    sets = [s for k in range(1, len(p_values) + 1) for s in combinations(indices, k)]
    return [
        max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in sets if i in s) for i in indices
    ]


@pytest.mark.parametrize(
    "p_values",
    [[], [0.03], [0.5, 0.01, 0.02], [0.02] * 4, [1.0, 0.0, 0.3, 0.04, 0.04, 0.011, 0.2]],
)
def test_holm_equals_its_closed_test(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(holm_by_closure(p_values))


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1])
def test_holm_refuses_what_is_no_probability(value: float) -> None:
    with pytest.raises(DataError, match="it is no probability; a number from 0 to 1"):
        holm([0.5, value])


def test_description_equals_scipy() -> None:
    values = [20.5, 21.25, 19.0, 23.0]
    told = describe(values, "max")
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (told.count, told.mean, told.best) == (4, np.mean(values), 23.0)
    assert told.deviation == pytest.approx(np.std(values, ddof=1))
    assert (told.low, told.high) == pytest.approx((low, high))
    assert describe(values, "min").best == 19.0


def test_description_of_few_values_tells_no_more_than_is_known() -> None:
    assert describe([], "max") == describe([math.nan, math.inf], "max")
    assert describe([], "max").mean is None
    one = describe([math.nan, 3.0], "min")
    assert (one.count, one.mean, one.best) == (1, 3.0, 3.0)
    assert (one.deviation, one.low, one.high) == (None, None, None)


def test_description_needs_a_direction() -> None:
    with pytest.raises(ConfigError, match="mode=best: there is no such direction; mode=min or"):
        describe([1.0], "best")  # type: ignore[arg-type]
