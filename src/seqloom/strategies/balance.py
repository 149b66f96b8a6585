"""Which part of a model goes to which device, so that the busiest device has as little to do as can
be.

The idea: every call that a part receives in one training step is recorded and made again by itself,
forward and backward, which gives its time and what it keeps for the backward pass. Parts stay in
the order in which they are first called, each device gets a run of neighbours, and the best cut is
found exactly, by dynamic programming. Parts that share a weight are one part. Price: one step on
the first device, before the training, which must have the memory for it. A short measurement is
good to some ten percent, so two runs may be cut differently; what is computed does not change.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqloom.errors import ConfigError
from seqloom.strategies.boundary import Call, guard, map_tensors, release

_MIB = 1 << 20
_NUM_REPEATS = 3
# A parameter has a gradient and, under Adam, two averages.
_COPIES = 4


@dataclass(frozen=True)
class Cost:
    """Of a part, or of several that must stay together.

    Attributes:
        paths: theirs.
        seconds: of their calls in one training step, forward and backward.
        num_bytes: of their parameters with gradient and optimiser, and of what they keep for the
            backward pass.
    """

    paths: tuple[str, ...]
    seconds: float
    num_bytes: int


def measure(parts: Mapping[str, nn.Module], step: Callable[[], Tensor]) -> list[Cost]:
    """The costs of `parts` in `step` (a training loss), in the order in which they are called.

    Leaves neither gradients nor other random numbers behind. All parts are on one device.
    """
    calls = _recorded(parts, step)
    order = sorted(parts, key=lambda path: min((n for n, _ in calls[path]), default=math.inf))
    costs = []
    for path in order:
        taken = [_replayed(call, parts[path]) for _, call in calls[path]]
        seconds = sum(each[0] for each in taken)
        kept = sum(each[1] for each in taken)
        costs.append(Cost((path,), seconds, kept + _parameter_bytes(parts[path])))
        parts[path].zero_grad(set_to_none=True)
    return _joined(costs, parts)


def sizes(parts: Mapping[str, nn.Module]) -> list[Cost]:
    """Costs where nothing can be measured: as if time were proportional to parameters."""
    found = [(path, _parameter_bytes(part)) for path, part in parts.items()]
    return _joined([Cost((path,), size / 1e12, size) for path, size in found], parts)


def propose(costs: Sequence[Cost], devices: Sequence[torch.device]) -> dict[str, torch.device]:
    """A device for every path. Raises ConfigError where memory is too small for any cut."""
    limits = [_free_bytes(device) for device in devices]
    ends = partition([c.seconds for c in costs], [c.num_bytes for c in costs], limits)
    if ends is None:
        total = sum(cost.num_bytes for cost in costs) / _MIB
        raise ConfigError(
            "strategy.placement=auto",
            f"the parts need {total:.0f} MiB, and no cut of them fits the devices",
            "make batches smaller, or name more in strategy.devices",
        )
    plan, start = {}, 0
    for device, end in zip(devices, ends, strict=True):
        for cost in costs[start:end]:
            plan.update(dict.fromkeys(cost.paths, device))
        start = end
    return plan


def partition(
    seconds: Sequence[float], num_bytes: Sequence[int], limits: Sequence[float]
) -> list[int] | None:
    """Cuts parts into runs, one for each of `limits` (bytes), so that the slowest run is as fast as
    can be; a run may be empty. Returns where each run ends, or None where nothing fits."""
    count = len(seconds)
    time_to = [sum(seconds[:end]) for end in range(count + 1)]
    bytes_to = [sum(num_bytes[:end]) for end in range(count + 1)]

    @functools.cache
    def best(device: int, end: int) -> tuple[float, tuple[int, ...]]:
        """The slowest run, and the ends, of parts [:end] on the devices up to `device`."""
        if device < 0:
            return (0.0 if end == 0 else math.inf), ()
        choices = []
        for start in range(end + 1):
            before, ends = best(device - 1, start)
            fits = bytes_to[end] - bytes_to[start] <= limits[device]
            slowest = max(before, time_to[end] - time_to[start]) if fits else math.inf
            choices.append((slowest, (*ends, end)))
        return min(choices)

    slowest, ends = best(len(limits) - 1, count)
    return None if slowest == math.inf else list(ends)


def table(costs: Sequence[Cost], plan: Mapping[str, torch.device]) -> str:
    """A line a part: its name, ms, MiB, device."""
    names = [" + ".join(cost.paths) for cost in costs]
    width = max([len("part"), *map(len, names)])
    lines = [f"{'part':<{width}}  {'ms':>8}  {'MiB':>8}  device"]
    for name, cost in zip(names, costs, strict=True):
        mib = cost.num_bytes / _MIB
        device = plan[cost.paths[0]]
        lines.append(f"{name:<{width}}  {cost.seconds * 1e3:8.2f}  {mib:8.2f}  {device}")
    return "\n".join(lines)


def _recorded(
    parts: Mapping[str, nn.Module], step: Callable[[], Tensor]
) -> dict[str, list[tuple[int, Call]]]:
    """The calls of each part in `step` that something is learned from, with their numbers."""
    calls: dict[str, list[tuple[int, Call]]] = {path: [] for path in parts}
    count = 0
    for path, part in parts.items():

        def record(_: nn.Module, call: Call, path: str = path) -> Any:
            nonlocal count
            result = call.run(call.values)
            if any(tensor.requires_grad for tensor in _tensors(result)):
                calls[path].append((count, call))
                count += 1
            return result

        guard(part, record)
    try:
        with _chance_of(parts):
            step()
    finally:
        for part in parts.values():
            release(part)
    return calls


def _replayed(call: Call, part: nn.Module) -> tuple[float, int]:
    """Seconds (the best of some repeats) and bytes kept of one call, forward and backward."""
    values = map_tensors(call.values, _as_leaf)
    own = {parameter.untyped_storage().data_ptr() for parameter in part.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    seconds = math.inf
    with _chance_of({"": part}):
        for repeat in range(_NUM_REPEATS):
            start = _now(part)
            if repeat == 0:
                with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                    result = call.run(values)
            else:
                result = call.run(values)
            learned = [tensor for tensor in _tensors(result) if tensor.requires_grad]
            torch.autograd.backward(learned, [torch.ones_like(tensor) for tensor in learned])
            seconds = min(seconds, _now(part) - start)
    return seconds, sum(kept.values())


def _joined(costs: Sequence[Cost], parts: Mapping[str, nn.Module]) -> list[Cost]:
    """Parts that share a weight as one, at the place of the first of them."""
    groups: list[list[Cost]] = []
    owner: dict[int, int] = {}
    for cost in costs:
        weights = [id(parameter) for parameter in parts[cost.paths[0]].parameters()]
        shared = {owner[weight] for weight in weights if weight in owner}
        where = min(shared, default=len(groups))
        if where == len(groups):
            groups.append([])
        groups[where].append(cost)
        for weight in weights:
            owner.setdefault(weight, where)
    return [
        Cost(
            tuple(path for cost in group for path in cost.paths),
            sum(cost.seconds for cost in group),
            sum(cost.num_bytes for cost in group),
        )
        for group in groups
    ]


def _tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(value, collect)
    return found


def _as_leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _parameter_bytes(part: nn.Module) -> int:
    return sum(_COPIES * parameter.nbytes for parameter in part.parameters())


def _free_bytes(device: torch.device) -> float:
    """Infinite where torch does not tell."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def _device_of(part: nn.Module) -> torch.device:
    return next((parameter.device for parameter in part.parameters()), torch.device("cpu"))


def _now(part: nn.Module) -> float:
    device = _device_of(part)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _chance_of(parts: Mapping[str, nn.Module]) -> Any:
    """Restores the random numbers of the devices of `parts`."""
    devices = {_device_of(part) for part in parts.values()}
    return torch.random.fork_rng([device for device in devices if device.type == "cuda"])
