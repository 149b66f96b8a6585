"""What a trial of a study says of itself: who runs it, with which settings, what it cost."""

from __future__ import annotations

import socket

from optuna.trial import FrozenTrial, TrialState

from seqloom.runs.lock import identity
from seqloom.sweeps.record import JobRecord

# Attributes of a trial in the study.
RUNNER, SETTINGS, ERROR, SECONDS, STEPS = "runner", "settings", "error", "seconds", "steps"
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


def job_record(trial: FrozenTrial) -> JobRecord:
    attributes = trial.user_attrs
    under_way = "running" if is_run(trial) else "interrupted"
    state = STATES.get(trial.state, under_way)
    return JobRecord(
        number=trial.number,
        folder=str(trial.number),
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
