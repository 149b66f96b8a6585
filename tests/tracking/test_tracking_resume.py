"""A run that is killed anywhere and resumed equals one that was never disturbed, bit for bit."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from tracking_fakes import NUM_BATCHES, Learner, train

from seqloom.tracking.early_stopping import EarlyStopping
from seqloom.tracking.ema import WeightAverage
from seqloom.tracking.interruption import Interrupted

pytestmark = [  # Lightning's use of torch, and its advice on what a loader costs.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]

SETTINGS: dict[str, dict[str, Any]] = {
    "every_epoch": {"checkpoint": {"every_n_steps": None}},
    "every_step": {},
    "every_third_step": {"checkpoint": {"every_n_steps": 3}},
    "validation_in_mid_epoch": {"val_check_interval": 3},
    "plateau": {"plateau": True},
    "plateau_and_validation_in_mid_epoch": {"plateau": True, "val_check_interval": 3},
    "accumulation": {"accumulate_grad_batches": 3},
    "accumulation_and_validation": {"accumulate_grad_batches": 2, "val_check_interval": 2},
    "max_steps": {"max_steps": 19},
    "max_steps_at_epoch_end": {"max_steps": 2 * NUM_BATCHES, "val_check_interval": 3},
    "validation_every_second_epoch": {"check_val_every_n_epoch": 2},
    "validation_over_epochs": {"check_val_every_n_epoch": None, "val_check_interval": 5},
}


def assert_same(path: Path, other: Path, a: Any, b: Any) -> None:
    for name, value in a[0].state_dict().items():
        assert torch.equal(value, b[0].state_dict()[name]), name
    assert (a[1].best_score, a[1].best_step) == (b[1].best_score, b[1].best_step)
    assert (a[2].global_step, a[2].current_epoch) == (b[2].global_step, b[2].current_epoch)
    best = [torch.load(p / "checkpoints/best.ckpt", weights_only=True) for p in (path, other)]
    for name, value in best[0]["state_dict"].items():
        assert torch.equal(value, best[1]["state_dict"][name]), name


def steps(path: Path) -> list[str]:
    with open(path / "metrics.csv") as file:
        return [row["step"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", SETTINGS)
def test_three_kills_change_nothing(name: str, tmp_path: Path) -> None:
    options = SETTINGS[name]
    whole = train(tmp_path / "whole", **options)
    for kills in [(3, 9, 16), (7, 14, 15), (1, 2, 8), (12, 13, 18)]:
        path = tmp_path / "-".join(map(str, kills))
        for kill_at in kills:
            train(path, kill_at=kill_at, **options)
        resumed = train(path, **options)
        assert_same(tmp_path / "whole", path, whole, resumed)
        assert len(set(steps(path))) == len(steps(path))


def test_batches_go_on_where_they_stopped(tmp_path: Path) -> None:
    whole, _, _ = train(tmp_path / "whole")
    first, _, _ = train(tmp_path / "parts", kill_at=10)
    second, _, _ = train(tmp_path / "parts")
    assert whole.seen == first.seen + second.seen
    assert len(whole.seen) == 3 * NUM_BATCHES


def test_average_of_weights_survives_kills(tmp_path: Path) -> None:
    def options() -> dict[str, Any]:
        return {"callbacks": [WeightAverage(decay=0.9)], "val_check_interval": 3}

    whole = train(tmp_path / "whole", **options())
    for kill_at in (4, 7, 15):
        train(tmp_path / "parts", kill_at=kill_at, **options())
    assert_same(
        tmp_path / "whole", tmp_path / "parts", whole, train(tmp_path / "parts", **options())
    )


def test_a_run_that_stopped_early_stays_stopped(tmp_path: Path) -> None:
    def stopper(patience: int) -> list[Callback]:
        return [EarlyStopping(monitor="val/loss", mode="max", patience=patience, min_delta=100.0)]

    options = {"max_epochs": 6}
    whole = train(tmp_path / "whole", callbacks=stopper(2), **options)
    train(tmp_path / "parts", callbacks=stopper(2), kill_at=9, **options)
    train(tmp_path / "parts", callbacks=stopper(2), **options)
    again = train(tmp_path / "parts", callbacks=stopper(2), **options)
    assert whole[2].global_step == 3 * NUM_BATCHES
    assert_same(tmp_path / "whole", tmp_path / "parts", whole, again)
    more = train(tmp_path / "parts", callbacks=stopper(3), **options)
    assert more[2].global_step == 4 * NUM_BATCHES


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"max_epochs": 2}, {"max_epochs": 4}),
        ({"max_steps": 9}, {"max_steps": 12}),
        ({"max_steps": NUM_BATCHES}, {"max_steps": 12}),
    ],
)
def test_a_finished_run_goes_on(less: Any, more: Any, tmp_path: Path) -> None:
    """The schedule of the fake depends on the total, so only the batches are compared."""
    whole, _, _ = train(tmp_path / "whole", val_check_interval=3, **more)
    first, _, _ = train(tmp_path / "parts", val_check_interval=3, **less)
    second, _, _ = train(tmp_path / "parts", val_check_interval=3, **more)
    assert whole.seen == first.seen + second.seen


class SignalAt(Callback):
    def __init__(self, signum: int, position: int) -> None:
        self.signum, self.position = signum, position

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.position:
            os.kill(os.getpid(), self.signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("position", [1, 4, 5, 6])
def test_a_signal_saves_and_loses_nothing(signum: int, position: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": {"every_n_steps": None}, "val_check_interval": 3}
    options |= {"accumulate_grad_batches": 2}
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    whole = train(tmp_path / "whole", **options)
    with pytest.raises(Interrupted) as stopped:
        train(tmp_path / "parts", callbacks=[SignalAt(signum, position)], **options)
    assert stopped.value.code == 128 + signum
    state = torch.load(tmp_path / "parts/checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] in (position // 2 + 1, position // 2 + 2)
    assert_same(tmp_path / "whole", tmp_path / "parts", whole, train(tmp_path / "parts", **options))
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_chance_depends_on_the_position_alone(tmp_path: Path) -> None:
    with_validation, _, _ = train(tmp_path / "a", val_check_interval=1)
    without: Learner
    without, _, _ = train(tmp_path / "b", check_val_every_n_epoch=100)
    for name, value in with_validation.state_dict().items():
        assert torch.equal(value, without.state_dict()[name])
