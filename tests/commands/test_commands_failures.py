"""Whatever ends one process ends the run, soon and with a word; what was saved goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from seqloom.commands.train import train
from seqloom.errors import ConfigError

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
FAILING = Path(__file__).with_name("failing_train.py")
# 16 batches an epoch: 8 updates of two processes.
SETTINGS = (
    "data.num_train=64",
    "batching.batch_size=4",
    "model.dropout=0",
    "precision=fp32",
    "trainer.max_epochs=2",
    "trainer.max_steps=-1",
    "callbacks.checkpoint_every_n_steps=2",
)
TWO = ("strategy=ddp", "trainer.devices=2")
LIMIT_S = 30

TinyConfig = Callable[..., DictConfig]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]


def run(
    *words: str, script: Path = TRAIN, timeout: int = 120
) -> tuple[subprocess.CompletedProcess[str], int]:
    """A command in a session of its own, and how many of its processes were left."""
    process = subprocess.Popen(
        [sys.executable, str(script), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        time.sleep(2)  # What dies with its parent looks after it twice a second.
        left = session(process.pid)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    return subprocess.CompletedProcess(words, process.returncode, out, err), len(left)


def session(number: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == number and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def summary_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    return found


def error_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("kill", "process of rank 1: it was killed by SIGKILL"),
        ("deaf", "process of rank 1: it was killed by SIGKILL"),
        ("data", "process of rank 1: train.de:17: is empty; mend it"),
        ("memory", "process of rank 1: MemoryError: no more"),
    ],
)
def test_a_process_that_fails_ends_the_run(
    tiny_settings: tuple[str, ...], tmp_path: Path, kind: str, words: str
) -> None:
    path = tmp_path / "run"
    done, num_left = run(
        *("1", kind, *tiny_settings, *SETTINGS, *TWO, f"run_dir={path}"), script=FAILING
    )
    assert time.time() - (path / "fault").stat().st_mtime < LIMIT_S
    assert done.returncode == 1, done.stderr
    (line,) = error_lines(done.stderr)
    assert words in line
    assert num_left == 0
    summary = summary_of(path)
    assert (summary["status"], summary["steps"]) == ("failed", 3)
    assert words in summary["error"]
    assert (path / "checkpoints/last.ckpt").is_file()
    assert not list(path.glob("*.error"))
    assert not (path / "run.lock").exists()


def test_a_killed_run_goes_on_but_not_in_mid_epoch_with_other_processes(
    tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    run("1", "kill", *tiny_settings, *SETTINGS, *TWO, f"run_dir={path}", script=FAILING)
    config, before = (path / "config.yaml").read_bytes(), summary_of(path)
    alone, _ = run(f"resume={path}", "strategy.timeout_s=60", "trainer.devices=1")
    assert alone.returncode == 2
    assert (path / "config.yaml").read_bytes() == config
    assert {**summary_of(path), "seconds": 0} == {**before, "seconds": 0}
    (line,) = error_lines(alone.stderr)
    assert "1 processes: the checkpoint was made after batch 2 of epoch 0 by 2" in line
    again, _ = run(f"resume={path}")
    assert again.returncode == 0, again.stderr
    assert summary_of(path)["steps"] == 16


def test_at_the_end_of_an_epoch_a_run_goes_on_with_other_processes(
    tiny_settings: tuple[str, ...], tiny_config: TinyConfig, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    settings = [*SETTINGS, "trainer.max_epochs=1", f"run_dir={path}"]
    train(tiny_config(*settings))
    assert summary_of(path)["steps"] == 16
    done, _ = run(f"resume={path}", "trainer.max_epochs=2", "trainer.devices=2")
    assert done.returncode == 0, done.stderr
    assert summary_of(path)["steps"] == 16 + 8


def test_others_end_when_the_first_process_is_killed(
    tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    done, num_left = run(
        *("0", "deaf", *tiny_settings, *SETTINGS, *TWO, f"run_dir={path}"), script=FAILING
    )
    assert done.returncode == -signal.SIGKILL
    assert num_left == 0
    assert summary_of(path)["status"] == "running"
    assert (path / "checkpoints/last.ckpt").is_file()


@pytest.mark.parametrize("devices", ["0", "-2", "two"])
def test_a_wrong_number_of_devices_is_told_in_one_line(
    tiny_config: TinyConfig, tmp_path: Path, devices: str
) -> None:
    with pytest.raises(ConfigError, match=f"trainer.devices={devices}: is no number of devices"):
        train(tiny_config(f"run_dir={tmp_path / 'run'}", f"trainer.devices={devices}"))


def test_evaluations_of_fewer_examples_than_processes_are_those_of_one(
    tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    few = ("data.num_val=1", "data.num_test=2", "trainer.max_epochs=1", "trainer.max_steps=1")
    settings = [*tiny_settings, *SETTINGS, *few, "optimizer.lr=0"]
    found = []
    for devices in (1, 3):
        path = tmp_path / str(devices)
        done, num_left = run(*settings, f"trainer.devices={devices}", f"run_dir={path}")
        assert done.returncode == 0, done.stderr
        assert num_left == 0
        lines = (path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        found.append((summary_of(path)["metrics"], [json.loads(line) for line in lines]))
    (expected, outputs), (metrics, spread) = found
    assert expected.keys() == metrics.keys()
    for name, value in expected.items():
        if name.startswith(("val/", "test/")):
            assert metrics[name] == pytest.approx(value, rel=1e-5), name
    assert [(p["index"], p["prediction"]) for p in spread] == [
        (p["index"], p["prediction"]) for p in outputs
    ]
    assert [p["index"] for p in spread] == [0, 1]
