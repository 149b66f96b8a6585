"""What the options of `debug` leave behind and say at the end of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning.pytorch import Callback, Trainer

from seqloom.commands.console import shown
from seqloom.errors import TrainingError
from seqloom.runs import RunFolder, write_atomic
from seqloom.tracking.overfit import Overfit
from seqloom.tracking.profile import Profile


def write_findings(folder: RunFolder, callbacks: Sequence[Callback]) -> None:
    """Writes profile.json, which the report page reads, where there was a profile."""
    for result in (each.result for each in callbacks if isinstance(each, Profile)):
        if result is not None:
            write_atomic(folder.profile, json.dumps(result.as_dict(), indent=1) + "\n")


def print_findings(folder: RunFolder, callbacks: Sequence[Callback]) -> None:
    """The tables of a profile, or why there are none, and that a few examples were learnt."""
    for each in callbacks:
        if isinstance(each, Profile):
            if each.result is not None:
                print("", *each.result.lines(), sep="\n")
            if each.result is not None and folder.trace.exists():
                print(f"trace     {shown(folder.trace)}  (chrome://tracing or ui.perfetto.dev)")
            if each.shortfall is not None:
                print(f"\n{each.shortfall}")
        elif isinstance(each, Overfit) and each.success is not None:
            print(f"\n{each.success}")


def failed_check(callbacks: Sequence[Callback]) -> TrainingError | None:
    """What is wrong with a run that was to prove something and did not."""
    checks = (each.failure for each in callbacks if isinstance(each, Overfit))
    return next((failure for failure in checks if failure is not None), None)


@contextmanager
def anomalies_in_words(trainer: Trainer) -> Iterator[None]:
    """What torch's anomaly mode says of a backward pass, as a TrainingError."""
    try:
        yield
    except RuntimeError as error:
        if "returned nan values" not in str(error):
            raise
        operation = str(error).split("'")[1]
        raise TrainingError(
            f"the gradient of {operation}, update {trainer.global_step + 1}",
            "it is NaN, while all outputs are finite",
            "the warning above shows the lines that called the operation",
        ) from error
