"""`doctor` tries what it reports, and says why where something does not work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from seqloom.commands import doctor, links, trials

STRATEGIES = ["ddp", "async_sgd", "fsdp", "model_parallel", "pipeline"]


def test_trials_cut_short_name_what_did_not_answer() -> None:
    between, tried = trials.lines(timeout_s=0.01)
    assert between == ["failed: no answer after 0.01 s"]
    assert tried == [f"{name}: not tried" for name in STRATEGIES]


def test_a_process_that_dies_is_reported_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials.sys, "executable", "/bin/false")
    between, tried = trials.lines()
    assert between == ["failed: its process ended with code 1"]
    assert len(tried) == len(STRATEGIES)


def test_a_torch_without_distributed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_available", lambda: False)
    between, tried = trials.lines()
    assert between == []
    assert tried == [f"{name}: torch has no distributed here" for name in STRATEGIES]


def test_a_machine_with_the_cpu_alone_copies_nothing_and_places_nothing() -> None:
    cpu = torch.device("cpu")
    assert links.copies([cpu]) == []
    assert "no two devices" in doctor._placement([cpu])


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_the_doctor_tries_every_strategy() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seqloom", "doctor"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for name in STRATEGIES:
        assert re.search(rf"\b{name}: works on (cpu over gloo|cuda over nccl)\n", done.stdout)
    found = re.search(r"all-reduce of 16 MiB ([\d.]+) ms \(([\d.]+) GB/s\)", done.stdout)
    assert found is not None
    milliseconds, speed = map(float, found.groups())
    # The line must agree with itself: 16 MiB in so many milliseconds.
    assert speed == pytest.approx((16 << 20) / milliseconds / 1e6, rel=0.1)
    assert "gloo" in done.stdout
