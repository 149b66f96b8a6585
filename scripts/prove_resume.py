"""Proof that a killed run goes on bit for bit: SIGKILL at random moments, against a run left alone.

    python scripts/prove_resume.py [num_workers=0,2] [num_kills=3] [seed=1] [num_threads=2]
                                   [key=value ...]

For each number of loader workers: `train.py` runs once undisturbed, and once with `num_kills` kills
that strike a random while after a random update (in the middle of a step or an epoch, in a
validation, while saving, in the test), going on by `train.py resume=DIR` after each. Then every
value of every checkpoint, each row of metrics.csv, the summary and the predictions must be equal;
only what a clock measured may differ. Further words override `SETTINGS`. Exits with 1, and keeps
both runs, on any difference.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqloom.runs import RunFolder, read_metrics

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
SETTINGS = (
    "task=translation",
    "deterministic=true",
    "precision=fp32",
    "logger=csv",
    "data.num_train=2000",
    "data.num_val=200",
    "data.num_test=100",
    "tokenizer.vocab_size=1000",
    "tokenizer.bpe_dropout=0.1",
    "model.embedding_size=64",
    "model.hidden_size=64",
    "model.dropout=0.1",
    "callbacks.ema_decay=0.99",
    "callbacks.checkpoint_every_n_steps=7",
    "trainer.max_epochs=4",
    "trainer.val_check_interval=0.5",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
)
# How long after its update a kill may strike, as a share of the training: longer than a validation.
LONGEST_PAUSE = 0.05
# What differs by right: where a run lies, how it was called, and what a clock measured.
DIFFERENT = ("run_dir", "resume", "seconds", "total_s", "window_s")


@dataclass(frozen=True)
class Kill:
    """How many updates were logged when the process was killed, and how many had been saved."""

    num_updates: int
    num_saved: int


class Trial:
    """A run folder and the processes that train in it, one after the other.

    Args:
        settings: the command line without `run_dir`.
        num_threads: of each process.
    """

    def __init__(self, path: Path, settings: list[str], *, num_threads: int) -> None:
        self.folder = RunFolder(path)
        self._arguments = [*settings, f"run_dir={path}"]
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
        self._output = path.with_suffix(".log")

    def leave_alone(self) -> float:
        """Trains to the end; returns the seconds from the first update to the last checkpoint."""
        process = self._start()
        began_s = time.time()
        self._finish(process)
        return self.folder.last.stat().st_mtime - began_s

    def disturb(self, moments: list[tuple[int, float]]) -> list[Kill]:
        """Kills at each of `moments` (so many updates, and then so many seconds), resumes each
        time, and then trains to the end.
        """
        kills = []
        for num_updates, pause_s in moments:
            process = self._start()
            while process.poll() is None and self._num_updates() < num_updates:
                time.sleep(0.01)
            time.sleep(pause_s)
            if process.poll() is not None:
                self._finish(process)
                sys.exit(f"{self.folder.path}: the run ended before its kill")
            process.kill()
            process.wait()
            saved = load(self.folder.last)["global_step"] if self.folder.last.is_file() else 0
            kills.append(Kill(self._num_updates(), saved))
            self._arguments = [f"resume={self.folder.path}"]
        self._finish(self._start())
        return kills

    def _start(self) -> subprocess.Popen[bytes]:
        """A process that has come to its first update; metrics.csv is written anew just before."""
        before = _written_ns(self.folder.metrics)
        with self._output.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, str(TRAIN), *self._arguments],
                env=self._environment,
                stdout=output,
                stderr=output,
            )
        while process.poll() is None and _written_ns(self.folder.metrics) == before:
            time.sleep(0.01)
        return process

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        if process.wait() != 0:
            said = self._output.read_text(encoding="utf-8", errors="replace").splitlines()
            sys.exit("\n".join([*said[-20:], f"exit code {process.returncode}: {self._output}"]))

    def _num_updates(self) -> int:
        rows = read_metrics(self.folder.metrics)
        return int(rows[-1]["step"]) + 1 if rows else 0


def _written_ns(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


def load(checkpoint: Path) -> Any:
    return torch.load(checkpoint, map_location="cpu", weights_only=True)


def differences(name: str, left: Any, right: Any) -> Iterator[str]:
    """Names of the values that are not the same, bit for bit."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in left.keys() | right.keys():
            if key not in DIFFERENT and not str(key).endswith("_per_s"):
                yield from differences(f"{name}/{key}", left.get(key), right.get(key))
    elif isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) != len(right):
            yield f"{name}: {len(left)} and {len(right)} entries"
        for number, pair in enumerate(zip(left, right, strict=False)):
            yield from differences(f"{name}/{number}", *pair)
    elif isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        if left.dtype != right.dtype or not torch.equal(left, right):
            yield f"{name}: two tensors"
    elif repr(left) != repr(right):  # A number's `repr` is exact, and NaN equals itself.
        yield f"{name}: {left!r} and {right!r}"


