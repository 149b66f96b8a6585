"""`Learner`: what all learners share: one way to divide an update, and exact evaluation.

The idea: a learner says what a batch's loss is (a sum) and what it predicts; everything around that
is the same. Updates are divided once by the elements of all their batches and ranks
(`optimization`); scores are sums that reduce over ranks (`metrics.elements`), told as `val/NAME`
and `test/NAME`, the loss as `val/loss` and `test/nll`. Refuses a pair of model and data that do not
fit, in one line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from seqloom.data.batch import Batch, Values
from seqloom.data.spec import DataSpec
from seqloom.errors import ConfigError
from seqloom.layers.outputs import TokenLoss
from seqloom.learners.answers import Answer, ClipEvidence
from seqloom.learners.optimization import (
    OptimizerRecipe,
    OwnRate,
    RunsBatches,
    SpreadsGradients,
    UpdateSums,
    configure,
    scale_and_clip,
)
from seqloom.learners.schedules import Schedule
from seqloom.metrics.elements import MeanLoss
from seqloom.metrics.prediction import Prediction
from seqloom.sequences import Padded

Split = Literal["val", "test"]


class Learner(LightningModule, ABC):
    """A model, its loss, its scores.

    Args:
        spec: the two sides of the data.
        model: the topology.
        scores: those of validation and those of the test, equal objects.
        optimizer: recipe.
        scheduler: the learning rate's schedule.
        config: the run's whole resolved config as plain values; kept in checkpoints.

    Attributes:
        signatures: of the last evaluation, by metric name: how a score was computed.
        has_lines: its texts hold line feeds, which are tokens like others.
    """

    has_lines = False

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: nn.Module,
        scores: tuple[MeanLoss, MeanLoss],
        optimizer: OptimizerRecipe,
        scheduler: Schedule,
        config: dict[str, Any],
    ) -> None:
        super().__init__()
        self.save_hyperparameters({"config": config})
        self.spec, self.model = spec, model
        self.val_scores, self.test_scores = scores
        self.optimizer_recipe, self.schedule = optimizer, scheduler
        self.update_sums = UpdateSums()
        self.signatures: dict[str, str] = {}

    @property
    def metric_names(self) -> frozenset[str]:
        """What is logged under validation and test, and may be monitored."""
        names = self.val_scores.names
        validation = {f"val/{name}" for name in ("loss", *names)}
        return frozenset(validation | {f"test/{name}" for name in ("nll", *names)})

    @abstractmethod
    def training_loss(self, batch: Batch) -> TokenLoss:
        """Sums over a batch: what an update descends."""

    @abstractmethod
    def evaluate(self, batch: Batch, batch_idx: int, split: Split) -> list[Prediction]:
        """Adds a batch to the scores of `split`; returns what there is to show of it."""

    @abstractmethod
    def answer(self, texts: Sequence[str], num_best: int = 1) -> list[list[Answer]]:
        """Outputs of each line, the best first, at most `num_best`. Expects evaluation mode."""

    def suggest(self, texts: Sequence[str], num_best: int = 1) -> list[list[Answer]]:
        """Next words of each line with their probabilities. Expects evaluation mode."""
        raise ConfigError(
            "suggest=true", "this run's model has no next words", "name a language model's run"
        )

    def attention_maps(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """For each line: `input_pieces` [S], `output_pieces` [T], `weights` T x S; none at all
        where the model has no attention."""
        return []

    def load_pretrained(self) -> None:
        """Takes over weights that the config names, in a new run; nothing unless a learner says
        otherwise."""

    def own_rate(self) -> OwnRate | None:
        """A part of the model that learns at a rate of its own."""
        return None

    def evidence(self, texts: Sequence[str]) -> list[ClipEvidence]:
        """How the model saw the clips at the paths `texts`; none at all of a model that reads no
        clips. Expects evaluation mode."""
        return []

    def clipped_apart(self) -> list[nn.Parameter]:
        """Parameters whose gradient is clipped by itself, so that it leaves no trace in others'."""
        return []

    def divisor(self, batch: Batch, loss: TokenLoss) -> int:
        """What an update's gradient is divided by: elements, unless a learner says otherwise."""
        return loss.num_tokens

    def count_batch(self, batch: Batch) -> dict[str, int]:
        """What throughput and padding are computed from."""
        counts = {"examples": len(batch.index)}
        return counts | _count("source", batch.source) | _count("target", batch.target)

    # Training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        strategy = self.trainer.strategy
        if isinstance(strategy, RunsBatches):
            loss = strategy.run_batch(self.training_loss, batch)
        else:
            loss = self.training_loss(batch)
        self.update_sums.add(loss, self.divisor(batch, loss))
        # A sum: `configure_gradient_clipping` divides by the update's count. Lightning divides by
        # the number of accumulated batches, which is undone here.
        return loss.loss * self.trainer.accumulate_grad_batches

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        factor, loss = self.update_sums.take(self.trainer)
        apart = self.clipped_apart()
        known = {id(parameter) for parameter in apart}
        others = (parameter for parameter in self.parameters() if id(parameter) not in known)
        strategy = self.trainer.strategy
        clip = partial(scale_and_clip, factor=factor, max_norm=gradient_clip_val)
        if isinstance(strategy, SpreadsGradients):
            clip = partial(clip, total_norm=strategy.total_norm)
        norm = clip(others)
        if apart:
            clip(apart)
        self.log("train/loss", loss)
        self.log("train/gradient_norm", norm)
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        return configure(self, self.optimizer_recipe, self.schedule, self.own_rate())

    # Validation and test

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"predictions": self._evaluate(batch, batch_idx, "val")}

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"predictions": self._evaluate(batch, batch_idx, "test")}

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def scores(self, split: Split) -> MeanLoss:
        return self.val_scores if split == "val" else self.test_scores

    def _evaluate(self, batch: Batch, batch_idx: int, split: Split) -> list[Prediction]:
        return [] if batch.is_empty else self.evaluate(batch, batch_idx, split)

    def _log_scores(self, split: Split) -> None:
        """Logs the same values on every rank: all of them are computed from what all ranks saw."""
        scores = self.scores(split)
        values = scores.compute()
        values["loss" if split == "val" else "nll"] = values.pop("loss")
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})
        self.signatures = {f"{split}/{name}": text for name, text in scores.signatures.items()}
        scores.reset()


def _count(name: str, values: Values) -> dict[str, int]:
    """Steps of a side with and without padding; {} of single values."""
    if not isinstance(values, Padded):
        return {}
    return {
        f"{name}_tokens": values.num_elements,
        f"{name}_positions": values.batch_size * values.max_length,
    }
