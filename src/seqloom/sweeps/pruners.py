"""When a trial is stopped early: Optuna's pruners, over the validations of the trials.

The one idea: a trial's n-th validation is compared with the n-th ones of the others, so trials
compare whatever their updates take. Refuses several objectives, of which Optuna cannot prune.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

from seqloom.errors import ConfigError

WORDS = {
    "median": "it is worse than the median of the others",
    "halving": "it is not among the best of its rung",
    "hyperband": "it is not among the best of its bracket",
}


def make_pruner(options: Mapping[str, Any], num_objectives: int) -> BasePruner:
    """The pruner that the group `sweep` asks for. Raises ConfigError for what it cannot be."""
    name = str(options["pruner"])
    if name == "none":
        return NopPruner()
    if num_objectives > 1:
        raise ConfigError(
            f"sweep.pruner={name}",
            "trials with several objectives cannot be stopped early",
            "write sweep.pruner=none",
        )
    # Optuna counts the steps that are spared from 0; validations are counted from 1.
    startup, warmup = options["pruner_startup_trials"], options["warmup_validations"] + 1
    first, factor = options["min_validations"], options["reduction_factor"]
    try:
        if name == "median":
            return MedianPruner(startup, warmup)
        if name == "percentile":
            return PercentilePruner(options["percentile"], startup, warmup)
        if name == "halving":
            return SuccessiveHalvingPruner(first, factor)
        return HyperbandPruner(first, options["max_validations"] or "auto", factor)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"sweep.pruner={name}", reason, "see conf/sweep/optuna.yaml") from None


def why_pruned(options: Mapping[str, Any], metric: str, value: float, validation: int) -> str:
    """One line: "val/loss 3.1 at validation 2: it is worse than the median of the others"."""
    name = str(options["pruner"])
    share = f"it is not among the best {options['percentile']:g}%"
    return f"{metric} {value:.4g} at validation {validation}: {WORDS.get(name, share)}"
