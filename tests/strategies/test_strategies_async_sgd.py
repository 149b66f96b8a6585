"""Asynchronous SGD: nobody's update is lost, staleness counts those of others, no memory stays."""

from __future__ import annotations

import dataclasses
import fcntl
import math
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from two_processes import (
    NUM_UPDATES,
    in_two_processes,
    logged,
    resume,
    train_command,
    train_two,
    weights_of,
)

from seqloom.errors import ConfigError
from seqloom.strategies import Setting
from seqloom.strategies.async_sgd import AsyncSgd
from seqloom.strategies.shared_weights import SharedWeights

TWO = Setting(torch.device("cpu"), num_devices=2)


@pytest.fixture
def file() -> Iterator[Path]:
    with tempfile.NamedTemporaryFile() as opened:
        yield Path(opened.name)


def holder(file: Path, start: float) -> tuple[SharedWeights, list[Tensor]]:
    """A process's view of the shared weights, here both in one process."""
    weights: list[Tensor] = [nn.Parameter(torch.full(size, start)) for size in ((2, 3), (4,))]
    return SharedWeights(os.open(file, os.O_RDWR), weights), weights


def add(weights: list[Tensor], number: float) -> None:
    with torch.no_grad():
        for weight in weights:
            weight += number


def test_changes_add_up_and_staleness_counts_those_of_others(file: Path) -> None:
    (first, own), (second, others) = holder(file, 1.0), holder(file, 9.0)
    first.fill()
    second.take()
    assert all(bool((weight == 1).all()) for weight in others)
    add(own, 2.0)
    assert first.add_change() == 0
    add(own, 3.0)
    assert first.add_change() == 0
    add(others, 10.0)  # To the weights of before both.
    assert second.add_change() == 2
    assert all(bool((weight == 16).all()) for weight in others)
    assert first.add_change() == 1
    for weight in own:
        assert torch.equal(weight, torch.full_like(weight, 16.0))
    first.close()
    second.close()


def test_a_process_waits_while_another_has_the_lock(file: Path) -> None:
    weights, _ = holder(file, 0.0)
    weights.fill()
    with open(file) as other, weights._locked(), pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    weights.close()


def both_add_many_times() -> None:
    paths: list[str | None] = [None]
    if dist.get_rank() == 0:
        paths = [tempfile.mkstemp()[1]]
    dist.broadcast_object_list(paths)
    path = Path(str(paths[0]))
    shared, weights = holder(path, 0.0)
    dist.barrier()
    path.unlink(missing_ok=True)
    total_staleness = 0
    for _ in range(2000):
        add(weights, 1.0)
        total_staleness += shared.add_change()
    dist.barrier()
    shared.take()
    for weight in weights:
        assert torch.equal(weight, torch.full_like(weight, 4000.0))
    counts = torch.tensor([total_staleness])
    dist.all_reduce(counts)
    # Every update but the last ones of a process is met by the next one of the other.
    assert 0 < int(counts) <= 4000
    shared.close()


def memory_files() -> list[Path]:
    folders = {Path("/dev/shm"), Path(tempfile.gettempdir())}
    return [file for folder in folders for file in folder.glob("seqloom-async-*")]


class TestRuns:
    pytestmark: ClassVar = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

    def test_no_update_is_lost(self, tmp_path: Path) -> None:
        in_two_processes(both_add_many_times, tmp_path / "store")

    def test_a_run_learns_and_goes_on(self, tmp_path: Path) -> None:
        run = train_two(tmp_path, "run", "strategy=async_sgd")
        losses, staleness = logged(run, "train/loss"), logged(run, "train/staleness")
        assert len(losses) == len(staleness) == NUM_UPDATES
        assert sum(losses[-4:]) < sum(losses[:4])
        # Between two meetings the other process makes half of all its updates.
        assert all(0 <= value <= NUM_UPDATES // 2 for value in staleness)
        assert len(logged(run, "val/loss")) == 2
        assert not memory_files()
        before = weights_of(run)
        resume(run, "trainer.max_epochs=3")
        assert len(logged(run, "train/loss")) == NUM_UPDATES * 3 // 2
        assert any(not torch.equal(weights_of(run)[name], before[name]) for name in before)
        assert logged(run, "train/loss")[-1] < losses[0]

    def test_a_killed_run_leaves_no_memory(self, tmp_path: Path) -> None:
        command, environment = train_command(
            tmp_path, "run", "strategy=async_sgd", "trainer.max_epochs=100000"
        )
        with subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                _wait_for(tmp_path / "run/metrics.csv")
                assert process.poll() is None
                assert not memory_files()
            finally:
                os.killpg(process.pid, signal.SIGKILL)
        assert not memory_files()


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end, f"{path} is not there"
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_devices": 1}, "trainer.devices=1: strategy=async_sgd spreads"),
        ({"num_nodes": 2}, "trainer.num_nodes=2: strategy=async_sgd shares the memory of one"),
        ({"device": torch.device("cuda")}, "trainer.accelerator: strategy=async_sgd"),
        ({"carries_state": True}, "batching=stream: strategy=async_sgd cannot tell"),
        ({"follows_clock": True}, "trainer.max_time: strategy=async_sgd would have"),
        ({"averages_weights": True}, "callbacks.ema_decay: under strategy=async_sgd no process"),
    ],
)
def test_what_async_sgd_cannot_do_is_refused(
    changes: dict[str, int | torch.device], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        AsyncSgd().for_run(dataclasses.replace(TWO, **changes))  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_timeout_that_cannot_be_is_refused() -> None:
    for seconds in (0.0, -math.inf):
        with pytest.raises(ConfigError, match=r"strategy\.timeout_s"):
            AsyncSgd(timeout_s=seconds)
