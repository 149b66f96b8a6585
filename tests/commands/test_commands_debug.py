"""`debug=...`: a profile, a few examples learnt by heart, NaN that is named; runs that diverge."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from seqloom.commands.debugging import anomalies_in_words
from seqloom.commands.train import train
from seqloom.config.overrides import compose_config
from seqloom.config.paths import config_dir, groups
from seqloom.data.one_batch import UPDATES_PER_EPOCH, OneBatch
from seqloom.entry import train as train_command
from seqloom.errors import ConfigError, TrainingError
from seqloom.runs import RunFolder, read_metrics
from seqloom.sequences import Padded
from seqloom.tracking.divergence import Divergence, FiniteOutputs, tensors_in
from seqloom.tracking.overfit import Overfit

TinyConfig = Callable[..., DictConfig]
TRAIN = Path(__file__).resolve().parents[2] / "train.py"
TASKS = groups(config_dir())["task"]
HUGE = "optimizer.lr=1e30"


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


@pytest.mark.parametrize("task", TASKS)
def test_nothing_makes_learning_harder_where_a_task_should_overfit(task: str) -> None:
    cfg = compose_config([f"task={task}", "debug=overfit"])
    assert cfg.callbacks.overfit_examples == 8
    assert cfg.model.dropout == cfg.learner.label_smoothing == cfg.stack.zoneout == 0
    assert cfg.scheduler._target_.endswith(".Constant")


@pytest.mark.parametrize("option", groups(config_dir())["debug"])
def test_a_debug_option_switches_on_what_it_is_named_after(option: str) -> None:
    cfg = compose_config(["task=adding", f"debug={option}"])
    assert cfg.trainer.detect_anomaly == (option == "detect_anomaly")
    assert (cfg.callbacks.overfit_examples is not None) == (option == "overfit")
    assert (cfg.callbacks.profile_updates is not None) == (option == "profile")


def test_a_profiled_run_leaves_tables_a_trace_and_a_section(
    tiny_config: TinyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = tiny_config(
        "debug=profile",
        "callbacks.profile_updates=2",
        "data.num_val=2",
        "trainer.limit_test_batches=1",
        "trainer.max_steps=-1",
        "trainer.max_epochs=9",
        f"run_dir={tmp_path / 'run'}",
    )
    train(cfg)
    folder = RunFolder(tmp_path / "run")
    assert summary_of(folder.path)["status"] == "finished"
    assert summary_of(folder.path)["steps"] == 10 + 2 + 3
    found = json.loads(folder.profile.read_text())
    names = [row["name"] for row in found["rows"]]
    wanted = {"data", "transfer", "optimizer", "callbacks", "logging", "rest", "model"}
    parts = {"encoder", "lower", "attention", "output"}
    assert wanted | {f"model.{part}" for part in parts} <= set(names)
    assert {f"model.{part}, backward" for part in parts} <= set(names)
    assert sum(row["mean_ms"] for row in found["rows"]) == pytest.approx(found["mean_ms"])
    assert folder.trace.read_bytes()[:2] == b"\x1f\x8b"
    assert "Where the time goes" in folder.report.read_text()
    assert "largest operators" in capsys.readouterr().out


def test_a_few_examples_are_learnt_by_heart(
    tiny_config: TinyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = tiny_config(
        "debug=overfit",
        "callbacks.overfit_examples=2",
        "callbacks.overfit_below=0.5",
        "trainer.max_steps=-1",
        "trainer.max_epochs=30",
        "optimizer.lr=0.02",
        f"run_dir={tmp_path / 'run'}",
    )
    train(cfg)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    assert losses[-1] < 0.5 <= min(losses[:-1], default=math.inf)
    assert summary_of(tmp_path / "run")["steps"] == UPDATES_PER_EPOCH * len(losses)
    assert f"overfit: val/loss {losses[-1]:.4g} after" in capsys.readouterr().out


def test_a_run_that_does_not_overfit_says_so(
    tiny_settings: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without which a script could not tell: it has failed, as any check does."""
    run = tmp_path / "run"
    settings = ("debug=overfit", "trainer.max_steps=10", "optimizer.lr=1e-9", f"run_dir={run}")
    assert train_command([*tiny_settings, *settings]) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("error: did NOT overfit: val/loss ")
    assert "after 10 updates, not below 0.03; look at model and loss" in error
    assert summary_of(run)["status"] == "failed"
    assert f"error: {summary_of(run)['error']}" == error
    assert {"test/nll"} <= summary_of(run)["metrics"].keys()


def test_a_profile_of_too_few_updates_says_so_at_the_end(
    tiny_config: TinyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_config("debug=profile", f"run_dir={tmp_path / 'run'}"))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "profile: 0 of 40 updates were timed: training ended after 4, it takes 50"
    assert not (tmp_path / "run" / "profile.json").exists()


