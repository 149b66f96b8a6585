"""A sweep's jobs: each is the command `seqloom train` with its settings, in a process of its own.

The one idea: a sweep never trains in its own process. A job is a plain single run, so its further
processes start by the job's command line and have the job's values, its memory ends with it, and a
job that fails takes nothing else with it. What a job came to is in its folder's summary.json. The
price: each job imports torch anew, some seconds. Signals go to the job, which saves and ends; then
the sweep ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from seqloom.errors import SeqloomError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# What says to a process that it belongs to a run which is under way.
_OF_A_RUN = ("SEQLOOM_RUN_DIR", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR")


class JobError(SeqloomError):
    """Some jobs of a sweep failed."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        overrides: its settings, as on a command line.
        folder: where it goes, unless the settings name a `run_dir`.
    """

    overrides: tuple[str, ...]
    folder: Path

    @property
    def command(self) -> list[str]:
        """What a person would type for it."""
        has_folder = any(text.startswith("run_dir=") for text in self.overrides)
        place = [] if has_folder else [f"run_dir={_quoted(self.folder)}"]
        return [sys.executable, "-m", "seqloom", "train", *self.overrides, *place]


def run_jobs(jobs: Sequence[Job], tell: Callable[[str], object]) -> list[int]:
    """Runs `jobs` one after the other, whatever becomes of each; returns their exit codes.

    Args:
        tell: gets a line for the user before each job.

    Raises SystemExit (130, 143) when a signal stopped a job.
    """
    codes = []
    with _forwarded() as forward:
        for number, job in enumerate(jobs):
            tell(f"job {number + 1} of {len(jobs)}: {' '.join(job.overrides)}")
            codes.append(forward.run(job))
            if forward.received is not None:
                raise SystemExit(128 + forward.received)
    return codes


def check_jobs(jobs: Sequence[Job], codes: Sequence[int]) -> None:
    """Raises JobError where a job failed."""
    failed = [str(job.folder) for job, code in zip(jobs, codes, strict=True) if code]
    if failed:
        raise JobError(
            f"{len(failed)} of {len(jobs)} jobs",
            f"failed: {', '.join(failed)}",
            "see train.log and summary.json there",
        )


class _Forward:
    """Hands signals on to the job that runs."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, job: Job) -> int:
        environment = {name: value for name, value in os.environ.items() if name not in _OF_A_RUN}
        # A group of its own: from a terminal the job would get Ctrl-C twice, which ends it at once.
        self._process = subprocess.Popen(job.command, env=environment, process_group=0)
        if self.received is not None:  # It came before there was a job to hand it to.
            self._process.send_signal(self.received)
        return self._process.wait()

    def handle(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        if self._process is not None:
            self._process.send_signal(signum)


@contextmanager
def _forwarded() -> Iterator[_Forward]:
    """Signals go on to the job; outside the main thread they are not ours to handle."""
    forward = _Forward()
    if threading.current_thread() is not threading.main_thread():
        yield forward
        return
    before = {number: signal.signal(number, forward.handle) for number in _SIGNALS}
    try:
        yield forward
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _quoted(folder: Path) -> str:
    """A path as Hydra's grammar reads it, whatever is in its name."""
    text = str(folder)
    if all(letter.isalnum() or letter in "/._-:" for letter in text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
