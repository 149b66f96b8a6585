"""Schemas of what makes several runs of one command line; no part of a run's own config."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from seqloom.config.schemas.searching import Optuna, Sweep


@dataclass
class Launcher:
    num_parallel: int = MISSING
    cores_per_job: int | None = MISSING
    gpus_per_job: int | None = MISSING


@dataclass
class Grid(Sweep):
    pass


SCHEMAS: dict[str, dict[str, type]] = {
    "launcher": {"default": Launcher},
    "sweep": {"grid": Grid, "optuna": Optuna},
}
