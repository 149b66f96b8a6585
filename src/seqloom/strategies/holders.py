"""Which processes train which parameters, where each process has the whole model and computes a
part of it.

The idea: nobody says it; a parameter is held by those processes in which an update gave it a
gradient, so every topology and every tie of weights is right by itself. Gradients of a parameter
that several hold are summed between them; the others' copies grow stale until they are `published`.
The price: the processes compare a byte for each parameter in every update.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer


class Holders:
    """The parameters of a model over all processes; every method is called by all of them.

    Args:
        parameters: in the same order everywhere.
        device: of this process.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self._parameters, self._device = list(parameters), device
        self._rank = dist.get_rank()
        self._held = torch.zeros(dist.get_world_size(), len(self._parameters), dtype=torch.uint8)
        self._groups: dict[tuple[int, ...], dist.ProcessGroup] = {}
        self._waiting: list[Tensor | None] = []

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """The gradients that are computed inside wait for `add_waiting`; Lightning sets gradients
        to zero between a batch's forward and its backward pass."""
        before = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        yield
        self._waiting = [parameter.grad for parameter in self._parameters]
        for parameter, grad in zip(self._parameters, before, strict=True):
            parameter.grad = grad

    def add_waiting(self) -> None:
        """Adds what was set aside to the gradients."""
        for parameter, grad in zip(self._parameters, self._waiting, strict=True):
            if parameter.grad is None:
                parameter.grad = grad
            elif grad is not None:
                parameter.grad += grad
        self._waiting = []

    def sum_shared(self) -> None:
        """Once an update, when its gradients are complete: adds up those that several hold."""
        now = torch.zeros_like(self._held)
        now[self._rank] = torch.tensor([p.grad is not None for p in self._parameters])
        now = now.to(self._device)
        dist.all_reduce(now, dist.ReduceOp.MAX)
        now = now.cpu()
        if bool((now > self._held).any()):
            self.publish()  # A new holder begins with what the others have come to.
            self._held |= now
        for index in (now.any(dim=0) & (self._held.sum(dim=0) > 1)).nonzero().flatten().tolist():
            group = self._group(index)
            if self._held[self._rank, index]:
                parameter = self._parameters[index]
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad, group=group)

    def publish(self) -> None:
        """Gives every process every parameter as it is now."""
        with torch.no_grad():
            for index, parameter in enumerate(self._parameters):
                if self._held[:, index].any():
                    dist.broadcast(parameter.data, self._owner(index))

    def total_norm(self, grads: Sequence[Tensor]) -> Tensor:
        """The norm of the gradients `grads` of this process and those of all others, each of them
        once."""
        owned = {
            parameter.grad.data_ptr()
            for index, parameter in enumerate(self._parameters)
            if parameter.grad is not None and self._owner(index) == self._rank
        }
        norm = nn.utils.get_total_norm([grad for grad in grads if grad.data_ptr() in owned])
        square = norm.to(self._device).square()
        dist.all_reduce(square)
        return square.sqrt()

    def gathered(self, optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """`state`, the `state_dict` of `optimizer`, with what its owner knows of each parameter, on
        the CPU; complete on the first process, and of no use elsewhere."""
        places = {id(parameter): index for index, parameter in enumerate(self._parameters)}
        order = [places[id(p)] for group in optimizer.param_groups for p in group["params"]]
        own = {
            number: {name: _on_cpu(value) for name, value in entries.items()}
            for number, entries in state["state"].items()
            if self._owner(order[number]) == self._rank
        }
        parts: list[Any] | None = [None] * len(self._held) if self._rank == 0 else None
        dist.gather_object(own, parts)
        merged = {number: entries for part in parts or () for number, entries in part.items()}
        return {**state, "state": dict(sorted(merged.items()))}

    def _owner(self, index: int) -> int:
        """The first holder; the first process where nobody holds it."""
        return int(self._held[:, index].argmax())

    def _group(self, index: int) -> dist.ProcessGroup:
        """Of the holders of a parameter."""
        ranks = tuple(self._held[:, index].nonzero().flatten().tolist())
        if ranks not in self._groups:
            self._groups[ranks] = dist.new_group(list(ranks))
        return self._groups[ranks]


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
