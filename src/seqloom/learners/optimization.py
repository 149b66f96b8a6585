"""The optimiser's side of every learner: parameter groups, schedules, and gradients per token of
the whole update.

A learner's training step returns a sum over tokens. Dividing by the tokens of the whole update
(all ranks, all accumulated batches) happens once, on the gradient, in the same pass that clips it;
so N processes, or N accumulated batches, follow the curve of one large batch (PyTorch and
Lightning would average means, which weighs short batches up).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Timer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

from seqloom.data.batch import Batch
from seqloom.layers.outputs import TokenLoss
from seqloom.learners.schedules import Plateau, Schedule


class OptimizerRecipe(Protocol):
    """What `optimizer=` gives: an optimiser that still lacks its parameters."""

    def __call__(self, params: list[dict[str, Any]]) -> Optimizer: ...


@dataclass(frozen=True)
class OwnRate:
    """A part of a model with a learning rate of its own (discriminative rates, Howard and Ruder
    2018): `factor` times the optimiser's."""

    part: nn.Module
    factor: float


def parameter_groups(model: nn.Module, own_rate: OwnRate | None = None) -> list[dict[str, Any]]:
    """Matrices decay as the optimiser says; vectors (biases) never do. Groups of `own_rate` come
    last."""
    apart = set() if own_rate is None else {id(p) for p in own_rate.part.parameters()}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = _groups([parameter for parameter in parameters if id(parameter) not in apart])
    if own_rate is not None:
        others = _groups([parameter for parameter in parameters if id(parameter) in apart])
        groups += [{**group, "lr_factor": own_rate.factor} for group in others]
    return groups


def _groups(parameters: Sequence[Tensor]) -> list[dict[str, Any]]:
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def configure(
    learner: LightningModule,
    recipe: OptimizerRecipe,
    schedule: Schedule,
    own_rate: OwnRate | None = None,
) -> Any:
    """What Lightning's `configure_optimizers` returns: the optimiser and its schedulers."""
    optimizer = recipe(parameter_groups(learner, own_rate))
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_factor", 1.0)
    if isinstance(schedule, Plateau):
        return [optimizer], _plateau_schedulers(learner.trainer, optimizer, schedule)

    def factor(step: int) -> float:
        return schedule.factor(step, progress(learner.trainer, step))

    return [optimizer], [{"scheduler": LambdaLR(optimizer, factor), "interval": "step"}]


def _plateau_schedulers(
    trainer: Trainer, optimizer: Optimizer, schedule: Plateau
) -> list[dict[str, Any]]:
    """Both change the rate that they find: warm-up at each update, plateau at validations."""
    plateau = ReduceLROnPlateau(
        optimizer, mode=schedule.mode, factor=schedule.decay, patience=schedule.patience
    )
    every_n_epochs = trainer.check_val_every_n_epoch or 1
    entry = {"scheduler": plateau, "monitor": schedule.monitor, "frequency": every_n_epochs}
    if schedule.warmup_steps < 2:
        return [entry]
    start = 1 / schedule.warmup_steps
    warmup = LinearLR(optimizer, start_factor=start, total_iters=schedule.warmup_steps - 1)
    return [{"scheduler": warmup, "interval": "step"}, entry]


def progress(trainer: Trainer, step: int) -> float:
    """The used share of the budget, 0..1: of updates, or of `max_time` where that is further.

    Under `max_time` it follows the clock, so such a run is not the same twice, nor after a resume.
    """
    num_steps = trainer.estimated_stepping_batches
    share = step / num_steps if num_steps > 0 else 0.0
    timers = _timers(trainer)
    for timer in timers:
        remaining = timer.time_remaining()
        if remaining is not None:
            elapsed = timer.time_elapsed()
            share = max(share, elapsed / max(elapsed + remaining, 1e-9))
    if timers and trainer.world_size > 1:  # each rank has a clock of its own
        share = trainer.strategy.broadcast(share)
    return min(share, 1.0)


def _timers(trainer: Trainer) -> list[Timer]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, Timer)]


class UpdateSums:
    """What an update is divided by, and its loss, over its accumulated batches and all ranks."""

    def __init__(self) -> None:
        self._count = 0.0
        self._num_tokens = 0.0
        self._loss: Tensor | None = None

    def add(self, loss: TokenLoss, count: float) -> None:
        """Adds one batch; `count` is what its gradient is divided by: tokens or sequences."""
        self._count += count
        self._num_tokens += loss.num_tokens
        total = loss.loss.detach()
        self._loss = total if self._loss is None else self._loss + total

    def take(self, trainer: Trainer) -> tuple[float, Tensor]:
        """Starts anew; returns the factor that turns summed gradients, averaged over ranks by DDP,
        into a mean, and the mean loss a token."""
        assert self._loss is not None
        counts = self._loss.new_tensor([self._count, self._num_tokens])
        sums = torch.cat([counts, self._loss.reshape(1)])
        self._count, self._num_tokens, self._loss = 0.0, 0.0, None
        if trainer.world_size > 1:
            reduced = trainer.strategy.reduce(sums, reduce_op="sum")
            assert isinstance(reduced, Tensor)
            sums = reduced
        count, num_tokens, loss = sums.tolist()
        return trainer.world_size / max(count, 1.0), torch.tensor(loss / max(num_tokens, 1.0))


@runtime_checkable
class SpreadsGradients(Protocol):
    """A strategy under which one process, or one device, has not all of a gradient."""

    def total_norm(self, grads: list[Tensor]) -> Tensor:
        """The norm of the whole gradient, the same on every process that has a part of it. All of
        them call this."""
        ...


@runtime_checkable
class RunsBatches(Protocol):
    """A strategy that runs a learner over parts of a batch, forward and back."""

    def run_batch(self, loss: Callable[[Batch], TokenLoss], batch: Batch) -> TokenLoss:
        """The sums of `loss` over `batch`, the same on every process. The strategy adds its own
        gradients when that of the answer, whose `loss` is a leaf, is computed."""
        ...


def scale_and_clip(
    parameters: Iterable[Tensor],
    factor: float,
    max_norm: float | None,
    total_norm: Callable[[list[Tensor]], Tensor] = nn.utils.get_total_norm,
) -> Tensor:
    """Multiplies gradients by `factor`, then clips their total norm at `max_norm`, in one pass;
    returns that norm."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = total_norm(grads) * factor
    if not grads:
        return norm
    scale = torch.tensor(factor, device=norm.device)
    if max_norm:
        scale = scale * (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for device in {grad.device for grad in grads}:
        here = [grad for grad in grads if grad.device == device]
        torch._foreach_mul_(here, scale.to(device, here[0].dtype))
    return norm
