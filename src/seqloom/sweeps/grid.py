"""`Grid`: a sweep over a list of jobs that is known beforehand; a `JobSource`.

The states of the jobs are those of their folders, so the same command goes on where it stopped:
what is finished is left, what was interrupted goes on, what failed stays so unless asked for
otherwise. One exception: a job that failed before it had a folder is remembered by `sweep.json`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Transformer

from seqloom.config.overrides import MAX_VALUES, parse, swept
from seqloom.errors import ConfigError, DataError
from seqloom.sweeps.jobs import Job
from seqloom.sweeps.outcome import Outcome, read_outcome
from seqloom.sweeps.record import JobRecord, SweepRecord

OPEN_STATES = ("waiting", "interrupted")
# Of each job all settings, and those that set it apart.
Plan = list[tuple[tuple[str, ...], tuple[str, ...]]]


class Grid:
    """Runs each of `jobs` once.

    Args:
        name, command: of the sweep, for its record.
        folder: of the sweep.
        objectives: metrics by which jobs are judged, with "min" or "max".
        apart: for each job the settings that set it apart.
        retry_failed: failed jobs are run again.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        name: str,
        command: str,
        folder: Path,
        objectives: Mapping[str, str],
        apart: Sequence[Sequence[str]],
        retry_failed: bool = False,
    ) -> None:
        self._jobs = list(jobs)
        self._name, self._command, self._objectives = name, command, dict(objectives)
        before = _failed_before(folder)
        self._records: list[JobRecord] = []
        for job, settings in zip(jobs, apart, strict=True):
            outcome = read_outcome(job.folder, list(objectives))
            if outcome.state == "waiting" and job.number in before:
                outcome = Outcome("failed", error=before[job.number])
            if outcome.state == "failed" and retry_failed:
                outcome = dataclasses.replace(outcome, state="interrupted", error=None)
            blank = JobRecord(job.number, _relative(job.folder, folder), list(settings))
            self._records.append(_with_outcome(blank, outcome))
        self._queue = [job for job, r in self._paired() if r.state in OPEN_STATES]

    def take(self) -> Job | None:
        if not self._queue:
            return None
        job = self._queue.pop(0)
        self._change(job, state="running")
        return job

    def follow(self, job: Job, rows: Sequence[Mapping[str, float]]) -> str | None:
        return None  # Every job of a list is wanted.

    def finish(self, job: Job, outcome: Outcome) -> None:
        place = self._jobs.index(job)
        self._records[place] = _with_outcome(self._records[place], outcome)

    def record(self) -> SweepRecord:
        jobs = list(self._records)
        return SweepRecord(self._name, self._command, self._objectives, len(jobs), jobs)

    def _paired(self) -> list[tuple[Job, JobRecord]]:
        return list(zip(self._jobs, self._records, strict=True))

    def _change(self, job: Job, *, state: str) -> None:
        place = self._jobs.index(job)
        self._records[place] = dataclasses.replace(self._records[place], state=state, error=None)


def combinations(settings: Sequence[str]) -> Plan:
    """Every combination of the values of a sweep's settings, in the order of Hydra: the last key
    changes fastest. Each is a job's overrides, and those of them that are swept.

    Raises ConfigError for an interval, which has no end of values, and for too many jobs.
    """
    axes: dict[str, list[tuple[str, bool]]] = {}
    for setting in settings:
        override = parse(setting)
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [(setting, False)]
        elif override.is_discrete_sweep():
            axes[key] = [(f"{key}={text}", True) for text in swept(override, Transformer.str)]
        else:
            raise ConfigError(
                setting, "an interval has no end of values", "list them, or write sweep=optuna"
            )
    count = math.prod(map(len, axes.values()))
    if count > MAX_VALUES:
        mend = "make several sweeps of it, or write sweep=optuna sweep.sampler=random"
        raise ConfigError(f"{count} jobs", f"are more than {MAX_VALUES}", mend)
    return [
        (tuple(text for text, _ in chosen), tuple(text for text, swept in chosen if swept))
        for chosen in itertools.product(*axes.values())
    ]


def _with_outcome(record: JobRecord, outcome: Outcome) -> JobRecord:
    return dataclasses.replace(
        record,
        state=outcome.state,
        values=list(outcome.values),
        error=outcome.error,
        seconds=outcome.seconds,
        steps=outcome.steps,
    )


def _failed_before(folder: Path) -> dict[int, str | None]:
    """Jobs that an earlier session saw failing."""
    try:
        jobs = SweepRecord.read(folder).jobs
    except DataError:
        return {}
    return {job.number: job.error for job in jobs if job.state == "failed"}


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
