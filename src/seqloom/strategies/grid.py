"""Lightning's strategy of `model_parallel`: a grid of processes, and a learner that does not know.

The idea: when training begins the learner is cut where it is (rows of the vocabulary, then slices
by FSDP2), and when it ends it is whole again, so that nothing before or after knows of parts.
Weights are read from a checkpoint before they are cut; those of a checkpoint, and the states of the
optimiser, are joined. The whole learner is one group of FSDP2, gathered for a step and for an
evaluation, since a recurrent kernel needs whole weights at every step of time. After an error
nothing is joined: the other processes may be anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from seqloom.errors import ConfigError
from seqloom.layers.sharded_embedding import RowShard
from seqloom.strategies.vocabulary import make_whole, split_vocabulary


class Shell(nn.Module):
    """What FSDP2 makes its own instead of the learner, which is itself again when training ends."""

    def __init__(self, learner: LightningModule) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, *args: Any) -> Any:
        """Lightning sends the learner's steps through here."""
        return self.learner(*args)


class GridStrategy(ModelParallelStrategy):
    """Lightning's grid of processes, with a learner that does not know of it.

    Args:
        data_parallel_size, tensor_parallel_size: the grid; their product is all processes.
        timeout_s: seconds that a process waits for the others before it gives up.
    """

    def __init__(
        self, data_parallel_size: int, tensor_parallel_size: int, *, timeout_s: float
    ) -> None:
        super().__init__(
            data_parallel_size,
            tensor_parallel_size,
            save_distributed_checkpoint=False,
            timeout=timedelta(seconds=timeout_s),
        )
        self._shards: dict[str, RowShard] = {}
        self._shell: FSDPModule | None = None

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Weights are read before they are cut."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    # Cutting and joining

    def setup(self, trainer: Trainer) -> None:
        # Lightning's own asks the learner to cut itself.
        assert self.accelerator is not None
        self.accelerator.setup(trainer)
        learner = self._learner
        self.model = self.precision_plugin.convert_module(learner)
        self.model_to_device()
        is_training = trainer.state.fn == TrainerFn.FITTING
        self._cut(learner, slices=is_training)
        self.barrier()
        if is_training:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    @property
    def _learner(self) -> LightningModule:
        assert self.lightning_module is not None
        return self.lightning_module

    def _cut(self, learner: LightningModule, *, slices: bool) -> None:
        for tensor in (*learner.parameters(), *learner.buffers()):
            dist.broadcast(tensor.detach(), src=0)
        sharing = self.device_mesh["tensor_parallel"]
        if sharing.size() > 1:
            self._shards = split_vocabulary(learner, sharing)
            if not self._shards:
                raise ConfigError(
                    "strategy=model_parallel",
                    "this model has no embedding and no output=categorical to split",
                    "write strategy=ddp or strategy=fsdp",
                )
        shares = self.device_mesh["data_parallel"]
        if slices and shares.size() > 1:
            shell = Shell(learner)
            self._shell = fully_shard(shell, mesh=shares, reshard_after_forward=False)
            self.model = shell

    def _whole(self, name: str, value: Tensor) -> Tensor:
        """A parameter, or what is as large, as one process would have it. All call this."""
        if isinstance(value, DTensor):
            value = value.full_tensor()
        shard = self._shards.get(name)
        return value if shard is None else shard.join(value)

    def _part(self, name: str, value: Tensor, like: Tensor) -> Tensor:
        """The reverse, on the device of `like`, which is the parameter. Nothing is sent."""
        value = value.to(like.device)
        shard = self._shards.get(name)
        if shard is not None:
            value = shard.cut(value)
        if isinstance(like, DTensor):
            return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
        return value

    def teardown(self) -> None:
        learner = self.lightning_module
        if learner is not None:
            # After an error the other processes may be anywhere: nothing can be gathered.
            if learner.trainer.state.status != TrainerStatus.INTERRUPTED:
                self._join(learner)
            learner._device_mesh = None
        super().teardown()

    def _join(self, learner: LightningModule) -> None:
        if self._shell is not None:
            self._shell.reshard()
            for group in self._shell._get_fsdp_state()._fsdp_param_groups:
                for parameter in group.fsdp_params:
                    parameter._post_load_hook_handle.remove()
        if self._shell is not None or self._shards:
            named = learner.named_parameters()
            make_whole(learner, {name: self._whole(name, p.detach()) for name, p in named})
        self.model, self._shell, self._shards = learner, None, {}

    # Gradients and evaluation

    def total_norm(self, grads: list[Tensor]) -> Tensor:
        """See `learners.optimization.SpreadsGradients`."""
        names = {id(p.grad): name for name, p in self._learner.named_parameters()}
        squares = torch.zeros(2, dtype=torch.float32, device=self.root_device)
        for grad in grads:
            local = grad.to_local() if isinstance(grad, DTensor) else grad
            squares[int(names[id(grad)] in self._shards)] += local.float().square().sum()
        if self._shell is not None:
            dist.all_reduce(squares, group=self.device_mesh["data_parallel"].get_group())
        of_all, of_rows = squares.clone().unbind()
        dist.all_reduce(of_rows, group=self.device_mesh["tensor_parallel"].get_group())
        return (of_all + of_rows).sqrt()

    def on_validation_start(self) -> None:
        # Processes have different numbers of batches, so none of these may wait for another.
        if self._shell is not None:
            self._shell.unshard()

    def on_validation_end(self) -> None:
        if self._shell is not None:
            self._shell.reshard()

    # Checkpoints

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return {name: self._whole(name, v).cpu() for name, v in self._learner.state_dict().items()}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        Strategy.load_model_state_dict(self, checkpoint, strict)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> Any:
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        state: dict[str, Any] = Strategy.optimizer_state(self, optimizer)
        named = self._numbered(optimizer)
        return {
            **state,
            "state": {
                number: {key: self._state_whole(named[number][0], v) for key, v in of.items()}
                for number, of in state["state"].items()
            },
        }

    def _state_whole(self, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return self._whole(name, value).cpu() if value.ndim else value.cpu()

    def _state_part(self, named: tuple[str, Tensor], value: Any) -> Any:
        # What has no dimensions counts updates.
        if isinstance(value, Tensor) and value.ndim:
            name, parameter = named
            return self._part(name, value, like=parameter)
        return value

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        states = []
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            named = self._numbered(optimizer)
            parts = {
                number: {key: self._state_part(named[number], v) for key, v in of.items()}
                for number, of in state["state"].items()
            }
            states.append({**state, "state": parts})
        Strategy.load_optimizer_state_dict(self, {"optimizer_states": states})

    def _numbered(self, optimizer: Optimizer) -> list[tuple[str, Tensor]]:
        """Names and parameters in the order in which an optimiser's state numbers them."""
        names = {id(p): name for name, p in self._learner.named_parameters()}
        return [(names[id(p)], p) for group in optimizer.param_groups for p in group["params"]]
