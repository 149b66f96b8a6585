"""`strategy=placement`: one process, the parts of a model on devices of their own.

The idea: what TensorFlow's `DeviceCellWrapper` did. A part (a recurrent layer, an embedding, the
attention, the output layer) is put on a device; what it is called with is moved there, and what it
gives is moved to the device of the module it lies in (`boundary`). Between the layers of a stack
values go straight from device to device. Nothing else knows of it, so losses, searches and
checkpoints are those of one device. Price: every call of a part on a device of its own crosses
twice, which a search pays at every step. Layers work at the same time only under a `Wavefront`.
Refuses parts that share a weight and lie apart, and more than one process.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from seqloom.errors import ConfigError
from seqloom.layers.recurrent import LayerByLayer
from seqloom.layers.wavefront import Wavefront
from seqloom.strategies import balance
from seqloom.strategies.parts import (
    device_of_parts,
    holds_parts,
    parts,
    place,
    stacks_of,
    unplace,
)
from seqloom.strategies.setting import Setting, need_one_process

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placement:
    """Options.

    Attributes:
        placement: a device for paths inside the model (`encoder.layers.0`); what is not named goes
            with the nearest named module around it, else to the first device. Or `auto`: measured
            and balanced over `devices`, see `balance`.
        devices: names of what may be used, the first holds the batches; None: all of the kind that
            the run uses.
        num_chunks, num_micro_batches: see `Wavefront`; 1 and 1 run layer by layer.
    """

    placement: str | Mapping[str, str] = "auto"
    devices: Sequence[str] | None = None
    num_chunks: int = 1
    num_micro_batches: int = 1

    def __post_init__(self) -> None:
        Wavefront(self.num_chunks, self.num_micro_batches)  # checks them
        if isinstance(self.placement, str) and self.placement != "auto":
            raise ConfigError(
                f"strategy.placement={self.placement}",
                "is no placement",
                "write auto, or a device for parts, {encoder: cuda:0, output: cuda:1}",
            )

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        need_one_process("placement", setting)
        known = available_devices()
        own = [device for device in known if device.type == setting.device.type]
        devices = own
        if self.devices is not None:
            devices = [_device(f"strategy.devices={name}", name, known) for name in self.devices]
        if not devices or devices[0].type != setting.device.type:
            raise ConfigError(
                f"strategy.devices={self.devices}",
                f"the first holds the batches, and the run is on {setting.device.type}",
                f"begin with {own[0]}, or set trainer.accelerator",
            )
        named = None
        if not isinstance(self.placement, str):
            named = {
                path: _device(f"strategy.placement.{path}={name}", str(name), known)
                for path, name in self.placement.items()
            }
        wavefront = None
        if self.num_chunks > 1 or self.num_micro_batches > 1:
            wavefront = Wavefront(self.num_chunks, self.num_micro_batches)
        return PlacedStrategy(devices, named, wavefront, may_probe=not setting.carries_state)


class PlacedStrategy(SingleDeviceStrategy):
    """Lightning's single device, beside which parts of `learner.model` lie on others.

    Args:
        devices: which may be used; the first holds the batches and what is nowhere else.
        named: a device for paths in the model; None: balanced over `devices`.
        wavefront: how stacks are run; None: layer by layer.
        may_probe: a training step may be tried before the training, for its times.
    """

    strategy_name = "placement"

    def __init__(
        self,
        devices: Sequence[torch.device],
        named: Mapping[str, torch.device] | None,
        wavefront: Wavefront | None,
        *,
        may_probe: bool,
    ) -> None:
        super().__init__(devices[0])
        self.devices, self.named, self.wavefront = list(devices), named, wavefront
        self.may_probe = may_probe

    def model_to_device(self) -> None:
        learner: Any = self.lightning_module
        model = learner.model
        unplace(model)
        if self.named is None and len(self.devices) > 1:
            self.named = self._balanced(learner)
        # The learner's own tensors go to the first device, the model's parts where they belong.
        learner.model = nn.Identity()
        learner.to(self.root_device)
        learner.model = model
        place(model, device_of_parts(model, self.named or {}, self.root_device))
        for stack in stacks_of(model):
            stack.schedule = self.wavefront or LayerByLayer()

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """As Lightning's, but a state goes to the device of its parameter."""
        states = checkpoint["optimizer_states"]
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)

    def teardown(self) -> None:
        learner: Any = self.lightning_module
        if learner is not None:
            unplace(learner.model)
        super().teardown()

    def _balanced(self, learner: Any) -> dict[str, torch.device]:
        leaves = {
            path: part for path, part in parts(learner.model).items() if not holds_parts(part)
        }
        trainer = learner.trainer
        if self.may_probe and trainer.state.fn == TrainerFn.FITTING:
            learner.to(self.root_device)
            batch = next(iter(trainer.datamodule.train_dataloader()))
            batch = learner.transfer_batch_to_device(batch, self.root_device, 0)
            costs = balance.measure(leaves, lambda: learner.training_loss(batch).loss)
        else:
            costs = balance.sizes(leaves)
        plan = balance.propose(costs, self.devices)
        logger.info("placement:\n%s", balance.table(costs, plan))
        return plan


def available_devices() -> list[torch.device]:
    """What torch can use here."""
    found = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return [*found, torch.device("cpu")]


def _device(value: str, name: str, known: Sequence[torch.device]) -> torch.device:
    """The device `name`; `value` is how the user wrote it. Raises ConfigError unless it is among
    `known`."""
    wanted = {"cuda": "cuda:0", "cpu:0": "cpu"}.get(name, name)
    for device in known:
        if str(device) == wanted:
            return device
    names = ", ".join(str(each) for each in known)
    raise ConfigError(value, "torch has no such device here", f"choose among {names}")
