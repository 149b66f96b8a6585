"""Two processes come to what one comes to: the same weights from the same updates, the same scores
of every example once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from prove_strategies import SharedPlan

from seqloom.commands.train import train
from seqloom.data import module
from seqloom.runs import read_metrics

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
WORLD_SIZE = 2
# 12 batches an epoch, so no batch is cut; splits of evaluation that no two processes share evenly.
SETTINGS = (
    "data.num_train=60",
    "data.num_val=13",
    "data.num_test=15",
    "batching.batch_size=5",
    "model.dropout=0",
    "precision=fp32",
    "optimizer=sgd",
    "scheduler=constant",
    "trainer.max_epochs=3",
    "trainer.max_steps=-1",
    "trainer.log_every_n_steps=1",
)

TinyConfig = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def one(tiny_config: TinyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, each of whose updates is over the batches of one step of two."""
    path = tmp_path_factory.mktemp("processes") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TrainingPlan", SharedPlan)
        accumulate = f"trainer.accumulate_grad_batches={WORLD_SIZE}"
        train(tiny_config(f"run_dir={path}", *SETTINGS, accumulate))
    return path


@pytest.fixture(scope="module")
def two(tiny_settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes."""
    path = tmp_path_factory.mktemp("processes") / "two"
    devices = "strategy=ddp", f"trainer.devices={WORLD_SIZE}"
    process = subprocess.run(
        [sys.executable, str(TRAIN), *tiny_settings, *SETTINGS, f"run_dir={path}", *devices],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return path


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return found


def logged(run: Path, prefix: str) -> list[dict[str, float]]:
    """Rows of metrics.csv, by step, with the metrics whose name begins so."""
    rows = read_metrics(run / "metrics.csv")
    found = [{name: row[name] for name in row if name.startswith(prefix)} for row in rows]
    return [row for row in found if row]


pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]


def test_the_weights_are_those_of_one_process(one: Path, two: Path) -> None:
    states = [torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (one, two)]
    assert [state["global_step"] for state in states] == [18, 18]
    for name, expected in states[0]["state_dict"].items():
        torch.testing.assert_close(
            states[1]["state_dict"][name], expected, rtol=1e-5, atol=1e-6, msg=name
        )


def test_every_update_has_the_loss_of_one_process(one: Path, two: Path) -> None:
    for prefix, num_rows in (("train/loss", 18), ("train/gradient_norm", 18), ("val/loss", 3)):
        expected, found = logged(one, prefix), logged(two, prefix)
        assert len(expected) == len(found) == num_rows
        for row, other in zip(expected, found, strict=True):
            assert other == pytest.approx(row, rel=1e-5)


def test_the_scores_are_those_of_one_process(one: Path, two: Path) -> None:
    expected, found = summary_of(one)["metrics"], summary_of(two)["metrics"]
    assert expected.keys() == found.keys()
    for name in ("test/bleu", "test/chrf", "test/exact_match"):
        assert found[name] == expected[name]
    assert found["test/nll"] == pytest.approx(expected["test/nll"], rel=1e-6)


def test_every_example_is_predicted_once_and_in_order(one: Path, two: Path) -> None:
    expected, found = (
        [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
        for run in (one, two)
    )
    assert [entry["index"] for entry in found] == list(range(15))
    for name in ("input", "target", "prediction"):
        assert [entry[name] for entry in found] == [entry[name] for entry in expected]
