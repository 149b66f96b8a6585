"""What a trial of a study says of itself: which job it is, who runs it, with which settings, what
it cost.

The idea: a trial that failed cannot be opened again in a study, so a job that is tried once more
gets another trial, which says which job it is. All others are numbered in their order.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from seqloom.runs.lock import identity
from seqloom.sweeps.record import JobRecord

# Attributes of a trial in the study.
RUNNER, SETTINGS, ERROR, SECONDS, STEPS = "runner", "settings", "error", "seconds", "steps"
AGAIN = "again"  # The number of the job that it tries once more.
# A trial of a database that says nobody's name is nobody's, when it is older than this.
NAMELESS = timedelta(minutes=1)
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.WAITING: "waiting",
}


def is_run(trial: FrozenTrial) -> bool:
    """Whether somebody works on it, as far as this host can tell."""
    runner = trial.user_attrs.get(RUNNER)
    if not runner:
        return False
    if runner["host"] != socket.gethostname():
        return True
    return bool(identity(int(runner["pid"])) == runner)


def may_take(trial: FrozenTrial, sweep: Mapping[str, Any]) -> bool:
    """Whether a trial that is under way may be gone on with here, as the group `sweep` says."""
    if sweep["take_over"]:
        return True
    if RUNNER not in trial.user_attrs and sweep["storage"] is not None:
        started = trial.datetime_start
        return started is not None and datetime.now() - started > NAMELESS
    return not is_run(trial)


def job_numbers(trials: Sequence[FrozenTrial]) -> list[int]:
    """The number of the job of each trial.

    Args:
        trials: all of a study, in the order of their numbers.
    """
    numbers, count = [], 0
    for trial in trials:
        again = trial.user_attrs.get(AGAIN)
        numbers.append(count if again is None else int(again))
        count += again is None
    return numbers


def latest(trials: Sequence[FrozenTrial], total: int) -> dict[int, FrozenTrial]:
    """The last trial of each of the first `total` jobs, by the job's number."""
    found = dict(zip(job_numbers(trials), trials, strict=True))
    return {number: found[number] for number in sorted(found) if number < total}


def job_record(number: int, trial: FrozenTrial) -> JobRecord:
    attributes = trial.user_attrs
    under_way = "running" if is_run(trial) else "interrupted"
    state = STATES.get(trial.state, under_way)
    return JobRecord(
        number=number,
        folder=str(number),
        settings=list(attributes.get(SETTINGS, [])),
        state=state,
        values=list(trial.values or []) if state == "finished" else [],
        error=attributes.get(ERROR),
        seconds=float(attributes.get(SECONDS, 0.0)),
        steps=int(attributes.get(STEPS, 0)),
    )


def cost(trial: FrozenTrial) -> tuple[float, int]:
    """Seconds, and validations."""
    return float(trial.user_attrs.get(SECONDS, 0.0)), len(trial.intermediate_values)
