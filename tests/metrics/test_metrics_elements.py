"""Scores against scores counted by hand, however the data is cut."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from seqloom.metrics.elements import (
    ClassScores,
    MeanLoss,
    NumberScores,
    StepScores,
    VideoScores,
    perplexity,
)
from seqloom.sequences import Padded

STEP_NAMES = ("perplexity", "bits_per_token", "accuracy", "exact_match")


def random_steps() -> tuple[Tensor, Padded]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (9, 4), generator=generator)
    predicted = torch.where(torch.rand(9, 4, generator=generator) < 0.7, target, target + 1)
    return predicted, Padded(target, torch.tensor([4, 0, 1, 2, 3, 4, 1, 2, 4]))


def random_classes() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randint(0, 4, (2, 50), generator=generator).unbind())  # class 4 is absent


def test_steps_are_counted_without_padding() -> None:
    predicted, target = random_steps()
    scores = StepScores(names=STEP_NAMES)
    for rows in (slice(0, 2), slice(2, 9)):
        part = Padded(target.values[rows], target.lengths[rows])
        scores.update(
            torch.tensor(2.0 * part.num_elements), part.num_elements, predicted[rows], part
        )
    right, exact = [], []
    for one, other, length in zip(predicted, target.values, target.lengths.tolist(), strict=True):
        equal = (one[:length] == other[:length]).tolist()
        right += equal
        exact.append(all(equal))
    assert scores.compute() == pytest.approx(
        {
            "loss": 2.0,
            "perplexity": math.exp(2.0),
            "bits_per_token": 2.0 / math.log(2),
            "accuracy": sum(right) / len(right),
            "exact_match": sum(exact) / len(exact),
        }
    )
    assert set(StepScores(names=("accuracy",)).names) == {"accuracy"}


def test_macro_f1_is_the_mean_over_classes_that_occur() -> None:
    predicted, target = random_classes()
    scores = ClassScores(num_classes=5)
    scores.update(torch.tensor(10.0), 20, predicted[:20], target[:20])
    scores.update(torch.tensor(30.0), 30, predicted[20:], target[20:])
    f1 = []
    for label in range(4):
        right = int(((predicted == label) & (target == label)).sum())
        precision = right / int((predicted == label).sum())
        recall = right / int((target == label).sum())
        f1.append(2 * precision * recall / (precision + recall))
    assert scores.compute() == pytest.approx(
        {"loss": 0.8, "accuracy": float((predicted == target).float().mean()), "f1": sum(f1) / 4}
    )


def test_it_is_the_f1_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    predicted, target = random_classes()
    target[target == 3] = 2  # class 3 is predicted and never right
    scores = ClassScores(num_classes=5)
    scores.update(torch.tensor(0.0), 50, predicted, target)
    expected = sklearn.f1_score(target, predicted, average="macro", zero_division=0)
    assert scores.compute()["f1"] == pytest.approx(expected)


def test_frames_are_counted_beside_clips() -> None:
    predicted, target = random_classes()
    of_frames = predicted.roll(1)
    scores = VideoScores(num_classes=5, has_frame_answers=True)
    assert scores.names == ("accuracy", "f1", "frame_accuracy")
    plain = ClassScores(num_classes=5)
    for rows in (slice(0, 13), slice(13, 50)):
        count = len(target[rows])
        scores.update(torch.tensor(0.5 * count), count, predicted[rows], target[rows])
        scores.update_frames(of_frames[rows], target[rows])
        plain.update(torch.tensor(0.5 * count), count, predicted[rows], target[rows])
    right = int((of_frames == target).sum())
    assert scores.compute() == {**plain.compute(), "frame_accuracy": right / 50}
    scores.reset()
    scores.update(torch.tensor(1.0), 2, target[:2], target[:2])
    scores.update_frames(target[:2], target[:2])
    assert scores.compute()["frame_accuracy"] == 1.0


def test_without_a_classifier_of_frames_its_score_is_not_told() -> None:
    predicted, target = random_classes()
    scores = VideoScores(num_classes=5, has_frame_answers=False)
    scores.update(torch.tensor(1.0), 50, predicted, target)
    assert scores.names == ("accuracy", "f1")
    assert set(scores.compute()) == {"loss", "accuracy", "f1"}


def test_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, 30, 3, generator=generator).unbind()
    scores = NumberScores()
    for start in (0, 10):
        rows = slice(start, start + 10 + start)
        scores.update(torch.tensor(1.0), 10, predicted[rows], target[rows])
    errors = (predicted - target).double()
    assert scores.compute() == pytest.approx(
        {"loss": 0.1, "mse": float(errors.square().mean()), "mae": float(errors.abs().mean())}
    )


def test_a_reset_forgets() -> None:
    scores = MeanLoss()
    scores.update(torch.tensor(5.0), 1)
    scores.reset()
    scores.update(torch.tensor(6.0), 3)
    assert scores.compute() == {"loss": 2.0}


def test_perplexity_does_not_overflow() -> None:
    assert perplexity(1.0) == pytest.approx(math.e)
    assert perplexity(1e6) == math.inf


def _one_of_two(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    predicted, target = random_classes()
    scores = ClassScores(num_classes=5)
    rows = slice(0, 17) if rank == 0 else slice(17, 50)
    scores.update(torch.tensor(float(rank + 1)), 17 + 16 * rank, predicted[rows], target[rows])
    torch.save(scores.compute(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_count_as_one(tmp_path: Path) -> None:
    mp.spawn(_one_of_two, args=(str(tmp_path),), nprocs=2)
    predicted, target = random_classes()
    scores = ClassScores(num_classes=5)
    scores.update(torch.tensor(3.0), 50, predicted, target)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found == pytest.approx(scores.compute())
