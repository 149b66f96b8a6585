"""Runs over clips, end to end: cached features change nothing, workers and processes change
nothing, a resumed run is the straight one, and what it leaves shows its clips.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from seqloom.commands.predict import predict
from seqloom.commands.train import train
from seqloom.config import plain
from seqloom.config.overrides import compose_config
from seqloom.errors import ConfigError, DataError
from seqloom.runs import RunFolder

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
TINY = (
    "task=video_classification",
    "logger=csv",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
    "precision=fp32",
    "frames.channels=[4,8]",
    "frames.norm=batch",
    "model.feature_size=8",
    "model.hidden_size=16",
    "batching.batch_size=8",
    "data.num_train=32",
    "data.num_val=9",
    "data.num_test=11",
)
FROZEN = ("learner.front.unfreeze_at_epoch=null",)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return (*TINY, f"data.cache_dir={tmp_path_factory.mktemp('cache')}")


def run(settings: tuple[str, ...], path: Path, *overrides: str) -> RunFolder:
    train(plain(compose_config([*settings, *overrides, f"run_dir={path}"])))
    return RunFolder.open(path)


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder.last, weights_only=True)["state_dict"]
    return state


def assert_same_run(one: RunFolder, other: RunFolder, *, exact: bool) -> None:
    tolerance = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-5, "atol": 1e-6}
    for name, values in weights(one).items():
        torch.testing.assert_close(weights(other)[name], values, **tolerance, msg=name)
    expected, found = one.read_summary().metrics, other.read_summary().metrics
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def straight(settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose front is frozen for one of its three epochs."""
    path = tmp_path_factory.mktemp("video") / "straight"
    return run(settings, path, "learner.front.unfreeze_at_epoch=1")


def test_a_run_leaves_clips_and_a_page_that_shows_them(straight: RunFolder) -> None:
    kept = json.loads((straight.path / "clips" / "clips.json").read_text())
    assert kept
    page = straight.report.read_text()
    assert "data:video/mp4" in page
    assert "data:image/jpeg" in page
    metrics = straight.read_summary().metrics
    assert {"test/accuracy", "test/f1", "test/frame_accuracy", "test/nll"} <= set(metrics)


def test_workers_change_nothing(
    settings: tuple[str, ...], straight: RunFolder, tmp_path: Path
) -> None:
    other = run(settings, tmp_path / "r", "learner.front.unfreeze_at_epoch=1", "data.num_workers=2")
    assert_same_run(straight, other, exact=True)


def test_a_resumed_run_is_the_straight_one(
    settings: tuple[str, ...], straight: RunFolder, tmp_path: Path
) -> None:
    """Stopped in the middle of the epoch in which the front began to learn."""
    path = tmp_path / "r"
    # The schedule knows the whole budget, so the first part is cut short by a limit of epochs that
    # is raised again: a constant rate makes the two alike.
    constant = ("scheduler=constant", "learner.front.unfreeze_at_epoch=1")
    whole = run(settings, tmp_path / "whole", *constant)
    run(settings, path, *constant, "trainer.max_epochs=-1", "trainer.max_steps=6")
    cfg = compose_resume(path, "trainer.max_epochs=3", "trainer.max_steps=-1")
    train(cfg)
    assert_same_run(whole, RunFolder.open(path), exact=True)


def compose_resume(path: Path, *overrides: str) -> DictConfig:
    from seqloom.config import resume_config

    return resume_config(path, overrides)


def test_cached_features_change_nothing(settings: tuple[str, ...], tmp_path: Path) -> None:
    computed = run(settings, tmp_path / "computed", *FROZEN)
    cached = run(settings, tmp_path / "cached", *FROZEN, "learner.front.features=cached")
    assert_same_run(computed, cached, exact=False)
    again = run(settings, tmp_path / "again", *FROZEN, "learner.front.features=cached")
    assert_same_run(cached, again, exact=True)


def test_what_changes_cannot_be_cached(settings: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the front learns"):
        run(settings, tmp_path / "a", "learner.front.features=cached")
    changing = ("learner.front.features=cached", "data.transform.flip=0.5")
    with pytest.raises(ConfigError, match=r"data\.transform\.flip=0\.5"):
        run(settings, tmp_path / "b", *FROZEN, *changing)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_clip_that_breaks_later_is_named(
    settings: tuple[str, ...], tmp_path: Path, num_workers: int
) -> None:
    """Also by a worker process, which cannot hand an exception over."""
    run(settings, tmp_path / "first", "trainer.max_steps=1")
    (path,) = Path(settings[-1].partition("=")[2]).glob("moving_digits-train-*/000003.mp4")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(b"\0" * len(content))
    try:
        with pytest.raises(DataError, match=r"000003\.mp4"):
            run(settings, tmp_path / "second", f"data.num_workers={num_workers}")
    finally:
        path.write_bytes(content)


def test_clips_are_predicted(straight: RunFolder, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in straight.predictions.read_text().splitlines()]
    listed = tmp_path / "clips.txt"
    listed.write_text("".join(f"{line['input']}\n" for line in lines))
    output = tmp_path / "out"
    predict(straight.path, input_path=str(listed), output_path=str(output))
    found = [line.split("\t") for line in output.read_text().splitlines()]
    assert [name for name, _ in found] == [line["input"] for line in lines]
    assert [label for _, label in found] == [line["prediction"] for line in lines]


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("starts", ["0", "1", "null"])
def test_two_processes_train_a_front(
    settings: tuple[str, ...], tmp_path: Path, starts: str
) -> None:
    """Each example is predicted once; a front that begins to learn later is known to DDP."""
    words = (
        f"run_dir={tmp_path / 'two'}",
        "trainer.devices=2",
        "strategy=ddp",
        f"learner.front.unfreeze_at_epoch={starts}",
    )
    process = subprocess.run(
        [sys.executable, str(TRAIN), *settings, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    folder = RunFolder.open(tmp_path / "two")
    lines = [json.loads(line) for line in folder.predictions.read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(11))
    assert folder.read_summary().status == "finished"
