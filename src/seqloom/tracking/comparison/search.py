"""What a sweep's record tells of a search: its trials, what pruning saved, what mattered.

The idea: the search keeps its own books (sweep.json); this only brings them into the form of the
page, beside the runs they belong to. Of several searches the first is shown. None where there was
no search.
"""

from __future__ import annotations

from typing import Any

from seqloom.sweeps.record import JobRecord
from seqloom.tracking.comparison.runs import ReadRuns


def search_payload(read: ReadRuns) -> dict[str, Any] | None:
    """The search among `read.sweeps`, or None."""
    sweep = next((sweep for sweep in read.sweeps if sweep.search is not None), None)
    if sweep is None or sweep.search is None:
        return None
    search = sweep.search
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
        "default": None,
        "trials": trials,
    }


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
