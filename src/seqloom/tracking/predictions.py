"""`PredictionWriter`: the test split's predictions as predictions.jsonl, each once and in order."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from seqloom.metrics.prediction import Prediction, gather_predictions
from seqloom.runs import write_atomic


class PredictionWriter(Callback):
    """Collects the `predictions` of each test step's outputs, from all ranks.

    Attributes:
        predictions: all of the last test, by index, on every rank.
    """

    def __init__(self, *, path: Path) -> None:
        self.path = path
        self.predictions: list[Prediction] = []
        self._own: list[Prediction] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._own = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._own += outputs["predictions"]

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.predictions = gather_predictions(self._own)
        if trainer.is_global_zero:
            write_predictions(self.path, self.predictions)


def write_predictions(path: Path, predictions: list[Prediction]) -> None:
    """One JSON object a line, replacing `path` atomically."""
    lines = (json.dumps(dataclasses.asdict(p), ensure_ascii=False) for p in predictions)
    write_atomic(path, "".join(line + "\n" for line in lines))
