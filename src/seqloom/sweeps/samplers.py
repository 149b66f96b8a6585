"""How the settings of a trial are chosen: Optuna's samplers, made anew for each trial.

The one idea: a choice is a function of the study, its seed and the number of the trial. A sampler
that lives as long as the process has a random state that a kill loses; here each trial gets a fresh
one, seeded by (seed, number), which learns from the study's trials alone. So a search that was
killed and goes on chooses what one in one go would have chosen, as long as one trial runs at a
time. The price: a Gaussian process is fitted without the parameters of the last fit.
Import this file only where a search begins: Optuna takes half a second.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from seqloom.errors import ConfigError
from seqloom.sweeps.cma_sampler import CmaSampler
from seqloom.sweeps.parameter import Parameter
from seqloom.sweeps.space import Space
from seqloom.sweeps.trials import job_numbers

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
    """Job `number` has the combination of that number."""

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
        number = job_numbers(study.get_trials(deepcopy=False))[trial.number]
        return self._combinations[number % len(self._combinations)][param_name]


def _numeric(space: Space, num_objectives: int) -> list[Parameter]:
    found = [p for p in space.parameters if p.is_ordered and not p.when and p.low < p.high]
    if num_objectives > 1 or len(found) < 2:
        why = "it takes one objective" if num_objectives > 1 else "it takes two numbers and more"
        raise ConfigError("sweep.sampler=cmaes", why, "write sweep.sampler=tpe")
    return found
