"""`Randomness`: every batch starts from its own seed, so that chance is a function of position.

Dropout of the micro-batch at position p is drawn from (seed, p, rank of its data): a resumed run
draws what an undisturbed one draws and no generator's state has to be saved. Validation and test
batches have seeds of their own, the same every time, and cannot disturb training. Price: about
0.1 ms a batch. Not covered: generators that a learner keeps itself.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from seqloom.data.ranks import data_rank

_TRAIN, _VALIDATION, _TEST = range(3)


class Randomness(Callback):
    """Seeds `random`, `numpy.random` and torch before each batch.

    Args:
        seed: the run's seed, >= 0.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        position = trainer.fit_loop.total_batch_idx
        seed_everything(self.seed, _TRAIN, position, data_rank(trainer).rank)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        seed_everything(self.seed, _VALIDATION, batch_idx, data_rank(trainer).rank)

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        seed_everything(self.seed, _TEST, batch_idx, data_rank(trainer).rank)


def seed_everything(*key: int) -> None:
    """Seeds every generator of the process from a tuple of numbers >= 0."""
    low, high = (int(word) for word in np.random.SeedSequence(key).generate_state(2))
    random.seed(low)
    np.random.seed(low)
    torch.manual_seed(high << 32 | low)
