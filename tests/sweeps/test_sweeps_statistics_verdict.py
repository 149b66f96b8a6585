"""Verdicts: what the words say, what decides, and that chance alone is seldom called a winner."""

import math

import numpy as np
import prove_statistics
import pytest
from prove_statistics import Examples, Seeds

from seqloom.errors import ConfigError
from seqloom.sweeps.statistics import (
    ExampleSums,
    GroupScores,
    Verdict,
    compare_all,
    compare_groups,
    metric_sums,
    with_correction,
)
from seqloom.sweeps.statistics.seeds import permutation_test


def group(label: str, *values: float, seeds: list[int | None] | None = None) -> GroupScores:
    return GroupScores(label, seeds or [None] * len(values), values)


def predicting(label: str, *runs: str) -> GroupScores:
    """Runs that are right where there is a 1."""
    sums = [right_ones(run) for run in runs]
    return GroupScores(label, list(range(len(runs))), [one.total for one in sums], sums)


def right_ones(run: str, target: str = "1") -> ExampleSums:
    sums = metric_sums("accuracy", [target] * len(run), list(run))
    assert sums is not None
    return sums


def words(a: GroupScores, b: GroupScores, mode: str = "max") -> str:
    return compare_groups(a, b, "BLEU", mode).words  # type: ignore[arg-type]


NONE = "; examples not compared: no predictions tell BLEU"


def test_a_difference_that_is_shown_is_told_with_interval_and_p() -> None:
    a, b = group("lstm", 21.0, 21.5, 22.0, 21.2), group("gru", 20.1, 20.3, 19.8, 20.0)
    assert words(a, b) == (
        "shown: lstm is better by 1.38 BLEU (95 % interval 0.7 to 2.2, p = 0.029)" + NONE
    )
    assert words(b, a) == words(a, b)
    assert words(a, b, "min").startswith("shown: gru is better by 1.38 BLEU")


def test_what_is_not_shown_is_said_so() -> None:
    a, b = group("a", 1.0, 2.0, 3.0, 4.0), group("b", 2.5, 3.5, 3.25, 4.5)
    p_value = permutation_test(a.values, b.values)
    assert 0.05 < p_value < 1
    assert words(a, b) == f"not shown (p = {p_value:.2g})" + NONE
    assert words(a, a) == "not shown (p = 1)" + NONE


@pytest.mark.parametrize(
    ("num_a", "num_b", "runs"),
    [(1, 1, "1 run each"), (2, 2, "2 runs each"), (3, 1, "1 run against 3"), (3, 3, "3 runs each")],
)
def test_few_runs_cannot_show_anything(num_a: int, num_b: int, runs: str) -> None:
    a, b = group("a", *range(50, 50 + num_a)), group("b", *range(num_b))
    assert words(a, b) == (
        f"not shown: {runs} cannot show a difference at 5 % (at least 4 each are needed)" + NONE
    )


def test_groups_without_values_are_named() -> None:
    nothing, lost = group("a"), group("b", math.nan, math.nan)
    assert words(nothing, group("c", 1.0)) == "not shown: a without a value of BLEU"
    assert words(nothing, lost) == (
        "not shown: a and b without a value of BLEU; 2 runs of b without a value left out"
    )
    verdict = compare_groups(nothing, lost, "BLEU")
    assert (verdict.p_value, verdict.difference, verdict.is_shown) == (None, None, False)


def test_a_run_without_a_value_is_left_out_with_its_predictions() -> None:
    runs = predicting("a", "1110", "1100")
    one = GroupScores("a", [0, 1], [0.75, math.nan], runs.sums)
    verdict = compare_groups(one, predicting("b", "0000"), "accuracy")
    assert verdict.num_runs == (1, 1)
    assert verdict.difference == 0.75
    assert verdict.p_examples is not None
    assert verdict.words.endswith("1 run of a without a value left out")


def test_other_numbers_of_predictions_are_told_and_not_compared() -> None:
    verdict = compare_groups(predicting("a", "111"), predicting("b", "1111"), "accuracy")
    assert verdict.p_examples is None
    assert verdict.words.endswith("examples not compared: other test sets (3 and 4 examples)")


