"""The optimiser's side of every learner: parameter groups, schedules, and gradients per token of
the whole update.

A learner's training step returns a sum over tokens. Dividing by the tokens of the whole update
(all ranks, all accumulated batches) happens once, on the gradient, in the same pass that clips it;
so N processes, or N accumulated batches, follow the curve of one large batch (PyTorch and
Lightning would average means, which weighs short batches up).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Timer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from seqloom.learners.schedules import Plateau, Schedule


class OptimizerRecipe(Protocol):
    """What `optimizer=` gives: an optimiser that still lacks its parameters."""

    def __call__(self, params: list[dict[str, Any]]) -> Optimizer: ...


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Matrices decay as the optimiser says; vectors (biases) never do."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def configure(learner: LightningModule, recipe: OptimizerRecipe, schedule: Schedule) -> Any:
    """What Lightning's `configure_optimizers` returns: the optimiser and its schedulers."""
    optimizer = recipe(parameter_groups(learner))

    def factor(step: int) -> float:
        return schedule.factor(step, progress(learner.trainer, step))

    schedulers: list[dict[str, Any]] = [
        {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "name": "lr"}
    ]
    if isinstance(schedule, Plateau):
        plateau = ReduceLROnPlateau(
            optimizer, mode=schedule.mode, factor=schedule.decay, patience=schedule.patience
        )
        schedulers.append({"scheduler": plateau, "monitor": schedule.monitor, "name": "plateau"})
    return [optimizer], schedulers


def progress(trainer: Trainer, step: int) -> float:
    """The used share of the budget, 0..1: of updates, or of `max_time` where that is further."""
    num_steps = trainer.estimated_stepping_batches
    share = step / num_steps if num_steps > 0 else 0.0
    for timer in _timers(trainer):
        remaining = timer.time_remaining()
        if remaining is not None:
            elapsed = timer.time_elapsed()
            share = max(share, elapsed / max(elapsed + remaining, 1e-9))
    return min(share, 1.0)


def _timers(trainer: Trainer) -> list[Timer]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, Timer)]


class UpdateCount:
    """Counts what an update is divided by, over its accumulated batches and all ranks."""

    def __init__(self) -> None:
        self._own = 0.0

    def add(self, count: float) -> None:
        """Adds one batch's tokens (or sequences)."""
        self._own += count

    def take(self, learner: LightningModule) -> float:
        """The factor that turns summed gradients, averaged over ranks by DDP, into a mean; starts
        anew."""
        own, self._own = self._own, 0.0
        world_size = learner.trainer.world_size
        if world_size == 1:
            return 1.0 / max(own, 1.0)
        total = learner.trainer.strategy.reduce(
            torch.tensor(own, device=learner.device), reduce_op="sum"
        )
        assert isinstance(total, Tensor)
        return world_size / max(float(total), 1.0)


def scale_and_clip(parameters: Iterable[Tensor], factor: float, max_norm: float | None) -> Tensor:
    """Multiplies gradients by `factor`, then clips their total norm at `max_norm`, in one pass;
    returns that norm."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(grads) * factor
    scale = torch.tensor(factor, device=norm.device)
    if max_norm:
        scale = scale * (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(grads, scale.to(grads[0].dtype) if grads else scale)
    return norm
