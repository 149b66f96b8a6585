"""Schemas of a search: the option `optuna` of the group `sweep`, and the files of spaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from omegaconf import MISSING

from seqloom.config.schemas.choices import Direction


class Sampler(StrEnum):
    """How the settings of a trial are chosen."""

    tpe = "tpe"
    gp = "gp"
    cmaes = "cmaes"
    nsga2 = "nsga2"
    random = "random"
    grid = "grid"


class Pruner(StrEnum):
    """By what a trial is stopped early."""

    none = "none"
    median = "median"
    percentile = "percentile"
    halving = "halving"
    hyperband = "hyperband"


@dataclass
class Sweep:
    """What a list of jobs and a search have in common."""

    name: str = MISSING
    dry_run: bool = MISSING
    restart: bool = MISSING
    retry_failed: bool = MISSING
    objectives: dict[str, Direction] = field(default_factory=dict)


@dataclass
class Optuna(Sweep):
    num_trials: int = MISSING
    spaces: list[str] | None = MISSING
    seed: int = MISSING
    start_from_default: bool = MISSING
    sampler: Sampler = MISSING
    sampler_startup_trials: int = MISSING
    population_size: int = MISSING
    pruner: Pruner = MISSING
    pruner_startup_trials: int = MISSING
    warmup_validations: int = MISSING
    percentile: float = MISSING
    reduction_factor: int = MISSING
    min_validations: int = MISSING
    max_validations: int | None = MISSING
    storage: str | None = MISSING
    study_name: str | None = MISSING
    take_over: bool = MISSING


@dataclass
class Space:
    """A file of conf/sweep/spaces/.

    Attributes:
        when: options of groups that a trial must have chosen, for these settings to be searched.
        settings: for each key its values in Hydra's syntax of sweeps.
    """

    when: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
