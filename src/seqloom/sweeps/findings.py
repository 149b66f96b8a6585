"""`Findings`: what the trials of a search tell together, for its record.

The idea: importance takes a tenth of a second and changes only when a trial is finished, so it is
kept until then; all else is counted anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

from seqloom.sweeps.importance import importance
from seqloom.sweeps.options import SweepOptions
from seqloom.sweeps.record import SearchRecord
from seqloom.sweeps.saved_time import saved_time
from seqloom.sweeps.trials import cost


class Findings:
    """Of the search `study`."""

    def __init__(self, study: optuna.Study, options: SweepOptions) -> None:
        self._study, self._options = study, options
        self._importance: tuple[int, dict[str, dict[str, float]]] = (0, {})

    def record(self, trials: Mapping[int, FrozenTrial], total: int) -> SearchRecord:
        """What is known by now.

        Args:
            trials: by the number of the job.
            total: how many there will be.
        """
        sweep, objectives = self._options.sweep, list(self._options.objectives)
        finished = _in_state(trials, TrialState.COMPLETE)
        pruned = _in_state(trials, TrialState.PRUNED).values()
        if self._importance[0] != len(finished):
            self._importance = len(finished), importance(self._study, objectives, sweep["seed"])
        saved, words = saved_time([cost(t) for t in finished.values()], [cost(t) for t in pruned])
        return SearchRecord(
            sampler=str(sweep["sampler"]),
            pruner=str(sweep["pruner"]),
            num_trials=total,
            num_pruned=len(pruned),
            num_failed=len(_in_state(trials, TrialState.FAIL)),
            saved_seconds=saved,
            saved_words=words,
            importance=self._importance[1],
            best=self._best(finished),
        )

    def _best(self, finished: Mapping[int, FrozenTrial]) -> list[int]:
        if not finished:
            return []
        if len(self._options.objectives) > 1:
            front = {trial.number for trial in self._study.best_trials}
            return [number for number, trial in finished.items() if trial.number in front]
        (mode,) = self._options.objectives.values()
        choose = min if mode == "min" else max
        return [choose(finished, key=lambda number: finished[number].values[0])]


def _in_state(trials: Mapping[int, FrozenTrial], state: TrialState) -> dict[int, FrozenTrial]:
    return {number: trial for number, trial in trials.items() if trial.state == state}
