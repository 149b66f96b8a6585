"""How the settings of a trial are chosen: Optuna's samplers, made anew for each trial.

The one idea: a choice is a function of the study, its seed and the number of the trial. A sampler
that lives as long as the process has a random state that a kill loses; here each trial gets a fresh
one, seeded by (seed, number), which learns from the study's trials alone. So a search that was
killed and goes on chooses what one in one go would have chosen, as long as one trial runs at a
time. The price: a Gaussian process is fitted without the parameters of the last fit.

CMA-ES (Hansen 2016) is ours, over the package `cmaes`: Optuna's keeps its state in the study as a
pickle, and a study may come from elsewhere. It is rebuilt from the finished trials in the order of
their numbers, a generation at a time. Import this file only where a search begins: Optuna takes
half a second.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cmaes  # type: ignore[import-untyped]
import numpy as np
from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from seqloom.errors import ConfigError
from seqloom.sweeps.parameter import Parameter
from seqloom.sweeps.space import Space

Made = Callable[[int], BaseSampler]


def make_sampler(options: Mapping[str, Any], space: Space, num_objectives: int) -> BaseSampler:
    """The sampler that the group `sweep` asks for.

    Raises ConfigError for one that cannot search this space.
    """
    name = str(options["sampler"])
    startup, population = options["sampler_startup_trials"], options["population_size"]
    made: Made
    if name == "grid":
        return GridSampler(combinations(space))
    if name == "cmaes":
        numeric = _numeric(space, num_objectives)
        made = lambda seed: CmaSampler(numeric, population, seed)  # noqa: E731
    elif name == "gp":
        made = lambda seed: GPSampler(  # noqa: E731
            seed=seed, n_startup_trials=startup, warn_independent_sampling=False
        )
    elif name == "nsga2":
        made = lambda seed: NSGAIISampler(seed=seed, population_size=population)  # noqa: E731
    elif name == "tpe":
        made = lambda seed: TPESampler(seed=seed, n_startup_trials=startup)  # noqa: E731
    else:
        made = lambda seed: RandomSampler(seed=seed)  # noqa: E731
    return TrialSampler(made, options["seed"])


def suggest(trial: Trial, space: Space) -> dict[Parameter, Any]:
    """The trial's values, chosen now unless they were before."""
    values: dict[Parameter, Any] = {}
    chosen: dict[str, object] = {}
    for parameter in space.parameters:
        if parameter.key in chosen or not parameter.applies(chosen):
            continue
        value = _suggest_one(trial, parameter)
        values[parameter] = chosen[parameter.key] = value
    return values


def distribution(parameter: Parameter) -> BaseDistribution:
    """What Optuna calls it."""
    if not parameter.is_ordered:
        return CategoricalDistribution(parameter.texts)
    if parameter.is_int:
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        return IntDistribution(low, high, log=parameter.log, step=step)
    return FloatDistribution(
        float(parameter.low), float(parameter.high), log=parameter.log, step=parameter.step
    )


def combinations(space: Space) -> list[dict[str, Any]]:
    """Every combination of values, the last key changing fastest.

    Raises ConfigError where there is no end of them, or not all go together.
    """
    if space.has_conditions:
        raise ConfigError(
            "sweep.sampler=grid",
            "some keys are there in some trials only",
            "search one cell, or write sweep.sampler=tpe",
        )
    axes = []
    for parameter in space.parameters:
        values = parameter.all_values()
        if values is None:
            text = f"{parameter.key}={parameter.text}"
            raise ConfigError(
                text, "a grid needs an end of values", "write range(START, STOP, STEP), or a,b"
            )
        axes.append([(parameter.name, value) for value in values])
    return [dict(chosen) for chosen in itertools.product(*axes)]


def seed_of(seed: int, number: int) -> int:
    """The seed of a trial's choices, 32 bits."""
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


class TrialSampler(BaseSampler):
    """For each trial the sampler that `made` makes of its seed."""

    def __init__(self, made: Made, seed: int) -> None:
        self._made, self._seed = made, seed
        self._number, self._sampler = -1, made(seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._of(trial).before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._of(trial).after_trial(study, trial, state, values)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            self._number = trial.number
            self._sampler = self._made(seed_of(self._seed, trial.number))
        return self._sampler


class GridSampler(BaseSampler):
    """Trial `number` has the combination of that number."""

    def __init__(self, combinations: Sequence[Mapping[str, Any]]) -> None:
        self._combinations = combinations

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._combinations[trial.number % len(self._combinations)][param_name]


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


def _suggest_one(trial: Trial, parameter: Parameter) -> Any:
    found = distribution(parameter)
    if isinstance(found, CategoricalDistribution):
        return trial.suggest_categorical(parameter.name, found.choices)
    if isinstance(found, IntDistribution):
        return trial.suggest_int(
            parameter.name, found.low, found.high, step=found.step, log=found.log
        )
    assert isinstance(found, FloatDistribution)
    return trial.suggest_float(
        parameter.name, found.low, found.high, step=found.step, log=found.log
    )


def _numeric(space: Space, num_objectives: int) -> list[Parameter]:
    found = [p for p in space.parameters if p.is_ordered and not p.when and p.low < p.high]
    if num_objectives > 1 or len(found) < 2:
        why = "it takes one objective" if num_objectives > 1 else "it takes two numbers and more"
        raise ConfigError("sweep.sampler=cmaes", why, "write sweep.sampler=tpe")
    return found
