"""A sweep of twelve jobs, killed in the middle and with two jobs spoilt, comes to its right end.

    python scripts/prove_sweep.py [folder=DIR] [output=FILE]

3 cells x 2 unrollings x 2 seeds of `task=reverse`, two jobs at a time, with W&B offline. When two
jobs are finished and two others have a checkpoint, the sweep's process gets SIGKILL. Of the two
that were under way, one's last.ckpt is cut in half (it must fail), the other's weights become NaN
(it must diverge). The same command then goes on. Prints what was expected and what was found, and
exits with 1 where they differ.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import seqloom  # isort: skip  # first: its cure lets lightning import torchvision
import torch

from seqloom.sweeps.record import SweepRecord

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
SETTINGS = (
    "task=reverse",
    "cell=lstm,gru,min_gru",
    "unrolling=auto,dynamic",
    "seed=1,2",
    "data.num_train=4000",
    "data.num_val=200",
    "data.num_test=200",
    "trainer.max_epochs=2",
    "callbacks.checkpoint_every_n_steps=10",
    "trainer.log_every_n_steps=10",
    "logger=[csv,wandb]",
    "launcher.num_parallel=2",
)
NUM_JOBS, LIMIT_S = 12, 1800
assert seqloom.__version__


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(TRAIN), "-m", *SETTINGS, f"hydra.sweep.dir={folder}"]
    return subprocess.Popen(command, env=os.environ | {"WANDB_MODE": "offline"})


def kill_in_the_middle(folder: Path) -> list[int]:
    """Kills the sweep when two jobs are finished and two have saved; numbers of the latter."""
    process, deadline = start(folder), time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if not (folder / "sweep.json").exists():
            continue
        jobs = SweepRecord.read(folder).jobs
        states = Counter(job.state for job in jobs)
        saved = [
            job.number
            for job in jobs
            if job.state == "running" and (folder / job.folder / "checkpoints/last.ckpt").exists()
        ]
        if states["finished"] >= 2 and len(saved) == 2:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return saved
    raise SystemExit("the sweep did not come to its middle")


def wait_for_the_jobs(folder: Path, numbers: list[int]) -> None:
    """Until the jobs, whose sweep is gone, have saved and ended."""
    while any((folder / str(number) / "run.lock").exists() for number in numbers):
        time.sleep(0.2)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    for value in state["state_dict"].values():
        if value.is_floating_point():
            value.fill_(float("nan"))
    torch.save(state, path)


def offline_runs(folder: Path) -> list[int]:
    """How many offline runs of W&B each job has."""
    return [
        len(list((folder / str(number)).glob("wandb/offline-run-*"))) for number in range(NUM_JOBS)
    ]


def prove(folder: Path) -> dict[str, tuple[Any, Any]]:
    """What was expected and what was found, by name."""
    first, second = kill_in_the_middle(folder)
    wait_for_the_jobs(folder, [first, second])
    before = Counter(job.state for job in SweepRecord.read(folder).jobs)
    cut(folder / str(first) / "checkpoints/last.ckpt")
    spoil(folder / str(second) / "checkpoints/last.ckpt")
    code = start(folder).wait(LIMIT_S)
    record = SweepRecord.read(folder)
    for number in (first, second):
        sys.stdout.write(f"job {number}: {record.jobs[number].error}\n")
    failed = [job.number for job in record.jobs if job.state == "failed"]
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return {
        "states when it was killed": ({"finished": 2, "running": 2, "waiting": 8}, dict(before)),
        "exit code": (1, code),
        "states": ({"finished": 10, "failed": 2}, record.counts()),
        "failed jobs": (sorted([first, second]), failed),
        "folders": (sorted(str(number) for number in range(NUM_JOBS)), names),
        "offline runs of W&B, by job": ([1] * NUM_JOBS, offline_runs(folder)),
    }


def main() -> int:
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    folder = Path(words.get("folder", f"outputs/proofs/sweep_{int(time.time())}"))
    found = prove(folder)
    for name, (expected, got) in found.items():
        word = "ok" if expected == got else f"EXPECTED {expected}"
        sys.stdout.write(f"{name}: {got} ({word})\n")
    if "output" in words:
        text = json.dumps({name: got for name, (_, got) in found.items()}, indent=2)
        Path(words["output"]).write_text(text + "\n", encoding="utf-8")
    return int(any(expected != got for expected, got in found.values()))


if __name__ == "__main__":
    sys.exit(main())
