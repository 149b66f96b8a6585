"""Sums of metrics per example: the same scores as sacreBLEU, scikit-learn and plain counting."""

import math
import random
from functools import cache

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from seqloom.errors import DataError
from seqloom.sweeps.statistics import ExampleSums, metric_sums
from seqloom.sweeps.statistics.edits import edit_distance

WORDS = ["the", "a", "cat", "sat", "on", "mat,", "red", "blue.", "Gr\u00fc\u00dfe", "\u4f60\u597d"]


def random_lines(seed: int, count: int, longest: int = 12) -> list[str]:
    generator = random.Random(seed)
    lengths = [generator.randint(0, longest) for _ in range(count)]
    return [" ".join(generator.choices(WORDS, k=length)) for length in lengths]


def altered(lines: list[str], seed: int, share: float) -> list[str]:
    generator = random.Random(seed)
    return [
        " ".join(
            generator.choice(WORDS) if generator.random() < share else word for word in line.split()
        )
        for line in lines
    ]


def known(name: str, targets: list[str], predictions: list[str]) -> ExampleSums:
    sums = metric_sums(name, targets, predictions)
    assert sums is not None
    return sums


TARGETS = random_lines(0, 60)
CORPORA = {
    "good": (TARGETS, altered(TARGETS, 1, 0.1)),
    "bad": (TARGETS, altered(TARGETS, 2, 0.8)),
    "equal": (TARGETS, TARGETS),
    "nothing right": (["a b c d e"] * 3, ["x y z w v"] * 3),
    "nothing written": (["a b c d e", "f"], ["", ""]),
    "no reference": (["", ""], ["a b c d", "e"]),
    "three words": (["a b c"], ["a b c"]),
    "some orders without a match": (["a b c d e f"], ["a c b d f e x"]),
    "too short": (["the cat sat on the mat"] * 2, ["the cat sat on", "the cat"]),
    "longer": (["the cat"], ["the cat sat on the mat today"]),
}


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_sums_of_texts_score_as_sacrebleu_does(corpus: str, name: str) -> None:
    targets, predictions = CORPORA[corpus]
    metric = BLEU() if name == "bleu" else CHRF()
    expected = metric.corpus_score(predictions, [targets]).score
    assert known(name, targets, predictions).total == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_sums_of_a_resampled_set_score_as_its_texts_do(name: str) -> None:
    targets, predictions = CORPORA["bad"]
    sums = known(name, targets, predictions)
    metric = BLEU(force=True) if name == "bleu" else CHRF()
    drawn = np.random.default_rng(3).integers(len(targets), size=(20, len(targets)))
    scores = sums.score(sums.values[drawn].sum(axis=1))
    for indices, score in zip(drawn, scores, strict=True):
        texts = [predictions[i] for i in indices], [[targets[i] for i in indices]]
        assert score == pytest.approx(metric.corpus_score(*texts).score, abs=1e-9)


def test_f1_of_classes_equals_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    generator = random.Random(4)
    targets = generator.choices("abcd", k=50)
    predictions = generator.choices("abce", k=50)
    expected = f1_score(targets, predictions, average="macro")
    assert known("f1", targets, predictions).total == pytest.approx(expected)
    accuracy = known("accuracy", targets, predictions).total
    assert accuracy == pytest.approx(accuracy_score(targets, predictions))
    assert known("exact_match", targets, predictions).total == accuracy


def test_f1_of_a_part_counts_only_classes_that_occur_in_it() -> None:
    sums = known("f1", ["a", "b", "b"], ["a", "b", "a"])
    assert float(sums.score(sums.values[:1].sum(axis=0))) == 1.0


def test_f1_is_not_told_of_endless_classes() -> None:
    assert metric_sums("f1", [str(i) for i in range(201)], ["0"] * 201) is None


@cache
def plain_distance(first: str, second: str) -> int:
    if not first or not second:
        return len(first) + len(second)
    same = plain_distance(first[1:], second[1:]) + (first[0] != second[0])
    return min(same, plain_distance(first[1:], second) + 1, plain_distance(first, second[1:]) + 1)


def test_edit_distance_equals_its_definition() -> None:
    generator = random.Random(5)
    texts = ["".join(generator.choices("abc", k=k)) for k in range(8) for _ in range(3)]
    for first in texts:
        for second in texts:
            assert edit_distance(first, second) == plain_distance(first, second)


def test_error_rates_are_edits_over_all_of_the_target() -> None:
    targets, predictions = ["a b c", "d"], ["a x c", "d e"]
    assert known("wer", targets, predictions).total == 2 / 4
    assert known("cer", targets, predictions).total == 3 / 6


@pytest.mark.parametrize("name", ["bleu", "chrf", "exact_match", "accuracy", "f1", "wer", "cer"])
def test_sums_of_no_examples_score_zero(name: str) -> None:
    sums = known(name, [], [])
    assert sums.num_examples == 0
    assert sums.total == 0


@pytest.mark.parametrize("name", ["perplexity", "mse", "loss", "frame_accuracy", ""])
def test_a_metric_that_texts_do_not_tell_has_no_sums(name: str) -> None:
    assert metric_sums(name, ["a"], ["a"]) is None


def test_sums_tell_test_sets_apart() -> None:
    one = known("accuracy", ["a", "b"], ["a", "b"])
    assert one.examples == known("accuracy", ["a", "b"], ["b", "a"]).examples
    assert one.examples != known("accuracy", ["b", "a"], ["b", "a"]).examples
    assert known("accuracy", ["ab", ""], ["", ""]).examples != one.examples


def test_a_prediction_is_needed_for_each_target() -> None:
    with pytest.raises(DataError, match=r"1 predictions: there are 2 targets; one prediction for"):
        metric_sums("bleu", ["a", "b"], ["a"])


def test_scores_of_sums_are_numbers_whatever_is_missing() -> None:
    for name in ("bleu", "chrf", "accuracy", "f1", "wer"):
        sums = known(name, ["a b c d"], ["a b c d"])
        zeros = np.zeros((3, sums.values.shape[1]))
        assert all(math.isfinite(score) for score in sums.score(zeros))
