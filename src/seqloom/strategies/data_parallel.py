"""Data parallel training: a process for each device, each with the whole model and its own batches.

The idea: gradients of sums are averaged over processes, and the learner divides once by the tokens
of all of them (`learners.optimization`), so N processes follow the curve of one. Buffers are never
broadcast: no step of an evaluation waits for another process. How gradients travel is
`communication`; what was sent is logged as `train/sent_bytes`, counted from the start of the fit.
Accumulated batches send nothing until the last of an update.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from seqloom.errors import ConfigError
from seqloom.strategies.communication import (
    CHOICES,
    Communication,
    HalfCommunication,
    LocalCommunication,
    LowRankCommunication,
    Traffic,
    exchange,
)
from seqloom.strategies.meeting import MeetingStrategy
from seqloom.strategies.setting import Setting, check_timeout, refuse_weight_average
from seqloom.strategies.sparse_rows import SparseRows, private_embeddings


@dataclass(frozen=True)
class Automatic:
    """One process as it is; several as data parallel, with its usual options."""

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        return "auto" if setting.num_processes == 1 else DataParallel().for_run(setting)


@dataclass(frozen=True)
class DataParallel:
    """Lightning's DDP: NCCL on GPUs, gloo elsewhere.

    Args:
        communication: one of `communication.CHOICES`.
        powersgd_rank: columns of the thin matrices of `powersgd`, at least 1.
        start_step: updates of plain exchange before `powersgd` (at least 2) or `local_sgd`.
        average_every_n_steps: updates of `local_sgd` between two averages of the weights.
        bucket_size_mib: gradients that travel together, in MiB.
        static_graph: every update uses the same parameters in the same order.
        sparse_embeddings: gradients of embeddings travel as the rows that were looked up.
        timeout_s: seconds that a process waits for the others before it gives up.
    """

    communication: str = "plain"
    powersgd_rank: int = 4
    start_step: int = 100
    average_every_n_steps: int = 8
    bucket_size_mib: float = 25.0
    static_graph: bool = False
    sparse_embeddings: bool = False
    timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        if self.communication not in CHOICES:
            raise ConfigError(
                f"strategy.communication={self.communication}",
                "it is unknown",
                f"use one of {', '.join(CHOICES)}",
            )
        fewest = {"powersgd": 2, "local_sgd": 0}.get(self.communication, self.start_step)
        if self.start_step < fewest:
            raise ConfigError(
                f"strategy.start_step={self.start_step}",
                f"{self.communication} needs {fewest} updates of plain exchange before it",
                f"write {fewest} or more",
            )
        for name, value in (
            ("powersgd_rank", self.powersgd_rank),
            ("average_every_n_steps", self.average_every_n_steps),
        ):
            if value < 1:
                raise ConfigError(f"strategy.{name}={value}", "it is too small", "write 1 or more")
        if self.bucket_size_mib <= 0:
            raise ConfigError(
                f"strategy.bucket_size_mib={self.bucket_size_mib}",
                "it is not positive",
                "write a number above 0",
            )
        check_timeout(self.timeout_s)
        if self.sparse_embeddings and self.communication == "local_sgd":
            raise ConfigError(
                "strategy.sparse_embeddings=true",
                "local_sgd averages whole weights, it has no gradients to send",
                "write false, or another communication",
            )

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        if self.static_graph and (setting.has_idle_parameters or setting.num_accumulated > 1):
            raise ConfigError(
                "strategy.static_graph=true",
                "updates of several batches, or of parts that begin to learn later, change it",
                "write false",
            )
        if self.communication == "local_sgd":
            refuse_weight_average("ddp with local_sgd", setting)
        return DataParallelStrategy(self, has_idle_parameters=setting.has_idle_parameters)

    def make_communication(self, traffic: Traffic) -> Communication:
        """What exchanges gradients as these options say. Expects a process group."""
        if self.communication == "bf16":
            return HalfCommunication(traffic)
        if self.communication == "powersgd":
            return LowRankCommunication(
                traffic, rank=self.powersgd_rank, start_step=self.start_step
            )
        if self.communication == "local_sgd":
            return LocalCommunication(
                traffic, start_step=self.start_step, period=self.average_every_n_steps
            )
        return Communication(traffic)


class DataParallelStrategy(MeetingStrategy):
    """DDP that counts what it sends, and sends it as `options` say.

    Weights are the same everywhere when a validation begins, when a checkpoint is made and when
    training ends; under `local_sgd` each of these is one more average.
    """

    def __init__(self, options: DataParallel, *, has_idle_parameters: bool) -> None:
        super().__init__(
            timeout=timedelta(seconds=options.timeout_s),
            find_unused_parameters=has_idle_parameters,
            broadcast_buffers=False,
            bucket_cap_mb=options.bucket_size_mib,
            static_graph=options.static_graph,
        )
        self._options = options
        self._traffic = Traffic()
        self._communication: Communication | None = None
        self._rows: SparseRows | None = None

    @property
    def num_bytes(self) -> int:
        """What this process has sent since the fit began (see `communication`)."""
        return self._traffic.num_bytes

    def configure_ddp(self) -> None:
        module = self.model
        assert isinstance(module, LightningModule)
        self._traffic.num_bytes = 0
        self._communication = self._options.make_communication(self._traffic)
        if self._options.sparse_embeddings:
            embeddings = private_embeddings(module)
            self._rows = SparseRows(list(embeddings.values()), self._traffic)
            for weight in embeddings.values():
                # DDP would have done so for the weights that it knows.
                dist.broadcast(weight.detach(), src=0)
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
                module, list(embeddings)
            )
        super().configure_ddp()

    def _register_ddp_hooks(self) -> None:
        # Lightning's own registers hooks on GPUs only.
        assert isinstance(self.model, DistributedDataParallel)
        self.model.register_comm_hook(self._communication, exchange)

    def on_train_start(self) -> None:
        assert self._communication is not None
        assert self.lightning_module is not None
        self._communication.begin(self.lightning_module.trainer.global_step)
        for optimizer in self.optimizers:
            optimizer.register_step_post_hook(self._end_update)

    def post_backward(self, closure_loss: Tensor) -> None:
        super().post_backward(closure_loss)
        is_last = getattr(self.model, "require_backward_grad_sync", False)
        if self._rows is not None and is_last:
            self._rows.exchange()

    def _end_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        assert self._communication is not None
        assert self.lightning_module is not None
        self._communication.end_update(self.optimizers)
        self.lightning_module.log("train/sent_bytes", float(self.num_bytes))

    def meet(self) -> None:
        """See `communication`."""
        if self._communication is not None:
            self._communication.meet(self.optimizers)

    def teardown(self) -> None:
        self._communication, self._rows = None, None
        super().teardown()