def test_a_diverged_run_fails_with_one_line(
    tiny_settings: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = [*tiny_settings, HUGE, "trainer.log_every_n_steps=1", f"run_dir={tmp_path / 'run'}"]
    assert train_command(settings) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "train/loss=" in lines[0]
    assert "it diverged; lower optimizer.lr" in lines[0]
    summary = summary_of(tmp_path / "run")
    assert summary["status"] == "failed"
    assert f"error: {summary['error']}" == lines[0]


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_two_processes_that_diverge_both_end_with_one_line(
    tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = ["strategy=ddp", "trainer.devices=2", "trainer.log_every_n_steps=1", HUGE]
    done = subprocess.run(
        [sys.executable, str(TRAIN), *tiny_settings, *settings, f"run_dir={run}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,  # which would not end while a process of the run is left
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "/loss=" in errors[0]  # of an epoch of two updates; the second's, or validation's
    assert "it diverged" in errors[0]
    assert summary_of(run)["status"] == "failed"


def test_a_diverged_validation_fails_and_overwrites_nothing(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    cfg = tiny_config(
        HUGE,
        "trainer.val_check_interval=1",
        "callbacks.checkpoint_every_n_steps=1",
        f"run_dir={tmp_path / 'run'}",
    )
    with pytest.raises(TrainingError, match=r"val/loss=(nan|inf) at step .*best\.ckpt"):
        train(cfg)
    folder = RunFolder(tmp_path / "run")
    for path in (folder.best, folder.last):
        weights = torch.load(path, weights_only=True)["state_dict"].values()
        assert all(bool(weight.isfinite().all()) for weight in weights)
    assert summary_of(folder.path)["status"] == "failed"


def test_a_diverged_run_goes_on_where_it_is_told_to(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    metrics = train(
        tiny_config(HUGE, "callbacks.stop_on_divergence=false", f"run_dir={tmp_path / 'run'}")
    )
    assert not math.isfinite(metrics["test/nll"])
    assert summary_of(tmp_path / "run")["status"] == "finished"


def test_anomaly_mode_names_the_module_of_a_diverged_run(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    cfg = tiny_config("debug=detect_anomaly", HUGE, f"run_dir={tmp_path / 'run'}")
    with pytest.raises(TrainingError, match=r"^model\.\S+ \(\w+\), update \d: its output is NaN"):
        train(cfg)


class Broken(nn.Module):
    """Gives NaN, forward or only backward, or nothing wrong."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.first, self.last, self.fault = nn.Linear(2, 2), nn.Identity(), fault

    def forward(self, values: Tensor) -> Tensor:
        hidden = self.first(values) * (torch.nan if self.fault == "forward" else 0.0)
        if self.fault == "mask":
            hidden = hidden.masked_fill(torch.tensor([True, False]), -torch.inf).softmax(-1)
        root = hidden.sqrt() if self.fault == "backward" else hidden
        return torch.as_tensor(self.last(root))


class BrokenLearner(LightningModule):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.model = Broken(fault)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        total = self.model(batch).sum()
        return total / 0 if self.model.fault == "loss" else total * 0

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit_broken(fault: str, folder: Path) -> BrokenLearner:
    learner = BrokenLearner(fault)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        detect_anomaly=True,
        callbacks=[FiniteOutputs()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    with anomalies_in_words(trainer):
        trainer.fit(learner, DataLoader([torch.ones(2)]))  # type: ignore[arg-type]
    return learner


@pytest.mark.filterwarnings("ignore")  # torch's, with the lines that called the operation
@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("forward", r"model\.last \(Identity\), update 1: .* NaN or infinite; so is what it was"),
        ("backward", "the gradient of SqrtBackward0, update 1: it is NaN"),
        ("loss", "the loss, update 1: its output is NaN"),
    ],
)
def test_what_gives_nan_is_named(fault: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=named):
        fit_broken(fault, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_masks_are_no_fault_and_hooks_are_taken_away(tmp_path: Path) -> None:
    learner = fit_broken("mask", tmp_path)
    assert not any(module._forward_hooks for module in learner.modules())


def test_tensors_are_found_in_all_that_modules_give() -> None:
    value = (Padded(torch.ones(1, 2), torch.tensor([2])), [{"a": torch.zeros(1)}, None, 3], "x")
    assert sorted(len(tensor.shape) for tensor in tensors_in(value)) == [1, 1, 2]
    assert list(tensors_in(None)) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_ends_the_run_and_names_the_best(
    value: float, tmp_path: Path
) -> None:
    trainer: Any = SimpleNamespace(
        callback_metrics={"val/loss": torch.tensor(1.0), "val/bleu": torch.tensor(value)},
        global_step=120,
        sanity_checking=False,
    )
    best = tmp_path / "best.ckpt"
    divergence, nothing = Divergence(monitor="val/bleu", best=best), BrokenLearner("")
    with pytest.raises(TrainingError, match=f"val/bleu={value} at step 120: it diverged") as error:
        divergence.on_validation_end(trainer, nothing)
    assert error.value.exit_code == 1
    assert "best" not in str(error.value)
    best.touch()
    with pytest.raises(TrainingError, match="the best weights so far are in"):
        divergence.on_validation_end(trainer, nothing)
    Divergence(monitor="val/loss", best=best).on_validation_end(trainer, nothing)


def test_no_example_to_overfit_is_refused() -> None:
    data: Any = None
    with pytest.raises(ConfigError, match="overfit_examples=0: is no example at all; write 1"):
        OneBatch(data, 0)
    nothing = Overfit(below=0.1)
    assert nothing.success is None
    assert str(nothing.failure).startswith("did NOT overfit: there was no validation; look at")
