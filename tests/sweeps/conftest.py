"""Sweeps whose jobs are stand-ins."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from study_fakes import composed
from sweep_fakes import Started

from seqloom import entry
from seqloom.sweeps.jobs import Job

STAND_IN = Path(__file__).with_name("stand_in.py")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    """Starts a sweep with the words of its command line, in a folder of its own; the exit code."""
    command = Job.command.fget
    assert command is not None

    def replaced(job: Job) -> list[str]:
        return [sys.executable, str(STAND_IN), *command(job)[4:]]

    monkeypatch.setattr(Job, "command", property(replaced))
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda *words: entry.train(["-m", "task=translation", *words])


@pytest.fixture
def quick_composition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each config is composed once for all tests."""
    quick: Callable[..., DictConfig] = lambda settings, sweep=False: composed(*settings)  # noqa: E731
    monkeypatch.setattr("seqloom.sweeps.space.compose_config", quick)
