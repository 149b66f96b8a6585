"""Where Lightning's loops can be saved so that a resumed run repeats an undisturbed one.

Lightning (2.6) resumes exactly from one moment: `on_train_batch_end` in the middle of an epoch,
after an update, with no validation to follow. Two more moments are brought into a form that it
resumes from exactly: the end of a validation in mid-epoch (told as the batch end before it, which
Lightning reads as "validated") and the time between two epochs (told as an epoch that is complete,
without a loader position). Everywhere else nothing is saved.

What Lightning does not restore is put back here: the loader's epoch and position when something (a
schedule that asks for the number of steps) has built the loader before the state was known, and the
last validation's metrics, which a plateau schedule and early stopping read. The names with an
underscore are Lightning's own; the tests watch them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from lightning.fabric.utilities.data import _set_sampler_epoch
from lightning.pytorch import Trainer


class Moment(StrEnum):
    """When a checkpoint was made."""

    batch_end = "batch_end"
    validation_end = "validation_end"
    epoch_end = "epoch_end"


def is_update(trainer: Trainer) -> bool:
    """The batch that ends now completed an update; no gradient waits for more batches."""
    return not trainer.fit_loop._should_accumulate()


def is_epoch_complete(trainer: Trainer) -> bool:
    """The newest batch is the last one of its epoch."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def is_validation_next(trainer: Trainer) -> bool:
    """Validation follows the batch that ends now."""
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    return trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def waits_for_plateau(trainer: Trainer) -> bool:
    """A plateau schedule will step after this validation, which no checkpoint could tell."""
    return any(
        config.reduce_on_plateau and config.interval == "step"
        for config in trainer.lr_scheduler_configs
    )


def log_update(trainer: Trainer) -> None:
    """Writes what the newest update logged, which Lightning does only after the batch's end, when a
    run that is stopped there has left."""
    trainer._logger_connector.update_train_step_metrics()


def describe(loops: dict[str, Any], moment: Moment) -> None:
    """Edits the loops' state of a checkpoint made at `moment` into a form that resumes exactly."""
    fit = loops["fit_loop"]
    if moment is Moment.validation_end:
        for counts in ("total", "current"):
            fit["epoch_loop.batch_progress"][counts]["completed"] -= 1
    elif moment is Moment.epoch_end:
        fit["state_dict"].pop("combined_loader", None)
        for counts in ("total", "current"):
            progress = fit["epoch_progress"][counts]
            progress |= dict.fromkeys(progress, progress["completed"])


def restore(
    trainer: Trainer, moment: Moment, loaders: list[dict[str, Any]], metrics: dict[str, float]
) -> None:
    """Puts back what Lightning did not; to be called in `on_train_start`.

    Args:
        moment: when the checkpoint was made.
        loaders: the loaders' states in it.
        metrics: the newest value of every metric at that time.
    """
    fit_loop = trainer.fit_loop
    if moment is Moment.epoch_end:
        for loop in (fit_loop, fit_loop.epoch_loop, fit_loop.epoch_loop.val_loop):
            loop._restarting = False
    fit_loop._restarting = False  # Or this epoch's plateau schedule would not step.
    combined = fit_loop._combined_loader
    assert combined is not None
    for loader in combined.flattened:
        _set_sampler_epoch(loader, trainer.current_epoch)
    if loaders:
        combined._load_state_dicts(loaders)
    fit_loop._combined_loader_states_to_load = []
    assert fit_loop._data_fetcher is not None
    iter(fit_loop._data_fetcher)
    values = {name: torch.tensor(value) for name, value in metrics.items()}
    trainer._logger_connector._callback_metrics.update(values)
