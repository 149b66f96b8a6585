"""`Study`: a sweep whose jobs are chosen by what became of the earlier ones; a `JobSource`.

The one idea: the study lives with the sweep, in `study.journal` or a database, and a job knows
nothing of it: what it came to is read from its folder. The place of a trial is the number of its
job and the name of its folder, so `num_trials` is a total over all sessions, processes and hosts. A
trial says who runs it; one whose process is dead, or that was interrupted, is taken up before any
new one, with the same number, settings and folder. One of another host cannot be judged from here
and is left alone, unless `take_over` says otherwise. A failed trial stays failed, unless
`retry_failed` asks for another one in its place.

Import this file only for a search: Optuna is imported with it.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from seqloom.errors import ConfigError
from seqloom.runs.lock import flocked, identity
from seqloom.runs.metrics_file import read_metrics
from seqloom.sweeps.distributions import suggest
from seqloom.sweeps.findings import Findings
from seqloom.sweeps.jobs import Job
from seqloom.sweeps.options import SweepOptions
from seqloom.sweeps.outcome import Outcome, read_outcome
from seqloom.sweeps.pruners import make_pruner, why_pruned
from seqloom.sweeps.record import SweepRecord
from seqloom.sweeps.samplers import combinations, make_sampler
from seqloom.sweeps.space import Space
from seqloom.sweeps.storage import find_study, open_study
from seqloom.sweeps.trials import (
    AGAIN,
    ERROR,
    RUNNER,
    SECONDS,
    SETTINGS,
    STEPS,
    job_numbers,
    job_record,
    latest,
    may_take,
)

_ENDS = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass
class _Running:
    """A trial that this process runs; `seen` validations in this session, `known` to the study."""

    trial: Trial
    known: int
    seen: int = 0


class Study:
    """Opens the study of a sweep, or makes it.

    Raises ConfigError for anything that is wrong with the space or the options.
    """

    def __init__(self, options: SweepOptions) -> None:
        self._options, self._space = options, _space(options)
        self._objectives = options.objectives
        self._total = _total(options, self._space)
        sweep, count = options.sweep, len(self._objectives)
        sampler, pruner = make_sampler(sweep, self._space, count), make_pruner(sweep, count)
        options.folder.mkdir(parents=True, exist_ok=True)
        modes = list(self._objectives.values())
        with flocked(options.folder), _quiet():
            name = _study_name(options)
            self._study = open_study(options.folder, sweep["storage"], name, modes, sampler, pruner)
            is_new = not self._study.get_trials(deepcopy=False)
            starts = sweep["start_from_default"] and str(sweep["sampler"]) != "grid"
            if is_new and starts and self._space.default:
                self._study.enqueue_trial(dict(self._space.default))
            if sweep["retry_failed"]:
                self._retry_failed()
        self._running: dict[int, _Running] = {}
        self._findings = Findings(self._study, options)

    def take(self) -> Job | None:
        while True:
            with flocked(self._options.folder), _quiet():
                orphan = self._orphan()
                trial = orphan or self._new()
                if trial is None:
                    return None
                trial.set_user_attr(RUNNER, identity(os.getpid()))
                job = self._job_of(trial)
            outcome = read_outcome(job.folder, list(self._objectives))
            if orphan is None or outcome.state not in ("finished", "failed"):
                return job
            # It ended while nobody looked.
            self.follow(job, read_metrics(job.folder / "metrics.csv"))
            self.finish(job, outcome)

    def follow(self, job: Job, rows: Sequence[Mapping[str, float]]) -> str | None:
        if len(self._objectives) > 1:
            return None
        metric = next(iter(self._objectives))
        running = self._running[job.number]
        why = None
        for row in rows:
            value = row.get(metric)
            if value is None:
                continue
            running.seen += 1
            if running.seen <= running.known or not isfinite(value):
                continue  # It was reported before a kill; or the job itself ends of it.
            running.known = running.seen
            running.trial.report(value, running.seen)
            if why is None and running.trial.should_prune():
                why = why_pruned(self._options.sweep, metric, value, running.seen)
        return why

    def finish(self, job: Job, outcome: Outcome) -> None:
        if outcome.state == "finished" and not outcome.values:  # Nothing can be learnt from it.
            outcome = dataclasses.replace(outcome, state="failed")
        trial = self._running.pop(job.number).trial
        trial.set_user_attr(SECONDS, outcome.seconds)
        trial.set_user_attr(STEPS, outcome.steps)
        if outcome.error is not None:
            trial.set_user_attr(ERROR, outcome.error)
        with _quiet():
            if outcome.state == "finished":
                self._study.tell(trial.number, list(outcome.values), skip_if_finished=True)
            elif outcome.state in _ENDS:
                end = _ENDS[outcome.state]
                self._study.tell(trial.number, state=end, skip_if_finished=True)
            else:
                trial.set_user_attr(RUNNER, None)

    def record(self) -> SweepRecord:
        trials = self._trials()
        return SweepRecord(
            name=self._options.name,
            command=self._options.command,
            objectives=dict(self._objectives),
            num_jobs=self._total,
            jobs=[job_record(number, trial) for number, trial in trials.items()],
            search=self._findings.record(trials, self._total),
        )

    @staticmethod
    def describe(options: SweepOptions) -> str:
        """What would be searched, and how far the search is, as lines; nothing is made.

        Raises ConfigError as the constructor does.
        """
        space, objectives = _space(options), options.objectives
        sweep, total = options.sweep, _total(options, space)
        make_sampler(sweep, space, len(objectives))
        make_pruner(sweep, len(objectives))
        goal = ", ".join(f"{name} ({mode})" for name, mode in objectives.items())
        lines = [
            f"{options.folder}: {total} trials, {options.num_parallel} at a time, for {goal}",
            f"sampler {sweep['sampler']}, pruner {sweep['pruner']}, seed {sweep['seed']}",
            *space.table(),
            *space.words,
        ]
        study = find_study(options.folder, sweep["storage"], _study_name(options))
        if study is None:
            return "\n".join([*lines, "not begun"])
        trials = latest(study.get_trials(deepcopy=False), total)
        states = [job_record(number, trial).state for number, trial in trials.items()]
        counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        return "\n".join([*lines, f"so far: {', '.join(counts) or 'no trial'}"])

    def _orphan(self) -> Trial | None:
        """The first trial that is under way and belongs to nobody."""
        for number, trial in self._trials().items():
            is_open = trial.state == TrialState.RUNNING and number not in self._running
            if is_open and may_take(trial, self._options.sweep):
                return Trial(self._study, trial._trial_id)
        return None

    def _new(self) -> Trial | None:
        trials = self._study.get_trials(deepcopy=False)
        is_waiting = any(trial.state == TrialState.WAITING for trial in trials)
        if len(set(job_numbers(trials))) >= self._total and not is_waiting:
            return None
        trial = self._study.ask()
        if self._number_of(trial) >= self._total:  # Another host was faster.
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        return trial

    def _job_of(self, trial: Trial) -> Job:
        number = self._number_of(trial)
        try:
            settings = suggest(trial, self._space)
        except ValueError as error:
            name = _study_name(self._options)
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"sweep.study_name={name}", f"it has another space ({reason})", "choose another"
            ) from None
        trial.set_user_attr(SETTINGS, settings)
        values = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
        self._running[number] = _Running(trial, max(values, default=0))
        overrides = (*self._space.fixed, *settings)
        return Job(number, overrides, self._options.folder / str(number))

    def _retry_failed(self) -> None:
        for number, trial in self._trials().items():
            if trial.state == TrialState.FAIL:
                attributes = {AGAIN: number, SETTINGS: trial.user_attrs.get(SETTINGS, [])}
                self._study.enqueue_trial(trial.params, user_attrs=attributes)

    def _number_of(self, trial: Trial) -> int:
        return job_numbers(self._study.get_trials(deepcopy=False))[trial.number]

    def _trials(self) -> dict[int, FrozenTrial]:
        return latest(self._study.get_trials(deepcopy=False), self._total)


def _space(options: SweepOptions) -> Space:
    assert options.space is not None
    return options.space


def _total(options: SweepOptions, space: Space) -> int:
    """How many trials there are in all; of a grid no more than it has."""
    count = int(options.sweep["num_trials"])
    if count < 1:
        raise ConfigError(f"sweep.num_trials={count}", "there is no search", "write 1 or more")
    is_grid = str(options.sweep["sampler"]) == "grid"
    return min(count, len(combinations(space))) if is_grid else count


def _study_name(options: SweepOptions) -> str:
    return str(options.sweep["study_name"] or options.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna warns of what is still young in it, which is nothing that a user could change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
