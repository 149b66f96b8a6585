"""How all jobs of a sweep stand, between two looks: its record, made whole by the runs' own files.

The idea: the record knows what has begun and ended, a run folder knows how far it has come. While
the sweep's process lives its word counts; when it is dead, what the folders say. So the live table
of the sweep, `seqloom watch` and its page show the same.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqloom.sweeps.progress import Progress, ProgressReader
from seqloom.sweeps.record import JobRecord, SweepRecord

ENDED = ("finished", "failed", "pruned", "interrupted")


@dataclass(frozen=True)
class Standing:
    """A job, and how it stands now: `progress.state` is the state to show, here also "pruned"."""

    job: JobRecord
    progress: Progress

    @property
    def label(self) -> str:
        """What sets it apart, on one line."""
        return " ".join(self.job.settings)

    @property
    def value(self) -> float | None:
        """Of the first objective: what the record says, else the best that was logged."""
        return self.job.values[0] if self.job.values else self.progress.best


class Standings:
    """Follows the jobs of one sweep; keeps a reader for each that has begun."""

    def __init__(self) -> None:
        self.readers: dict[str, ProgressReader] = {}  # By the folder of the job.
        self._ended: dict[str, tuple[JobRecord, Progress]] = {}

    def read(self, record: SweepRecord, folder: Path, *, is_live: bool) -> list[Standing]:
        """All jobs of `record`, in its order.

        Args:
            folder: of the sweep.
            is_live: whether whoever writes the record is at work, so that its states are true.
        """
        return [Standing(job, self._progress(job, record, folder, is_live)) for job in record.jobs]

    def _progress(
        self, job: JobRecord, record: SweepRecord, folder: Path, is_live: bool
    ) -> Progress:
        if job.state == "waiting" and is_live:
            return Progress()
        if job.state in ENDED:
            return self._end(job, record, folder)
        seen = self._reader(job, record, folder).read()
        if is_live and seen.state != "running":
            # It starts, or goes on, or its end is not noted yet.
            return dataclasses.replace(seen, state="running", note="", left_s=None)
        return seen

    def _end(self, job: JobRecord, record: SweepRecord, folder: Path) -> Progress:
        known = self._ended.get(job.folder)
        if known is not None and known[0] == job:
            return known[1]
        seen = self._reader(job, record, folder).read()
        found = dataclasses.replace(
            seen,
            state=job.state,
            note=" ".join((job.error or "").split()),
            best=job.values[0] if job.values else seen.best,
            seconds=job.seconds or seen.seconds,
            step=job.steps or seen.step,
            left_s=None,
            quiet_s=0.0,
        )
        self._ended[job.folder] = (job, found)
        return found

    def _reader(self, job: JobRecord, record: SweepRecord, folder: Path) -> ProgressReader:
        if job.folder not in self.readers:
            name, mode = next(iter(record.objectives.items()), ("", "min"))
            self.readers[job.folder] = ProgressReader(folder / job.folder, name, mode)
        return self.readers[job.folder]


def counts(standings: Sequence[Standing]) -> dict[str, int]:
    """How many jobs are in each state that occurs."""
    found: dict[str, int] = {}
    for standing in standings:
        found[standing.progress.state] = found.get(standing.progress.state, 0) + 1
    return found


def left_s(
    standings: Sequence[Standing], num_jobs: int, num_slots: int | None = None
) -> float | None:
    """Seconds until a sweep of `num_jobs` is over, from what its jobs took so far.

    Args:
        num_slots: jobs at a time; by default as many as run now.

    None where nothing is known of how long a job takes, or nothing runs.
    """
    running = [s.progress for s in standings if s.progress.state == "running"]
    done_s = [s.progress.seconds for s in standings if s.progress.state in ("finished", "pruned")]
    foreseen_s = [p.seconds + p.left_s for p in running if p.left_s is not None]
    if not running or not (done_s or foreseen_s):
        return None
    usual_s = statistics.fmean(done_s or foreseen_s)
    rest_s = [max(0.0, usual_s - p.seconds) if p.left_s is None else p.left_s for p in running]
    num_ended = sum(s.progress.state in ENDED for s in standings)
    num_waiting = max(0, num_jobs - num_ended - len(running))
    num_at_a_time = min(num_slots or len(running), len(running) + num_waiting)
    return max(max(rest_s), (sum(rest_s) + num_waiting * usual_s) / num_at_a_time)


def best(record: SweepRecord, standings: Sequence[Standing]) -> Standing | None:
    """The finished job that is best by the first objective; None before the first, or where there
    is no objective."""
    ended = [s for s in standings if s.progress.state == "finished"]
    found = [(s.value, s) for s in ended if s.value is not None]
    if not found or not record.objectives:
        return None
    choose = min if next(iter(record.objectives.values())) == "min" else max
    return choose(found, key=lambda pair: pair[0])[1]
