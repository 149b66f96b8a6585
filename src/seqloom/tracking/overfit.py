"""`Overfit`: whether a model can learn a handful of examples by heart, and how soon.

The idea: a model that cannot bring its loss near zero on a few examples, with nothing that makes
learning harder, has a fault, and more data will not help it. The data of such a training is
`data.one_batch`; this watches val/loss, which is that of the very examples trained on. It is a
check: a run that does not come there has failed. The price: for a loss of densities, which may be
negative, near zero means little.
"""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from seqloom.errors import TrainingError

LOSS = "val/loss"


class Overfit(Callback):
    """Stops training once val/loss is below `below`.

    Attributes:
        success: a sentence, once val/loss was below; None before.
        failure: the opposite.
    """

    def __init__(self, *, below: float) -> None:
        self.below = below
        self.success: str | None = None
        self.failure: TrainingError | None = _failure("there was no validation")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = float(trainer.callback_metrics[LOSS])
        found = f"{LOSS} {loss:.4g} after {trainer.global_step} updates"
        if loss < self.below:
            self.success, self.failure = f"overfit: {found}", None
            trainer.should_stop = True
        else:
            self.success, self.failure = None, _failure(f"{found}, not below {self.below:g}")


def _failure(found: str) -> TrainingError:
    mend = "look at model and loss, or raise trainer.max_epochs or callbacks.overfit_below"
    return TrainingError("did NOT overfit", found, mend)
