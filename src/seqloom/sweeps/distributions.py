"""A space in the words of Optuna: distributions, and the values that a trial gets of them."""

from __future__ import annotations

from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from seqloom.sweeps.parameter import Parameter
from seqloom.sweeps.space import Space


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


def suggest(trial: Trial, space: Space) -> list[str]:
    """The trial's settings, chosen now unless they were before."""
    settings = []
    chosen: dict[str, object] = {}
    for parameter in space.parameters:
        if parameter.key in chosen or not parameter.applies(chosen):
            continue
        chosen[parameter.key] = _suggest_one(trial, parameter)
        settings.append(parameter.setting(chosen[parameter.key]))
    return settings


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
