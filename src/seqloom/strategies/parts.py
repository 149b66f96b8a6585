"""The parts of a model that can be put on devices, and how they are put there.

The idea: a part is what computes (a recurrent layer, an embedding, the attention, the output
layer); topologies and stacks only hold parts. What a part is called with comes to its device, what
it gives goes to the device of the module that holds it, whose own operations therefore meet one
device. Inside a stack it does not go back in between (`RecurrentStack.devices`). Refuses parts
that share a weight and lie apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import torch
from torch import nn

from seqloom.errors import ConfigError
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.recurrent import LayerByLayer, RecurrentLayer, RecurrentStack
from seqloom.strategies.boundary import Around, guard, moved, release

_ROOT = ""


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
            if holds_parts(child):
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
        for parameter in () if holds_parts(part) else part.parameters():
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
        if not holds_parts(part):
            part.to(device)
        else:
            _move_own(part, device)
        if isinstance(part, RecurrentStack):
            of = [devices[f"{path}.layers.{number}"] for number in range(len(part.layers))]
            _place_between(part, device, of)
            if part.devices or device != home:
                guard(part, _crossing(device, home))
        elif device != home and not isinstance(part, (RecurrentLayer, nn.ModuleList)):
            guard(part, _crossing(device, home))  # a stack moves what its layers take


def unplace(model: nn.Module) -> None:
    """Undoes what `place` did, but for where tensors are."""
    for module in model.modules():
        release(module)
    for stack in stacks_of(model):
        stack.devices, stack.schedule = (), LayerByLayer()


def _place_between(stack: RecurrentStack, own: torch.device, of: list[torch.device]) -> None:
    """Norms and gates beside their layers."""
    for number, device in enumerate(of, start=stack.num_below + 1):
        for beside in (stack.norms, stack.gates):
            if str(number) in beside:
                beside[str(number)].to(device)
    stack.devices = tuple(of) if set(of) - {own} else ()


def _crossing(device: torch.device, home: torch.device) -> Around:
    return lambda _, call: moved(call.run(moved(call.values, device)), home)


def holds_parts(module: nn.Module) -> bool:
    """It computes nothing by parameters of its own, and its children are parts."""
    is_topology = type(module).__module__.startswith("seqloom.topologies.")
    return is_topology or isinstance(module, (RecurrentStack, nn.ModuleList))


def stacks_of(model: nn.Module) -> list[RecurrentStack]:
    return [module for module in model.modules() if isinstance(module, RecurrentStack)]


def _move_own(module: nn.Module, device: torch.device) -> None:
    """Parameters and buffers of `module`, without its children's."""
    module._apply(lambda tensor: tensor.to(device), recurse=False)
