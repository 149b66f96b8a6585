"""`SweepRecord`: what a sweep has come to, as `sweep.json` in its folder; for people and programs
that look at a sweep from outside (the live table, `seqloom watch`, `seqloom report`).

It is written anew, atomically, whenever the state of a job changes. The truth about one job is its
run folder, that about a search is its study; this is the picture of both. Refuses a file that is
not such a record.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from seqloom.errors import DataError
from seqloom.runs.files import json_value, write_atomic

RECORD = "sweep.json"


@dataclass(frozen=True)
class JobRecord:
    """One job.

    Attributes:
        number: of the job, from 0; its folder has that name.
        folder: its run folder, relative to the sweep's.
        settings: what sets it apart from the others ("cell=gru"), as on a command line.
        state: see `outcome.STATES`.
        values: of each objective, where it is finished.
        error: one line: why it failed, or why it was pruned.
        seconds, steps: of work that was done.
    """

    number: int
    folder: str
    settings: list[str]
    state: str = "waiting"
    values: list[float] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0
    steps: int = 0


@dataclass(frozen=True)
class SearchRecord:
    """What a search adds.

    Attributes:
        sampler, pruner: their names as in the config.
        num_trials: how many there will be in all.
        num_pruned, num_failed: how many of them were so far.
        saved_seconds: an estimate of the time that pruned trials would have taken longer.
        saved_words: how that was estimated.
        importance: for each objective, the share of each setting in what decides it; {} where too
            few trials are finished.
        best: numbers of the best trials (one, or the Pareto front of several objectives).
    """

    sampler: str
    pruner: str
    num_trials: int
    num_pruned: int = 0
    num_failed: int = 0
    saved_seconds: float = 0.0
    saved_words: str = ""
    importance: dict[str, dict[str, float]] = field(default_factory=dict)
    best: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class SweepRecord:
    """A whole sweep.

    Attributes:
        name: "TASK/DATE_TIME": the last two parts of its folder.
        command: what a person typed.
        objectives: metrics by which jobs are judged, and for each "min" or "max".
        num_jobs: how many there will be in all.
        jobs: those that are known, by number.
        search: None for a sweep over a known list.
    """

    name: str
    command: str
    objectives: dict[str, str]
    num_jobs: int
    jobs: list[JobRecord]
    search: SearchRecord | None = None

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state that occurs."""
        found: dict[str, int] = {}
        for job in self.jobs:
            found[job.state] = found.get(job.state, 0) + 1
        return found

    def write(self, folder: Path) -> None:
        """Replaces `folder`/sweep.json."""
        text = json.dumps(json_value(dataclasses.asdict(self)), indent=2, allow_nan=False)
        write_atomic(folder / RECORD, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> SweepRecord:
        """Raises DataError where `folder` holds no such file, or not a whole one."""
        path = folder / RECORD
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            search = plain.pop("search")
            jobs = [JobRecord(**job) for job in plain.pop("jobs")]
            return cls(jobs=jobs, search=SearchRecord(**search) if search else None, **plain)
        except FileNotFoundError:
            raise DataError(str(path), "there is no such file", "name a sweep's folder") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            why = f"it is not the record of a sweep ({error})"
            raise DataError(str(path), why, "start the sweep again, which writes it") from None
