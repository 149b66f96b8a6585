"""`CmaSampler`: the covariance matrix adaptation evolution strategy (Hansen 2016) for a search.

The one idea: its state is rebuilt from the finished trials in the order of their numbers, a
generation at a time, over the package `cmaes`. Optuna's own keeps its state in the study as a
pickle, and a study may come from elsewhere. The price: a few milliseconds a trial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cmaes  # type: ignore[import-untyped]
import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from seqloom.sweeps.distributions import distribution
from seqloom.sweeps.parameter import Parameter


class CmaSampler(BaseSampler):
    """Numbers by CMA-ES in the unit cube, words at random; one objective.

    Args:
        numeric: keys that every trial has, at least two.
        population_size: finished trials of a generation.
    """

    def __init__(self, numeric: Sequence[Parameter], population_size: int, seed: int) -> None:
        self._numeric, self._size, self._seed = numeric, population_size, seed
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {parameter.name: distribution(parameter) for parameter in self._numeric}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        names = set(search_space)
        finished = [
            (self._point(other.params), sign * float(other.value or 0.0))
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if names <= set(other.params)
        ]
        optimizer = cmaes.CMA(
            mean=np.full(len(self._numeric), 0.5),
            sigma=1 / 6,
            bounds=np.tile([0.0, 1.0], (len(self._numeric), 1)),
            population_size=self._size,
            seed=self._seed,
        )
        for start in range(0, len(finished) - self._size + 1, self._size):
            optimizer.tell(finished[start : start + self._size])
        point = optimizer.ask()
        return {p.name: from_unit(p, x) for p, x in zip(self._numeric, point, strict=True)}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _point(self, params: Mapping[str, Any]) -> np.ndarray:
        return np.array([to_unit(parameter, params[parameter.name]) for parameter in self._numeric])


def to_unit(parameter: Parameter, value: float) -> float:
    """Where a number lies between its ends: 0 to 1, on its scale."""
    low, high = _scaled_ends(parameter)
    scaled = math.log(value) if parameter.log else value
    return (scaled - low) / (high - low) if high > low else 0.5


def from_unit(parameter: Parameter, place: float) -> float:
    """The number at that place, one that the parameter has."""
    low, high = _scaled_ends(parameter)
    value = low + (high - low) * float(place)
    value = math.exp(value) if parameter.log else value
    step = parameter.step or (1 if parameter.is_int else None)
    if step is not None:
        value = parameter.low + round((value - parameter.low) / step) * step
    value = min(max(value, parameter.low), parameter.high)
    return round(value) if parameter.is_int else float(value)


def _scaled_ends(parameter: Parameter) -> tuple[float, float]:
    ends = parameter.low, parameter.high
    return (math.log(ends[0]), math.log(ends[1])) if parameter.log else ends
