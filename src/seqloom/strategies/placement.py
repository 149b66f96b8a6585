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

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from seqloom.errors import ConfigError
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.recurrent import LayerByLayer, RecurrentStack
from seqloom.layers.wavefront import Wavefront
from seqloom.strategies import balance
from seqloom.strategies.boundary import Around, guard, moved, release
from seqloom.strategies.setting import Setting, need_one_process

logger = logging.getLogger(__name__)

_ROOT = ""


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
        for stack in _stacks(model):
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
        leaves = {path: part for path, part in parts(learner.model).items() if not _holds(part)}
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


def parts(model: nn.Module) -> dict[str, nn.Module]:
    """What can be placed, by path: the modules in a topology, and in those of them that only hold
    others (stacks, encoders). Norms and gates of a stack go with their layers; dropout is computed
    where its inputs are."""
    found: dict[str, nn.Module] = {}

    def walk(module: nn.Module, path: str) -> None:
        for name, child in module.named_children():
            if isinstance(child, (SequenceDropout, nn.Identity)) or (
                isinstance(module, RecurrentStack) and name != "layers"
            ):
                continue
            below = f"{path}.{name}" if path else name
            found[below] = child
            if _holds(child):
                walk(child, below)

    walk(model, _ROOT)
    return found


def device_of_parts(
    model: nn.Module, named: Mapping[str, torch.device], first: torch.device
) -> dict[str, torch.device]:
    """The device of each of `parts`, and of the model itself under "".

    Raises ConfigError for a path that is none, and for parts that share a weight and lie apart.
    """
    known = parts(model)
    for path in named:
        if path not in known:
            near = difflib.get_close_matches(path, known, n=1, cutoff=0)
            raise ConfigError(
                f"strategy.placement.{path}",
                f"the model has no such part; it has {', '.join(known)}",
                f"did you mean {near[0]}?" if near else "use strategy=auto",
            )
    devices = {_ROOT: first}
    for path in known:  # outer ones first
        devices[path] = named.get(path, devices[path.rpartition(".")[0]])
    holder: dict[int, str] = {}
    for path, part in known.items():
        for parameter in () if _holds(part) else part.parameters():
            other = holder.setdefault(id(parameter), path)
            if devices[other] != devices[path]:
                raise ConfigError(
                    f"strategy.placement.{path}={devices[path]}",
                    f"it shares a weight with {other}, which is on {devices[other]}",
                    "put both on one device, or set model.tie=none",
                )
    return devices


def place(model: nn.Module, devices: Mapping[str, torch.device]) -> None:
    """Moves parts to their `devices` (as `device_of_parts` gives them) and guards their edges."""
    _move_own(model, devices[_ROOT])
    for path, part in parts(model).items():
        device, home = devices[path], devices[path.rpartition(".")[0]]
        if not _holds(part):
            part.to(device)
        else:
            _move_own(part, device)
        if isinstance(part, RecurrentStack):
            _place_between(part, device, [devices[f"{path}.layers.{n}"] for n in _places(part)])
            if part.devices or device != home:
                guard(part, _crossing(device, home))
        elif device != home and not isinstance(part, nn.ModuleList) and ".layers." not in path:
            guard(part, _crossing(device, home))


def unplace(model: nn.Module) -> None:
    """Undoes what `place` did, but for where tensors are."""
    for module in model.modules():
        release(module)
    for stack in _stacks(model):
        stack.devices, stack.schedule = (), LayerByLayer()


def _place_between(stack: RecurrentStack, own: torch.device, of: list[torch.device]) -> None:
    """Norms and gates beside their layers."""
    for place_, device in enumerate(of, start=stack.num_below + 1):
        for beside in (stack.norms, stack.gates):
            if str(place_) in beside:
                beside[str(place_)].to(device)
    stack.devices = tuple(of) if set(of) - {own} else ()


def _crossing(device: torch.device, home: torch.device) -> Around:
    return lambda _, call: moved(call.run(moved(call.values, device)), home)


def _holds(module: nn.Module) -> bool:
    """It computes nothing by parameters of its own, and its children are parts."""
    is_topology = type(module).__module__.startswith("seqloom.topologies.")
    return is_topology or isinstance(module, (RecurrentStack, nn.ModuleList))


def _places(stack: RecurrentStack) -> range:
    return range(len(stack.layers))


def _stacks(model: nn.Module) -> list[RecurrentStack]:
    return [module for module in model.modules() if isinstance(module, RecurrentStack)]


def _move_own(module: nn.Module, device: torch.device) -> None:
    """Parameters and buffers of `module`, without its children's."""
    module._apply(lambda tensor: tensor.to(device), recurse=False)


def _device(value: str, name: str, known: Sequence[torch.device]) -> torch.device:
    """The device `name`; `value` is how the user wrote it. Raises ConfigError unless it is among
    `known`."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is not None and device.type == "cuda" and device.index is None:
        device = torch.device("cuda", 0)
    if device is not None and device.type == "cpu":
        device = torch.device("cpu")
    if device not in known:
        names = ", ".join(str(each) for each in known)
        raise ConfigError(value, "torch has no such device here", f"choose among {names}")
    return device
