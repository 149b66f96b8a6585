"""What a sweep's record tells of a search: its trials, what pruning saved, what mattered.

The idea: the search keeps its own books (sweep.json); this only brings them into the form of the
page, beside the runs they belong to. Of several searches the first is shown. None where there was
no search.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqloom.errors import ConfigError
from seqloom.sweeps.definition import Definition
from seqloom.sweeps.record import JobRecord, SearchRecord, SweepRecord
from seqloom.tracking.comparison.runs import ReadRuns


def search_payload(read: ReadRuns) -> dict[str, Any] | None:
    """The search among `read.sweeps`, or None."""
    for folder, sweep in read.sweeps.items():
        if sweep.search is not None:
            return _search(read, folder, sweep, sweep.search)
    return None


def _search(
    read: ReadRuns, folder: Path, sweep: SweepRecord, search: SearchRecord
) -> dict[str, Any]:
    places = {id(run.job): k for k, run in enumerate(read.runs)}
    trials = [_trial(job, places.get(id(job))) for job in sweep.jobs]
    by_number = {trial["number"]: trial for trial in trials}
    num_done = sum(trial["state"] in ("finished", "pruned", "failed") for trial in trials)
    return {
        "sampler": search.sampler,
        "pruner": search.pruner,
        "objectives": sweep.objectives,
        "num_trials": search.num_trials,
        "num_pruned": search.num_pruned,
        "num_failed": search.num_failed,
        "pruned_share": search.num_pruned / num_done if num_done else 0.0,
        "saved_seconds": search.saved_seconds,
        "saved_words": search.saved_words,
        "importance": search.importance,
        "best": next((by_number[n] for n in search.best if n in by_number), None),
        "front": search.best,
        "default": by_number.get(0) if _starts_from_default(folder) else None,
        "trials": trials,
    }


def _starts_from_default(folder: Path) -> bool:
    """Whether the first trial had the values of the config itself, as sweep.yaml says."""
    try:
        definition = Definition.read(folder)
    except ConfigError:
        return False
    sweep = definition.sweep if definition is not None else {}
    return bool(sweep.get("start_from_default")) and sweep.get("sampler") != "grid"


def _trial(job: JobRecord, run: int | None) -> dict[str, Any]:
    return {
        "number": job.number,
        "state": job.state,
        "values": job.values,
        "params": dict(word.partition("=")[::2] for word in job.settings),
        "run": run,
        "steps": job.steps,
        "seconds": job.seconds,
    }
