"""The edge of a module: what happens around the calls that reach it from outside.

The idea: a module on a device of its own is used by more than `forward` (a search calls `step`, a
learner `loss`), so it is given a subclass of its own class in which every public method first asks
a function, `around`, which may move what goes in and what comes out, or look at it. Calls that a
module makes to itself are not asked about. Private methods are no edge, so they must not be called
from elsewhere with tensors.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqloom.sequences import Padded

# (module, call) -> what the caller gets. `call.run(call.values)` is the call itself.
Around = Callable[[nn.Module, "Call"], Any]


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a module's method.

    Attributes:
        method: name of it.
        run: makes the call with the values it is given.
        values: positional arguments and those by name.
    """

    method: str
    run: Callable[[tuple[tuple[Any, ...], dict[str, Any]]], Any]
    values: tuple[tuple[Any, ...], dict[str, Any]]


# Modules whose call from outside is under way. Not kept in them, since they may be copied in it.
_entered: set[int] = set()


def guard(module: nn.Module, around: Around) -> None:
    """From now on `around` is asked about every call of a public method of `module`."""
    kind: Any = type(module)
    module.__class__ = _guarded(kind)
    module._around = around  # type: ignore[assignment]


def release(module: nn.Module) -> None:
    """Undoes `guard`; nothing for a module without."""
    if "_around" in module.__dict__:
        del module.__dict__["_around"]
        module.__class__ = type(module).__mro__[1]


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`value` with every tensor in its tuples, lists, dicts and dataclasses changed; the lengths of
    a `Padded`, and modules, stay as they are."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Padded):
        return value.with_values(change(value.values))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(each, change) for each in value)
    if isinstance(value, dict):
        return {key: map_tensors(each, change) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        changed = {name: map_tensors(getattr(value, name), change) for name in fields}
        return dataclasses.replace(value, **changed)
    return value


def moved(value: Any, device: torch.device) -> Any:
    """`value` with its tensors on `device`; see `map_tensors`."""
    return map_tensors(value, lambda tensor: tensor.to(device))


@functools.cache
def _guarded(kind: Any) -> Any:
    """The subclass of `kind`, a class of modules, whose public methods ask."""
    names = {
        name
        for base in kind.__mro__
        if issubclass(base, nn.Module) and base is not nn.Module
        for name, value in vars(base).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    methods = {name: _asking(name, getattr(kind, name)) for name in sorted(names)}
    return type(kind)(kind.__name__, (kind,), {**methods, "__module__": kind.__module__})


def _asking(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def ask(self: nn.Module, *args: Any, **named: Any) -> Any:
        if id(self) in _entered:
            return method(self, *args, **named)
        around: Around = self.__dict__["_around"]
        _entered.add(id(self))
        try:
            call = Call(name, lambda values: method(self, *values[0], **values[1]), (args, named))
            return around(self, call)
        finally:
            _entered.discard(id(self))

    return ask
