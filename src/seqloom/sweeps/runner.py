"""`Runner`: the jobs of a source as processes, so many at a time, until none is left.

The one idea: one thread looks around several times a second: which process has ended, what the
others have logged since, which place is free. What it sees goes to the source, what the source
wants is done. A job that fails is noted and the rest goes on. Ctrl-C and SIGTERM go on to the jobs,
which save and end; then the sweep ends, and the same command goes on later. If the sweep's process
is killed its jobs save and end too (`commands/train.py`), and whoever goes on waits for them.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from seqloom.runs.lock import is_held
from seqloom.runs.signals import handled
from seqloom.sweeps.jobs import Job, JobError
from seqloom.sweeps.outcome import Outcome, read_outcome
from seqloom.sweeps.progress import ProgressReader
from seqloom.sweeps.record import SweepRecord
from seqloom.sweeps.resources import Slots
from seqloom.sweeps.source import JobSource

PERIOD_S = 0.2
SHOW_S = 1.0
PATIENCE_S = 120.0  # for a job that was told to stop
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Table(Protocol):
    """Where the states of the jobs are shown."""

    def show(self, record: SweepRecord, folder: Path) -> None: ...


@dataclass
class _Running:
    """A job under way; `process` is None while the job's process of an earlier session still
    saves."""

    job: Job
    slot: int
    reader: ProgressReader
    process: subprocess.Popen[bytes] | None = None
    pruned: str | None = None
    killed_at_s: float | None = None


class Runner:
    """Runs what `source` gives.

    Args:
        folder: of the sweep, where its record is kept.
        objectives: metrics by which jobs are judged.
    """

    def __init__(
        self,
        source: JobSource,
        *,
        folder: Path,
        objectives: Sequence[str],
        slots: Slots,
        table: Table,
    ) -> None:
        self._source, self._folder, self._objectives = source, folder, list(objectives)
        self._slots, self._table = slots, table
        self._running: list[_Running] = []
        self._signals: list[int] = []  # that came and are not handed on yet
        self._received: int | None = None
        self._shown_s = 0.0

    def run(self) -> SweepRecord:
        """Until the source has no more jobs; what it came to.

        Raises SystemExit (130, 143) when a signal ended it; the jobs have been saved.
        """
        self._note()
        with handled(lambda signum, frame: self._signals.append(signum), _SIGNALS):
            while True:
                self._hand_on_signals()
                if self._received is None:
                    self._fill()
                if not self._running:
                    break
                for running in list(self._running):
                    self._look_after(running)
                self._show()
                time.sleep(PERIOD_S)
        self._show(at_once=True)
        if self._received is not None:
            raise SystemExit(128 + self._received)
        return self._source.record()

    def _fill(self) -> None:
        while (slot := self._slots.take()) is not None:
            job = self._source.take()
            if job is None:
                self._slots.give_back(slot)
                return
            self._running.append(_Running(job, slot, ProgressReader(job.folder)))
            self._note()

    def _look_after(self, running: _Running) -> None:
        if running.process is None:
            if not is_held(running.job.folder):
                name = self._source.record().name
                variables = self._slots.environment(running.slot)
                running.process = running.job.start(name, variables)
            return
        code = running.process.poll()
        rows = running.reader.new_rows()
        if rows and running.pruned is None:
            running.pruned = self._source.follow(running.job, rows)
            if running.pruned is not None and code is None:
                self._stop(running, signal.SIGTERM)
        if code is not None:
            self._finish(running, code)
        elif running.killed_at_s is not None and time.monotonic() > running.killed_at_s:
            with suppress(ProcessLookupError):  # The whole group: a job may have several processes.
                os.killpg(running.process.pid, signal.SIGKILL)

    def _finish(self, running: _Running, code: int) -> None:
        outcome = read_outcome(running.job.folder, self._objectives)
        if running.pruned is not None and outcome.state == "interrupted":
            outcome = dataclasses.replace(outcome, state="pruned", error=running.pruned)
        elif outcome.state in ("waiting", "interrupted") and self._received is None:
            # It saved nothing of its end: its call was wrong, or somebody ended it.
            error = running.job.last_words() if code > 0 else f"it was ended by signal {-code}"
            outcome = Outcome("failed", error=error, seconds=outcome.seconds, steps=outcome.steps)
        elif outcome.state == "waiting":
            outcome = Outcome("interrupted")
        self._source.finish(running.job, outcome)
        self._forget(running)

    def _forget(self, running: _Running) -> None:
        self._running.remove(running)
        self._slots.give_back(running.slot)
        self._note()

    def _stop(self, running: _Running, signum: int) -> None:
        assert running.process is not None
        running.process.send_signal(signum)
        running.killed_at_s = running.killed_at_s or time.monotonic() + PATIENCE_S

    def _hand_on_signals(self) -> None:
        signals, self._signals = self._signals, []
        for signum in signals:
            self._received = self._received or signum
            for running in list(self._running):
                if running.process is not None:
                    self._stop(running, signum)
                else:
                    self._source.finish(running.job, Outcome("interrupted"))
                    self._forget(running)

    def _note(self) -> None:
        record = self._source.record()
        record.write(self._folder)
        self._show(at_once=True)

    def _show(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._shown_s >= SHOW_S:
            self._table.show(self._source.record(), self._folder)
            self._shown_s = time.monotonic()


def check_jobs(record: SweepRecord, folder: Path) -> None:
    """Raises JobError where jobs of the sweep in `folder` failed."""
    failed = [job for job in record.jobs if job.state == "failed"]
    if failed:
        shown = [f"{folder / job.folder}" for job in failed[:5]]
        more = [f"{len(failed) - 5} more"] if len(failed) > 5 else []
        raise JobError(
            f"{len(failed)} of {record.num_jobs} jobs",
            f"failed: {', '.join([*shown, *more])}",
            "see train.log, console.log and summary.json there; "
            "the same command with sweep.retry_failed=true runs them again",
        )
