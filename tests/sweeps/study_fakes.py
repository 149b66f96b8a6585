"""What tests of searches share: options, and training that is a function of the settings."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqloom.config.overrides import compose_config, parse
from seqloom.sweeps.jobs import Job
from seqloom.sweeps.options import SweepOptions
from seqloom.sweeps.outcome import Outcome
from seqloom.sweeps.space import read_space
from seqloom.sweeps.study import Study

SETTINGS = ("task=translation", "optimizer.lr=interval(0,1)", "model.dropout=interval(0,1)")
NUM_VALIDATIONS = 6


@functools.cache
def composed(*settings: str) -> DictConfig:
    return compose_config(settings, sweep=True)


@functools.cache
def defaults() -> dict[str, Any]:
    config = composed("task=translation", "sweep=optuna", "sweep.spaces=[]").sweep
    return {str(key): value for key, value in config.items()}


def options_of(folder: Path, settings: tuple[str, ...] = SETTINGS, /, *sweep: str) -> SweepOptions:
    plain = {**defaults(), **{o.key_or_group: o.value() for o in map(parse, sweep)}}
    return SweepOptions(
        folder,
        "python train.py",
        settings,
        "translation",
        "val/loss",
        "min",
        plain,
        read_space(settings, plain["spaces"]),
    )


def numbers_of(job: Job) -> dict[str, float]:
    parsed = [parse(text) for text in job.overrides]
    return {o.key_or_group: v for o in parsed if isinstance(v := o.value(), int | float)}


def curve_of(job: Job) -> list[dict[str, float]]:
    """Rows of a training whose loss falls to a quadratic of the settings."""
    values = numbers_of(job)
    last = (values["optimizer.lr"] - 0.3) ** 2 + (values["model.dropout"] - 0.6) ** 2
    return [
        {"step": 10 * n, "epoch": n, "seconds": n, "val/loss": last + 1 / (1 + n)}
        for n in range(NUM_VALIDATIONS)
    ]


def run_one(study: Study, job: Job) -> str:
    """What the runner does with a job; its state at the end."""
    rows = curve_of(job)
    for count, row in enumerate(rows):
        why = study.follow(job, [row])
        if why is not None:
            study.finish(job, Outcome("pruned", error=why, seconds=count + 1.0, steps=10))
            return "pruned"
    value = rows[-1]["val/loss"]
    study.finish(job, Outcome("finished", (value,), seconds=float(len(rows)), steps=60))
    return "finished"


def jobs_of(study: Study) -> Iterator[Job]:
    while (job := study.take()) is not None:
        yield job


def run_all(study: Study) -> list[tuple[int, tuple[str, ...], str]]:
    return [(job.number, job.overrides, run_one(study, job)) for job in jobs_of(study)]
