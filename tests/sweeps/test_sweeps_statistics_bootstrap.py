"""The paired bootstrap: sacreBLEU's numbers on the same texts, and the laws of ours."""

import math
import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest as TheirTest

from seqloom.errors import DataError
from seqloom.sweeps.statistics import ExampleSums, bootstrap, metric_sums, paired_bootstrap

NUM_EXAMPLES = 120


def lines_with_errors(seed: int, share: float) -> list[str]:
    """The same lines for each call, some words of them altered."""
    lengths, errors = random.Random(0), random.Random(seed)
    lines = [lengths.choices("abcdefgh", k=lengths.randint(0, 14)) for _ in range(NUM_EXAMPLES)]
    return [" ".join("x" if errors.random() < share else word for word in line) for line in lines]


TARGETS = lines_with_errors(0, 0.0)


def text_sums(name: str, predictions: list[str]) -> ExampleSums:
    sums = metric_sums(name, TARGETS, predictions)
    assert sums is not None
    return sums


def right_ones(values: list[int]) -> ExampleSums:
    targets = ["1"] * len(values)
    sums = metric_sums("accuracy", targets, [str(value) for value in values])
    assert sums is not None
    return sums


@pytest.mark.parametrize("name", ["bleu", "chrf"])
@pytest.mark.parametrize("num_samples", [1, 250, 1000])
def test_bootstrap_gives_the_numbers_of_sacrebleu(name: str, num_samples: int) -> None:
    first, second = lines_with_errors(1, 0.2), lines_with_errors(2, 0.23)
    metric = BLEU() if name == "bleu" else CHRF()
    systems = [("first", first), ("second", second)]
    test = TheirTest(systems, {name: metric}, [TARGETS], "bs", n_samples=num_samples)
    scores = next(value for key, value in test()[1].items() if key != "System")
    ours = paired_bootstrap(text_sums(name, first), text_sums(name, second), num_samples)
    assert ours.difference == pytest.approx(scores[0].score - scores[1].score, abs=1e-9)
    assert ours.p_sacrebleu == scores[1].p_value


def test_bootstrap_draws_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (text_sums("bleu", lines_with_errors(i, 0.2)) for i in (1, 2))
    whole = paired_bootstrap(first, second)
    monkeypatch.setattr(bootstrap, "MAX_WEIGHTS", 7 * NUM_EXAMPLES + 1)
    assert paired_bootstrap(first, second) == whole


def test_bootstrap_the_other_way_round_says_the_same() -> None:
    first, second = (text_sums("chrf", lines_with_errors(i, 0.2)) for i in (1, 2))
    one, other = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == other.p_value


def test_bootstrap_interval_leaves_out_zero_just_where_p_is_small() -> None:
    generator = np.random.default_rng(0)
    called = set()
    for _ in range(200):
        values = generator.normal(0.3, 1, size=(2, 15, 1))
        first, second = (
            ExampleSums(np.hstack([v, np.ones_like(v)]), lambda s: s[..., 0] / s[..., 1])
            for v in values
        )
        test = paired_bootstrap(first, second, 199)
        assert (test.p_value <= 0.05) == (test.low > 0 or test.high < 0)
        called.add(test.p_value <= 0.05)
    assert called == {True, False}


def test_bootstrap_interval_of_many_examples_is_that_of_the_normal_distribution() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(size=(2, 2000, 1))
    sums = [
        ExampleSums(np.hstack([v, np.ones_like(v)]), lambda s: s[..., 0] / s[..., 1])
        for v in (first, second)
    ]
    test = paired_bootstrap(sums[0], sums[1], 4000)
    half = 1.96 * float((first - second).std()) / math.sqrt(2000)
    assert test.high - test.difference == pytest.approx(half, rel=0.05)


def test_identical_predictions_are_not_called_different() -> None:
    sums = text_sums("bleu", lines_with_errors(1, 0.2))
    test = paired_bootstrap(sums, sums)
    assert (test.difference, test.low, test.high, test.p_value) == (0, 0, 0, 1)
    # What sacreBLEU says of them is the least p value there is.
    assert test.p_sacrebleu == pytest.approx(1 / 1001)


def test_scores_of_a_group_are_the_mean_over_its_runs() -> None:
    runs = [text_sums("bleu", lines_with_errors(i, 0.2)) for i in range(1, 6)]
    test = paired_bootstrap(runs[:3], runs[3:])
    means = [sum(run.total for run in part) / len(part) for part in (runs[:3], runs[3:])]
    assert test.difference == pytest.approx(means[0] - means[1])
    twice = paired_bootstrap([*runs[:3], *runs[:3]], runs[3:])
    assert twice.p_value == test.p_value
    assert twice.low == pytest.approx(test.low)


def test_a_single_example_shows_nothing() -> None:
    test = paired_bootstrap(right_ones([1]), right_ones([0]))
    assert (test.difference, test.p_value) == (1.0, 1.0)
    assert (test.low, test.high) == (-math.inf, math.inf)


def test_all_right_against_all_wrong_is_the_least_p_value() -> None:
    assert paired_bootstrap(right_ones([1] * 30), right_ones([0] * 30)).p_value == 1 / 1001


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([], [], "runs with no examples"),
        ([right_ones([])], [right_ones([])], "runs with 0 examples"),
        ([right_ones([1])], [right_ones([1, 0])], "runs with 1 and 2 examples"),
        ([right_ones([1])], [], "a group without runs"),
    ],
)
def test_what_no_paired_test_can_compare_is_refused(
    first: list[ExampleSums], second: list[ExampleSums], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        paired_bootstrap(first, second)


def test_another_test_set_of_the_same_size_is_refused() -> None:
    one, other = metric_sums("accuracy", ["a"], ["a"]), metric_sums("accuracy", ["b"], ["a"])
    assert one is not None
    assert other is not None
    with pytest.raises(DataError, match="a paired test needs the same examples"):
        paired_bootstrap(one, other)
