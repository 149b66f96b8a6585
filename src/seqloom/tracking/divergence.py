"""`Divergence` and `FiniteOutputs`: a run whose numbers are none ends, and says where they went.

`Divergence` looks only at what is logged, the loss of an update and the scores of a validation,
which are reduced over all processes: so all of them decide alike, and none waits for another. It
costs nothing between two lines of metrics.csv; no checkpoint is written over a good one after the
loss of the newest update was none. `FiniteOutputs` looks at the output of every module, and names
the first one with a NaN in it; the price is a read of every output, so it is for finding faults.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from seqloom.errors import TrainingError
from seqloom.tracking.exact_resume import is_update

TRAIN_LOSS, VAL_LOSS = "train/loss", "val/loss"


class Divergence(Callback):
    """Ends the run by a TrainingError when a loss or the monitored score is NaN or infinite.

    Args:
        monitor: the score that names the best checkpoint.
        best: that checkpoint, which stays; it is named if it is there.
    """

    def __init__(self, *, monitor: str, best: Path) -> None:
        self.monitor, self.best = monitor, best

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        interval = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if is_update(trainer) and interval and trainer.global_step % interval == 0:
            self._check(trainer, TRAIN_LOSS)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            for name in dict.fromkeys((VAL_LOSS, self.monitor)):
                self._check(trainer, name)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called before the file is written, on all processes."""
        self._check(trainer, TRAIN_LOSS)

    def _check(self, trainer: Trainer, name: str) -> None:
        value = float(trainer.callback_metrics.get(name, 0.0))
        if math.isfinite(value):
            return
        mend = "lower optimizer.lr or trainer.gradient_clip_val, or see debug=detect_anomaly"
        if self.best.exists():
            mend = f"{mend}; the best weights so far are in {self.best}"
        raise TrainingError(f"{name}={value} at step {trainer.global_step}", "it diverged", mend)


class FiniteOutputs(Callback):
    """Ends the run by a TrainingError that names the first module whose output holds a NaN or
    +infinity, in training; -infinity is what masks are made of."""

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if name:
                hook = partial(self._look, trainer, name)
                self._handles.append(module.register_forward_hook(hook))

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        if not bool(torch.isfinite(loss).all()):
            raise _not_finite("the loss", trainer, "no module's output is; look at its targets")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._remove()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._remove()

    def _look(
        self, trainer: Trainer, name: str, module: nn.Module, inputs: Any, output: Any
    ) -> None:
        if trainer.training and any(_has_nan(tensor) for tensor in tensors_in(output)):
            what = "its weights and what it was given are finite"
            if any(_has_nan(tensor) for tensor in tensors_in(inputs)):
                what = "so is what it was given"
            if any(_has_nan(weight) for weight in module.parameters()):
                what = "so are its weights, by the update before"
            raise _not_finite(f"{name} ({type(module).__name__})", trainer, what)

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in tuples, lists, dictionaries and dataclasses, however deep."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))


def _has_nan(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return False
    return bool((torch.isnan(tensor) | torch.isposinf(tensor)).any())


def _not_finite(where: str, trainer: Trainer, what: str) -> TrainingError:
    step = trainer.global_step + 1
    return TrainingError(f"{where}, update {step}", "its output is NaN or infinite", what)
