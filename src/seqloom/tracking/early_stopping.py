"""`EarlyStopping`: Lightning's, made exact over a resume.

Lightning's takes its patience from the checkpoint, so a resumed run could not be given more, and a
run that was killed after it had stopped would train another epoch. This one keeps the configured
patience and stays stopped.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer, callbacks

from seqloom.errors import ConfigError


class EarlyStopping(callbacks.EarlyStopping):
    """Stops training when `monitor` has not improved for `patience` validations.

    Args:
        monitor, mode: the metric and whether lower ("min") or higher ("max") is better.
        patience: validations without an improvement, >= 1.
        min_delta: a smaller change is no improvement.
    """

    def __init__(self, *, monitor: str, mode: str, patience: int, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ConfigError(
                f"early_stopping_patience={patience}", "training could not begin", "use 1 or more"
            )
        super().__init__(monitor, min_delta=min_delta, patience=patience, mode=mode)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True
