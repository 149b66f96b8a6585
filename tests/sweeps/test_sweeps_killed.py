"""A sweep whose process is killed leaves no job behind, and the same command ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqloom.runs import RunFolder
from seqloom.runs.lock import is_held
from seqloom.sweeps.record import SweepRecord

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
TINY = (
    "task=reverse",
    "cell=gru,lstm",
    "seed=1,2",
    "data.num_train=2000",
    "data.num_val=32",
    "data.num_test=32",
    "batching.batch_size=8",
    "model.embedding_size=8",
    "model.hidden_size=16",
    "precision=fp32",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "callbacks.checkpoint_every_n_steps=5",
    "logger=csv",
    "launcher.num_parallel=2",
)


def begin(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(TRAIN), "-m", *TINY, f"hydra.sweep.dir={folder}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_until_saved(folder: Path, limit_s: float = 150) -> list[Path]:
    """The folders of two jobs that have a checkpoint and go on."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        running = [path.parents[1] for path in folder.glob("*/checkpoints/last.ckpt")]
        running = [path for path in running if is_held(path)]
        if len(running) == 2:
            return running
        time.sleep(0.05)
    raise AssertionError("no two jobs saved")


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_jobs_end_with_their_sweep_and_go_on_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    sweep = begin(folder)
    running = wait_until_saved(folder)
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    # The jobs may still save while the next session begins; it has to wait for them.
    assert begin(folder).wait(timeout=240) == 0
    record = SweepRecord.read(folder)
    assert [job.state for job in record.jobs] == ["finished"] * 4
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["0", "1", "2", "3"]
    for path in running:
        log = (path / "train.log").read_text(encoding="utf-8")
        assert "stopping at the next step that can be saved" in log
    for job in record.jobs:
        run = RunFolder(folder / job.folder)
        rows = run.metrics.read_text(encoding="utf-8").splitlines()[1:]
        steps = [int(row.split(",")[0]) for row in rows]
        assert steps == sorted(set(steps)), "every step once"
        assert run.read_summary().steps == 250