def compare(left: RunFolder, right: RunFolder) -> list[str]:
    """What differs between two finished runs, by name."""
    names = {path.name for run in (left, right) for path in run.checkpoints.iterdir()}
    found = []
    for name in sorted(names):
        paths = [run.checkpoints / name for run in (left, right)]
        states = [load(path) if path.is_file() else None for path in paths]
        found += differences(name, *states)
    found += differences("metrics.csv", read_metrics(left.metrics), read_metrics(right.metrics))
    steps = [row["step"] for row in read_metrics(right.metrics)]
    if len(set(steps)) < len(steps):
        found.append("metrics.csv: a step stands in it twice")
    summaries = left.read_summary(), right.read_summary()
    for name in ("status", "steps", "epochs", "best", "metrics"):
        found += differences(f"summary.json/{name}", *(getattr(s, name) for s in summaries))
    texts = [run.predictions.read_text(encoding="utf-8").splitlines() for run in (left, right)]
    return [*found, *differences("predictions.jsonl", *texts)]


def prove(
    parent: Path, settings: list[str], *, num_kills: int, rng: random.Random, num_threads: int
) -> bool:
    """Trains both runs, prints a row of the table and what differs; True when nothing does."""
    alone, killed = (
        Trial(parent / name, settings, num_threads=num_threads) for name in ("alone", "killed")
    )
    seconds = alone.leave_alone()
    steps = alone.folder.read_summary().steps
    kills = killed.disturb(
        sorted(
            (rng.randint(0, steps), rng.uniform(0, LONGEST_PAUSE * seconds))
            for _ in range(num_kills)
        )
    )
    found = compare(alone.folder, killed.folder)
    shown = ", ".join(f"{kill.num_updates} ({kill.num_saved})" for kill in kills)
    result = f"{len(found)} differences" if found else "the same"
    print(f"{parent.name:<8} {steps:>8} {seconds:>8.1f}  {shown:<32} {result}", flush=True)
    for difference in found[:20]:
        print(f"    {difference}", flush=True)
    return not found


def main(arguments: list[str]) -> int:
    options = {"num_workers": "0,2", "num_kills": "3", "seed": "1", "num_threads": "2"}
    overrides = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in options:
            options[name] = value
        else:
            overrides.append(argument)
    rng = random.Random(int(options["seed"]))
    work = Path(tempfile.mkdtemp(prefix="prove_resume-"))
    print(f"{'workers':<8} {'updates':>8} {'seconds':>8}  {'killed at (saved)':<32} result")
    proven = True
    for num_workers in options["num_workers"].split(","):
        (work / num_workers).mkdir()
        workers = f"data.num_workers={num_workers}"
        proven &= prove(
            work / num_workers,
            [*SETTINGS, f"data.cache_dir={work / 'cache'}", *overrides, workers],
            num_kills=int(options["num_kills"]),
            rng=rng,
            num_threads=int(options["num_threads"]),
        )
    if proven:
        shutil.rmtree(work)
    else:
        print(f"both runs are in {work}")
    return 0 if proven else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