def test_runs_of_one_group_need_the_same_test_set_as_well() -> None:
    verdict = compare_groups(predicting("a", "111", "11"), predicting("b", "111"), "accuracy")
    assert verdict.words.endswith("examples not compared: the runs of a have no test set in common")


def test_predictions_that_give_another_value_are_not_used() -> None:
    a = predicting("a", "1110")
    other = GroupScores("a", [0], [0.5], a.sums)
    assert compare_groups(other, predicting("b", "0000"), "accuracy").words.endswith(
        "examples not compared: the predictions of a give another accuracy"
    )
    part = GroupScores("a", [0, 1], [0.75, 0.75], [right_ones("1110"), None])
    assert compare_groups(part, predicting("b", "0000"), "accuracy").words.endswith(
        "examples not compared: a lacks predictions of a run"
    )


def test_trained_models_that_differ_are_not_yet_methods_that_do() -> None:
    verdict = compare_groups(predicting("a", "1" * 40), predicting("b", "0" * 40), "accuracy")
    assert verdict.p_examples == 1 / 1001
    assert verdict.p_seeds == verdict.p_value == 1
    assert verdict.words == (
        "not shown: 1 run each cannot show a difference at 5 % (at least 4 each are needed); these "
        "trained models differ on the examples (p < 0.001), seeds may be why"
    )


def test_seeds_that_agree_do_not_outweigh_too_few_examples() -> None:
    a, b = predicting("a", *["1110"] * 5), predicting("b", *["0110"] * 5)
    verdict = compare_groups(a, b, "accuracy")
    assert verdict.p_seeds == pytest.approx(2 / 252)
    assert verdict.p_value == verdict.p_examples
    assert not verdict.is_shown
    assert "it holds over seeds (p = 0.0079), but other examples may turn it" in verdict.words


def test_both_tests_that_agree_show_it_by_the_larger_p() -> None:
    generator = np.random.default_rng(0)
    runs = [
        ["".join("1" if right else "0" for right in generator.random(200) < rate) for _ in range(5)]
        for rate in (0.9, 0.7)
    ]
    verdict = compare_groups(predicting("a", *runs[0]), predicting("b", *runs[1]), "accuracy")
    assert verdict.is_shown
    assert verdict.p_value == max(verdict.p_seeds or 1, verdict.p_examples or 1)
    assert verdict.low is not None
    assert verdict.low > 0
    assert verdict.epsilon == 0


def test_pairs_are_made_where_the_same_seeds_can_show_something() -> None:
    shared = np.arange(8) * 10.0
    seeds: list[int | None] = list(range(8))
    a = group("a", *(shared + 1), seeds=seeds)
    turned = group("b", *shared[::-1], seeds=seeds[::-1])
    assert compare_groups(a, turned, "BLEU").p_seeds == 2 / 2**8
    unknown = group("b", *shared)
    assert compare_groups(a, unknown, "BLEU").p_seeds == permutation_test(shared + 1, shared)
    five: list[int | None] = list(range(5))
    few = [group(name, 2.0, 3.0, 4.0, 5.0, 6.0, seeds=five) for name in "ab"]
    assert compare_groups(few[0], few[1], "BLEU").p_seeds == 1
    # 8 pairs could not be shown among 10 comparisons, 8 against 8 can.
    many = compare_groups(a, turned, "BLEU", num_comparisons=10)
    assert many.p_seeds == permutation_test(shared + 1, shared)


def test_runs_of_one_seed_count_once() -> None:
    twice = group("a", 5.0, 7.0, 9.0, 9.0, seeds=[1, 1, 2, 2])
    verdict = compare_groups(twice, group("b", 1.0, 2.0, seeds=[1, 3]), "BLEU")
    assert verdict.num_runs == (2, 2)
    assert verdict.difference == 7.5 - 1.5


def test_the_order_is_told_of_the_better_group() -> None:
    low, high = group("a", 1.0, 2.0, 3.0), group("b", 4.0, 5.0, 6.0)
    for mode in ("max", "min"):
        for pair in ((low, high), (high, low)):
            assert compare_groups(*pair, "BLEU", mode).epsilon == 0  # type: ignore[arg-type]
    assert compare_groups(low, group("c", 9.0), "BLEU").epsilon is None


