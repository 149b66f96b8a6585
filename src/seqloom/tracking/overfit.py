"""`Overfit`: whether a model can learn a handful of examples by heart, and how soon.

The idea: a model that cannot bring its loss near zero on a few examples, with nothing that makes
learning harder, has a fault, and more data will not help it. The data of such a training is
`data.one_batch`; this watches val/loss, which is that of the very examples trained on. The price:
for a loss of densities, which may be negative, near zero means little.
"""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

LOSS = "val/loss"


class Overfit(Callback):
    """Stops training once val/loss is below `below`.

    Attributes:
        verdict: a sentence, after the first validation; until then it says that there was none.
    """

    def __init__(self, *, below: float) -> None:
        self.below = below
        self.verdict = "did NOT overfit: there was no validation"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = float(trainer.callback_metrics[LOSS])
        found = f"{LOSS} {loss:.4g} after {trainer.global_step} updates"
        if loss < self.below:
            self.verdict = f"overfit: {found}"
            trainer.should_stop = True
        else:
            self.verdict = f"did NOT overfit: {found}, not below {self.below:g}"
