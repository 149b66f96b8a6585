"""A tiny model with chance in it, a loader that knows its place, a run that dies when told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.utils.data import DataLoader

from seqloom.runs import RunFolder
from seqloom.tracking.checkpoints import Checkpoint
from seqloom.tracking.csv_logger import CsvLogger
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.randomness import Randomness

NUM_BATCHES = 7


class Killed(Exception):
    """Stands for SIGKILL: nothing is saved after it."""


class Loader:
    """Batches [2, 3] in an order that depends on the epoch; resumes by epoch and position."""

    def __init__(self) -> None:
        data = torch.randn(NUM_BATCHES, 2, 3, generator=torch.Generator().manual_seed(0))
        self.data, self.epoch, self.position = data, 0, 0

    @property
    def sampler(self) -> Loader:
        return self

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def __len__(self) -> int:
        return NUM_BATCHES

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(NUM_BATCHES, generator=generator)
        while self.position < NUM_BATCHES:
            self.position += 1
            yield self.data[order[self.position - 1]]

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


class Learner(LightningModule):
    """Dropout regression; `seen` lists the first number of every training batch."""

    def __init__(self, *, plateau: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.plateau = plateau
        self.seen: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(float(batch[0, 0]))
        loss = self.net(batch).pow(2).sum()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.net(batch).pow(2).mean() + torch.rand(()) / 10, batch_size=1)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        # Builds the loader too early, as real ones do.
        total = self.trainer.estimated_stepping_batches
        by_step = LambdaLR(optimizer, lambda step: 1 - step / (2 * total))
        schedulers: list[dict[str, Any]] = [{"scheduler": by_step, "interval": "step"}]
        if self.plateau:
            scheduler = ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
            schedulers.append({"scheduler": scheduler, "monitor": "val/loss"})
        return [optimizer], schedulers

    def count_batch(self, batch: Tensor) -> dict[str, int]:
        return {"examples": 2, "target_tokens": 4, "target_positions": 6}


class KillAt(Callback):
    """Raises `Killed` at the start of micro-batch `position` (over all epochs)."""

    def __init__(self, position: int | None) -> None:
        self.position = position

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.position:
            raise Killed


def make_trainer(folder: RunFolder, callbacks: list[Callback], **options: Any) -> Trainer:
    """A quiet CPU trainer that logs every step to metrics.csv."""
    limits = {"max_epochs": 3} if "max_steps" not in options else {}
    return Trainer(
        **{"accelerator": "cpu", "log_every_n_steps": 1, "num_sanity_val_steps": 0}
        | limits
        | options,
        logger=CsvLogger(run=LoggedRun(folder, {})),
        callbacks=[*callbacks, Randomness(seed=7)],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def train(
    path: Path,
    *,
    kill_at: int | None = None,
    callbacks: list[Callback] | None = None,
    checkpoint: dict[str, Any] | None = None,
    plateau: bool = False,
    learner: Learner | None = None,
    **options: Any,
) -> tuple[Learner, Checkpoint, Trainer]:
    """Trains in `path`, from its last.ckpt if there is one."""
    folder = RunFolder(path)
    keep = Checkpoint(
        directory=folder.checkpoints,
        **{"monitor": "val/loss", "mode": "min", "every_n_steps": 1} | (checkpoint or {}),
    )
    learner = learner or Learner(plateau=plateau)
    trainer = make_trainer(folder, [*(callbacks or []), KillAt(kill_at), keep], **options)
    last = folder.last if folder.last.exists() else None
    val = DataLoader([torch.ones(3), torch.zeros(3)])
    try:
        trainer.fit(learner, Loader(), val, ckpt_path=last, weights_only=True)
    except Killed:
        pass
    finally:
        trainer.logger.finish(0)
    return learner, keep, trainer
