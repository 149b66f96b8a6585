"""`StepLimit`: ends the training after so many updates, as if its time were over.

Unlike `trainer.max_steps` it is no budget: the schedule of the learning rate does not know it, and
a last validation follows, as when `max_time` ends a run. So a run that was ended by a clock or by a
signal can be trained again up to the same update.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer, callbacks

from seqloom.errors import ConfigError


class StepLimit(callbacks.Callback):
    """Stops after `num_steps` updates, counted from the beginning of the run.

    Raises ConfigError for a number below 1.
    """

    def __init__(self, num_steps: int) -> None:
        if num_steps < 1:
            raise ConfigError(
                f"callbacks.stop_after_steps={num_steps}",
                "training could not begin",
                "set 1 or more",
            )
        self.num_steps = num_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step >= self.num_steps:  # A resumed run stays stopped.
            trainer.should_stop = True

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.global_step >= self.num_steps:
            trainer.should_stop = True
