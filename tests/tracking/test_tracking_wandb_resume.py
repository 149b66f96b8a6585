"""An offline run that is killed by SIGKILL and resumed is, at W&B, one run with every step once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wandb_records import (
    assert_same_rows,
    exit_codes_of,
    inspect,
    offline_parts,
    rows_of,
)

from seqloom.runs import RunFolder, read_metrics

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    "task=translation",
    "data.num_train=160",
    "data.num_val=8",
    "data.num_test=8",
    "tokenizer.vocab_size=300",
    "batching.batch_size=8",
    "model.embedding_size=8",
    "model.hidden_size=16",
    "decoding=greedy",
    "trainer.max_epochs=200",
    "trainer.max_steps=150",
    "trainer.val_check_interval=20",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
    "callbacks.checkpoint_every_n_steps=7",
    "logger=wandb",
)


def start(folder: Path, *settings: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    environment["WANDB_SERVICE"] = "3-1-unix-/of/a/process/that/is/gone"
    command = [sys.executable, str(ROOT / "train.py"), *settings]
    with open(folder.with_suffix(".log"), "ab") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def stop_at(
    process: subprocess.Popen[bytes], folder: RunFolder, step: int, signum: int = signal.SIGKILL
) -> int:
    """A signal once metrics.csv has `step` and there is a checkpoint; not at an exact step."""
    log = folder.path.with_suffix(".log")
    for _ in range(12000):
        assert process.poll() is None, log.read_text()
        rows = read_metrics(folder.metrics)
        if rows and rows[-1]["step"] >= step and folder.last.is_file():
            break
        time.sleep(0.01)
    process.send_signal(signum)
    return process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_killed_offline_run_is_one_wandb_run_with_every_step_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    stop_at(start(folder.path, *SETTINGS, f"run_dir={folder.path}"), folder, 20)
    identity = folder.wandb_id.read_text()
    stop_at(start(folder.path, f"resume={folder.path}"), folder, 60)
    assert len(offline_parts(folder.path)) == 2  # None is removed before another has its end.
    last = start(folder.path, f"resume={folder.path}")
    assert last.wait(timeout=120) == 0, folder.path.with_suffix(".log").read_text()

    (part,) = offline_parts(folder.path)
    assert part.name.endswith(folder.wandb_id.read_text().strip())
    assert folder.wandb_id.read_text() == identity
    records = inspect(part)
    assert_same_rows(rows_of(records), read_metrics(folder.metrics))
    assert [row["_step"] for row in rows_of(records)][:150] == list(range(150))
    assert exit_codes_of(records) == [0]
    times = [row["_timestamp"] for row in rows_of(records)]
    assert times == sorted(times)
    summary: dict[str, object] = {}
    for record in records:
        if record["type"] == "summary":
            summary |= record["summary"]["update"]
    truth = folder.read_summary()
    assert summary["status"] == truth.status == "finished"
    assert summary["best/score"] == truth.best["score"]
    assert {name: summary[name] for name in truth.metrics} == truth.metrics


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_stopped_offline_run_ends_with_the_code_of_its_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    code = stop_at(start(folder.path, *SETTINGS, f"run_dir={folder.path}"), folder, 20, 15)
    assert code == 143
    (part,) = offline_parts(folder.path)
    assert exit_codes_of(inspect(part)) == [143]
    assert_same_rows(rows_of(inspect(part)), read_metrics(folder.metrics))
    code = stop_at(start(folder.path, f"resume={folder.path}"), folder, 60, 2)
    assert code == 130
    (part,) = offline_parts(folder.path)
    assert exit_codes_of(inspect(part)) == [130]
    assert_same_rows(rows_of(inspect(part)), read_metrics(folder.metrics))
