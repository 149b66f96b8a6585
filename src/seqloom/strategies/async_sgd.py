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

import fcntl
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.utilities.types import ReduceOp
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor
from torch.optim import Optimizer

from seqloom.errors import ConfigError
from seqloom.strategies.setting import (
    Setting,
    need_processes,
    refuse_weight_average,
)

_MEMORY = Path("/dev/shm")  # Where there is none, a file on disk is mapped.
_HEAD_BYTES = 8  # The version, an int64.


@dataclass(frozen=True)
class AsyncSgd:
    """Options of asynchronous SGD.

    Args:
        timeout_s: seconds that a process waits for the others where they meet.
    """

    timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        if self.timeout_s <= 0:
            raise ConfigError(
                f"strategy.timeout_s={self.timeout_s}",
                "it is not positive",
                "write a number above 0",
            )

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        need_processes("async_sgd", setting)
        refuse_weight_average("async_sgd", setting)
        if setting.num_nodes > 1:
            raise ConfigError(
                f"trainer.num_nodes={setting.num_nodes}",
                "strategy=async_sgd shares the memory of one host",
                "write trainer.num_nodes=1, or strategy=ddp",
            )
        if setting.device.type != "cpu":
            raise ConfigError(
                "trainer.accelerator",
                "strategy=async_sgd shares the memory of CPUs",
                "write trainer.accelerator=cpu, or strategy=ddp",
            )
        if setting.carries_state:
            raise ConfigError(
                "batching=stream",
                "a checkpoint of strategy=async_sgd cannot tell how far each process has read",
                "write batching=windows, or strategy=ddp",
            )
        if setting.follows_clock:
            raise ConfigError(
                "trainer.max_time",
                "processes would ask each other for the time in every step of strategy=async_sgd",
                "write trainer.max_steps or trainer.max_epochs, or strategy=ddp",
            )
        return AsyncSgdStrategy(timeout=timedelta(seconds=self.timeout_s))


class SharedWeights:
    """Weights that several processes read and add to.

    Args:
        file: an open file, which this object closes; it gets the size that it needs.
        parameters: float32 tensors whose shapes the shared ones have. After `take` they hold the
            shared values.
    """

    def __init__(self, file: int, parameters: Sequence[Tensor]) -> None:
        self._file, self._parameters = file, parameters
        sizes = [parameter.numel() for parameter in parameters]
        num_bytes = _HEAD_BYTES + sum(sizes) * torch.float32.itemsize
        os.ftruncate(file, num_bytes)
        memory = mmap.mmap(file, num_bytes)
        self._version = torch.frombuffer(memory, dtype=torch.int64, count=1)
        flat = torch.frombuffer(memory, dtype=torch.float32, offset=_HEAD_BYTES)
        parts = flat.split(sizes)
        self._shared = [p.view_as(q) for p, q in zip(parts, parameters, strict=True)]
        self._taken = [parameter.detach().clone() for parameter in parameters]
        self._version_taken = 0

    @torch.no_grad()
    def fill(self) -> None:
        """Writes this process's weights, as version 0."""
        torch._foreach_copy_(self._shared, list(self._parameters))
        self._version.zero_()

    @torch.no_grad()
    def take(self) -> None:
        """Replaces this process's weights by the shared ones; what it had changed is lost."""
        with self._locked():
            self._read()
        torch._foreach_copy_(list(self._parameters), self._taken)

    @torch.no_grad()
    def add_change(self) -> int:
        """Adds what changed in this process's weights since it took them, and takes the sum.

        Returns how many changes of others came in between.
        """
        changes = torch._foreach_sub(list(self._parameters), self._taken)
        with self._locked():
            staleness = int(self._version) - self._version_taken
            torch._foreach_add_(self._shared, changes)
            self._version += 1
            self._read()
        torch._foreach_copy_(list(self._parameters), self._taken)
        return staleness

    def close(self) -> None:
        """Ends the lock; the memory goes with the tensors in it."""
        os.close(self._file)

    def _read(self) -> None:
        torch._foreach_copy_(self._taken, self._shared)
        self._version_taken = int(self._version)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


class AsyncSgdStrategy(DDPStrategy):
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

    # Where they meet.

    def on_validation_start(self) -> None:
        self._meet()

    def on_train_end(self) -> None:
        self._meet()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        self._meet()
        return super().lightning_module_state_dict()

    def _meet(self) -> None:
        """All processes take the weights to which all have added. All of them call this."""
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
