"""A pipeline: the layers of the source-reading stack, and what lies behind them, spread over
processes that work on different micro-batches of the same batch at once.

The idea: every process has the whole model and reads the same batches, and runs its stage of it
(`stages`) by a schedule of `torch.distributed.pipelining`: `gpipe` runs all micro-batches forward
and then back (Huang et al. 2019), `1f1b` goes back as soon as it can and keeps fewer of them in
memory (Narayanan et al. 2019). A learner's loss is a sum, so the sums of micro-batches are those
of the batch. A process trains what it computes (`holders`); before validations and checkpoints all
get everything, evaluation is shared out over processes, and a checkpoint is that of one process.
The price: the weights of the whole model in each process, and the first and last micro-batches,
during which the others wait. Refuses batch normalisation, which would see micro-batches, states
carried from batch to batch, and a part behind the stack that reads what lies before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import Strategy
from torch import Tensor, nn
from torch.optim import Optimizer

from seqloom.data.batch import Batch
from seqloom.errors import ConfigError
from seqloom.layers.outputs import TokenLoss
from seqloom.strategies.holders import Holders
from seqloom.strategies.meeting import MeetingStrategy
from seqloom.strategies.setting import (
    Setting,
    check_timeout,
    need_processes,
    refuse_carried_state,
    refuse_weight_average,
)
from seqloom.strategies.stage_runner import StageRunner
from seqloom.strategies.stages import Loss, check_cuts, cuts_of, find_stack
from seqloom.topologies import VideoClassifier

SCHEDULES = ("gpipe", "1f1b")


@dataclass(frozen=True)
class Pipeline:
    """A stage for each process.

    Attributes:
        schedule: gpipe or 1f1b; a batch with fewer rows than stages is always run by gpipe.
        num_micro_batches: parts of a batch; as many as it has rows where those are fewer.
        cut: after which layers (the lowest is 1) a stage ends; `auto` makes the largest stage as
            small as it can be.
        timeout_s: how long a process waits for the others.
    """

    schedule: str = "1f1b"
    num_micro_batches: int = 4
    cut: str | list[int] = "auto"
    timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"strategy.schedule={self.schedule}", "unknown", f"use {' or '.join(SCHEDULES)}"
            )
        if self.num_micro_batches < 1:
            raise ConfigError(
                f"strategy.num_micro_batches={self.num_micro_batches}",
                "a batch has at least one part",
                "write 1 or more",
            )
        check_timeout(self.timeout_s)
        if self.cut != "auto" and not _are_cuts(self.cut):
            raise ConfigError(
                f"strategy.cut={self.cut}",
                "it is no list of layer numbers that grow from 1",
                "write auto, or [2] for two stages that end after layer 2 and at the output",
            )

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        need_processes("pipeline", setting)
        refuse_carried_state("pipeline", setting)
        refuse_weight_average("pipeline", setting)
        if self.schedule == "1f1b" and self.num_micro_batches < setting.num_processes:
            raise ConfigError(
                f"strategy.num_micro_batches={self.num_micro_batches}",
                f"schedule 1f1b keeps {setting.num_processes} stages busy with as many parts",
                f"write {setting.num_processes} or more, or strategy.schedule=gpipe",
            )
        return PipelineStrategy(self)


class PipelineStrategy(MeetingStrategy):
    """Lightning's processes, each with a stage instead of a copy."""

    def __init__(self, options: Pipeline) -> None:
        super().__init__(timeout=timedelta(seconds=options.timeout_s))
        self.options = options
        self._holders: Holders | None = None
        self._runner: StageRunner | None = None

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """All processes train on the same batches, and share out those of an evaluation."""
        learner = self.lightning_module
        if learner is None or learner.trainer.training:
            return {"num_replicas": 1, "rank": 0}
        return super().distributed_sampler_kwargs

    def configure_ddp(self) -> None:
        """Cuts the model, instead of wrapping it."""
        model = self.lightning_module
        assert model is not None
        check_model(model)
        stack, cuts = find_stack(model), self.options.cut
        if isinstance(cuts, str):
            cuts = cuts_of(model, stack, self.world_size)
        else:
            check_cuts(cuts, self.world_size, stack)
        self._runner = StageRunner(
            stack,
            cuts,
            self.global_rank,
            device=self.root_device,
            num_micro_batches=self.options.num_micro_batches,
            one_by_one=self.options.schedule == "1f1b",
        )
        for parameter in model.parameters():
            dist.broadcast(parameter.data, 0)
        self._holders = Holders(list(model.parameters()), self.root_device)

    def run_batch(self, loss: Loss, batch: Batch) -> TokenLoss:
        """See `RunsBatches`."""
        assert self._runner is not None
        assert self._holders is not None
        with self._holders.set_aside():
            told = self._runner.run(loss, batch)
        return self._told_by_last(told)

    def post_backward(self, closure_loss: Tensor) -> None:
        """Lightning's backward pass of a batch, which had nothing to do, is over."""
        assert self._holders is not None
        self._holders.add_waiting()

    def optimizer_step(  # type: ignore[override]
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        model: LightningModule | nn.Module | None = None,
    ) -> Any:
        """Sums shared gradients after the last batch of the update, before they are clipped."""
        holders = self._holders
        assert holders is not None

        def complete() -> Any:
            result = closure()
            holders.sum_shared()
            return result

        return super().optimizer_step(optimizer, complete, model)

    def total_norm(self, grads: list[Tensor]) -> Tensor:
        """See `SpreadsGradients`."""
        assert self._holders is not None
        return self._holders.total_norm(grads)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole model's, complete on the first process; called by all."""
        state = super().optimizer_state(optimizer)
        return state if self._holders is None else self._holders.gathered(optimizer, state)

    def meet(self) -> None:
        """All get every parameter from its owner."""
        if self._holders is not None:
            self._holders.publish()

    def _told_by_last(self, told: list[TokenLoss]) -> TokenLoss:
        """The sums of the batch, of which only the last stage was `told`. The loss is a leaf, so
        that Lightning's backward pass finds nothing to do."""
        sums = torch.zeros(3, dtype=torch.float64, device=self.root_device)
        for part in told:
            sums += torch.stack([part.loss, part.nll, sums.new_tensor(part.num_tokens)])
        dist.broadcast(sums, self.world_size - 1)
        loss, nll = sums[:2].float().unbind()
        return TokenLoss(loss.clone().requires_grad_(), nll, int(sums[2]))


def _are_cuts(cut: object) -> bool:
    numbers = cut if isinstance(cut, list) else []
    return bool(numbers) and all(
        isinstance(number, int) and before < number
        for before, number in zip([0, *numbers], numbers, strict=False)
    )


def check_model(model: nn.Module) -> None:
    """Raises ConfigError for a model whose stages would not compute what one process computes."""
    for name, module in model.named_modules():
        why = None
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            why = f"{name} normalises over a batch, and would see micro-batches"
        if isinstance(module, VideoClassifier) and module.frame_output is not None:
            why = f"{name}.frame_output reads, past the stack, what another stage trains"
        if why is not None:
            raise ConfigError("strategy=pipeline", why, "use strategy=ddp")
