"""Asynchronous SGD: processes of one host add their updates to shared weights, and wait for nobody.

The idea: each process takes the shared weights, computes an update with an optimiser of its own,
and adds what changed to the shared weights as they are by then, under a lock (the asynchrony of
Dean et al. 2012 and Recht et al. 2011 on one host; Zhang et al. 2015 average instead of adding).
How many updates of others came between taking and adding is the staleness, logged by the first
process as `train/staleness`. An update is divided by the process's own tokens, so N processes make
N updates of a small batch where `strategy=ddp` makes one of a large one.

Before a validation, before a checkpoint and when training ends all meet, and take the same
weights. Prices: the numbers of a run are no other run's; losses and throughput that are logged in
training are the first process's; signals and checkpoints by steps or seconds wait for the end of an
epoch; a resumed run has the weights of all, but the moments of the first process. On equal,
reliable processes it is inferior to `strategy=ddp`: stale updates are what it gives for not
waiting. Refuses several hosts, GPUs, budgets by the clock, streams and averages of weights.

The memory is a file that every process maps and that is unlinked at once, so the system takes it
back when the last of them ends, however it ends; the lock is one on that file, and goes likewise.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.fabric.utilities.types import ReduceOp
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.optim import Optimizer

from seqloom.errors import ConfigError
from seqloom.strategies.meeting import MeetingStrategy
from seqloom.strategies.setting import (
    Setting,
    check_timeout,
    need_processes,
    refuse_weight_average,
)
from seqloom.strategies.shared_weights import SharedWeights

_MEMORY = Path("/dev/shm")  # Where there is none, a file on disk is mapped.


@dataclass(frozen=True)
class AsyncSgd:
    """Options of asynchronous SGD.

    Args:
        timeout_s: seconds that a process waits for the others where they meet.
    """

    timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        check_timeout(self.timeout_s)

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        need_processes("async_sgd", setting)
        refuse_weight_average("async_sgd", setting)
        for value, is_refused, why, instead in (
            (
                f"trainer.num_nodes={setting.num_nodes}",
                setting.num_nodes > 1,
                "shares the memory of one host",
                "trainer.num_nodes=1",
            ),
            (
                "trainer.accelerator",
                setting.device.type != "cpu",
                "shares the memory of CPUs",
                "trainer.accelerator=cpu",
            ),
            (
                "batching=stream",
                setting.carries_state,
                "cannot tell in a checkpoint how far each process has read",
                "batching=windows",
            ),
            (
                "trainer.max_time",
                setting.follows_clock,
                "would have processes ask each other for the time in every step",
                "trainer.max_steps or trainer.max_epochs",
            ),
        ):
            if is_refused:
                raise ConfigError(
                    value, f"strategy=async_sgd {why}", f"write {instead}, or strategy=ddp"
                )
        return AsyncSgdStrategy(timeout=timedelta(seconds=self.timeout_s))


class AsyncSgdStrategy(MeetingStrategy):
    """Processes that meet only where all of them must be at the same point: around epochs,
    validations and checkpoints."""

    def __init__(self, *, timeout: timedelta) -> None:
        super().__init__(timeout=timeout)
        self._weights: SharedWeights | None = None

    def configure_ddp(self) -> None:
        # The model stays as it is: no gradient is exchanged.
        assert self.model is not None
        for value in (*self.model.parameters(), *self.model.buffers()):
            dist.broadcast(value.detach(), src=0)

    def on_train_start(self) -> None:
        self._weights = self._share_weights()
        for optimizer in self.optimizers:
            optimizer.register_step_post_hook(self._end_update)

    def _share_weights(self) -> SharedWeights:
        """Memory that every process has mapped and no folder shows."""
        assert self.lightning_module is not None
        parameters = [p for p in self.lightning_module.parameters() if p.requires_grad]
        file, path = -1, ""
        if self.is_global_zero:
            folder = _MEMORY if _MEMORY.is_dir() else None
            file, path = tempfile.mkstemp(prefix="seqloom-async-", dir=folder)
        try:
            path = self.broadcast(path)
            if not self.is_global_zero:
                file = os.open(path, os.O_RDWR)
            weights = SharedWeights(file, parameters)
            if self.is_global_zero:
                weights.fill()
            self.barrier()
        finally:
            if self.is_global_zero:
                os.unlink(path)
        weights.take()
        return weights

    def _end_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        assert self._weights is not None
        assert self.lightning_module is not None
        staleness = self._weights.add_change()
        self.lightning_module.log("train/staleness", float(staleness))

    # In a step nobody asks the others.

    @property
    def _is_in_training(self) -> bool:
        module = self.lightning_module
        return self._weights is not None and module is not None and module.trainer.training

    def reduce(
        self,
        tensor: Tensor,
        group: Any | None = None,
        reduce_op: ReduceOp | str | None = "mean",
    ) -> Tensor:
        """In training: what the processes would come to if all of them had this one's numbers."""
        if not self._is_in_training:
            return super().reduce(tensor, group, reduce_op)
        return tensor * self.world_size if reduce_op in ("sum", ReduceOp.SUM) else tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Within an epoch False: a decision of one process must not stop the others there."""
        if not self._is_in_training:
            return super().reduce_boolean_decision(decision, all)
        assert self.lightning_module is not None
        if not self.lightning_module.trainer.is_last_batch:
            return False
        votes: list[bool | None] = [None] * self.world_size
        dist.all_gather_object(votes, decision)
        return min(map(bool, votes)) if all else max(map(bool, votes))

    def meet(self) -> None:
        """All take the weights to which all have added."""
        if self._weights is None:
            return
        self.barrier()
        self._weights.take()
        self.barrier()

    def teardown(self) -> None:
        if self._weights is not None:
            self._weights.close()
            self._weights = None
        super().teardown()