def test_verdicts_need_a_direction() -> None:
    with pytest.raises(ConfigError, match="mode=best: there is no such direction; mode=min or"):
        words(group("a", 1.0), group("b", 2.0), "best")


def test_all_pairs_are_corrected_together() -> None:
    groups = [
        group("a", *range(10, 15)), group("b", *range(5)), group("c", *range(5)), group("d", 9.0)
    ]  # fmt: skip
    verdicts = compare_all(groups, "BLEU")
    names = [(v.first, v.second) for v in verdicts]
    assert names == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    assert [v.is_shown for v in verdicts] == [True, True, False, False, False, False]
    assert verdicts[0].p_corrected == pytest.approx(6 * 2 / 252)
    assert "p = 0.048 after correction for 6 comparisons" in verdicts[0].words
    assert verdicts == with_correction(verdicts)
    assert compare_all([], "BLEU") == compare_all(groups[:1], "BLEU") == []


def test_correction_tells_how_many_runs_would_do() -> None:
    groups = [group(str(i), *(100.0 * i + np.arange(4))) for i in range(4)]
    verdict = compare_all(groups, "BLEU")[0]
    assert verdict.words.startswith(
        "not shown (p = 0.17 after correction for 6 comparisons); 4 runs each can hardly show one "
        "among 6 comparisons (at least 5 each would do)"
    )


def test_comparisons_without_p_values_are_not_counted() -> None:
    verdicts = compare_all([group("a", 1.0), group("b"), group("c", 2.0)], "BLEU")
    assert [v.num_comparisons for v in verdicts] == [1, 1, 1]
    assert [v.p_corrected for v in verdicts] == [None, 1.0, None]


def test_examples_of_many_groups_give_the_same_as_of_two() -> None:
    generator = np.random.default_rng(1)
    lines = ["".join(generator.choice(["0", "1"], size=30)) for _ in range(6)]
    groups = [predicting(str(i), *lines[2 * i : 2 * i + 2]) for i in range(3)]
    together = [v.p_examples for v in compare_all(groups, "accuracy")]
    alone = [
        compare_groups(groups[i], groups[j], "accuracy").p_examples
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    assert together == alone


@pytest.mark.parametrize("p_value", [0.05, 0.0501, 0.049, 0.0004])
def test_words_never_round_p_across_the_line(p_value: float) -> None:
    verdict = Verdict("a", "b", "BLEU", "max", (9, 9), (), 1.0, p_seeds=p_value, p_value=p_value)
    told = with_correction([verdict])[0]
    assert told.is_shown == (p_value <= 0.05)
    assert ("p < 0.001" if p_value < 0.001 else f"p = {p_value}") in told.words


NO_DIFFERENCE: list[tuple[Seeds | Examples, int]] = [
    *[(Seeds(values, n, shared), 1000) for values in prove_statistics.DRAWS for n, shared in
      ((4, 0.0), (5, 0.0), (10, 0.5))],
    *[(Examples("accuracy", n, rate), 1000) for n in (10, 50) for rate in (0.5, 0.9)],
    *[(Examples(metric, 20, 0.7), 1000) for metric in ("wer", "bleu")],
    (Seeds("skewed", 5, num_groups=4), 500),
    (Examples("accuracy", 60, 0.8, 5, 0.04), 300),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "simulations"), NO_DIFFERENCE, ids=str)
def test_groups_of_one_distribution_are_seldom_called_different(
    setting: Seeds | Examples, simulations: int
) -> None:
    """Not above 5 % by more than chance does; `scripts/prove_statistics.py` asks more of it."""
    row = prove_statistics.measure(setting, simulations, seed=1)
    most = 0.05 + 3 * math.sqrt(0.05 * 0.95 / simulations)
    is_varied = isinstance(setting, Examples) and setting.spread > 0
    for name in ("verdict", "seeds", "examples"):
        if not (is_varied and name == "examples"):
            assert (row[name] or 0.0) <= most, row


def test_a_true_difference_is_found() -> None:
    row = prove_statistics.measure(Seeds("normal", 10, effect=2.0), simulations=50, seed=0)
    assert row["verdict"] >= 0.9
    assert prove_statistics.measure(Seeds("normal", 3, effect=9.0), 5, 0)["verdict"] == 0
