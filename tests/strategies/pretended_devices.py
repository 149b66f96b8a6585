"""Devices that a machine without them pretends to have: each tensor is marked with the one on which
it would lie, an operation over two of them is an error, and moves are counted.

Only what runs through Python is watched: every function of the forward pass, none of the backward
pass. Numbers are those of the CPU, on which all of it is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CPU = torch.device("cpu")
# What takes no part in a computation.
ATTRIBUTES: Any = Tensor
FREE = [getattr(ATTRIBUTES, name).__get__ for name in ("grad", "requires_grad", "is_leaf")]
READ_DEVICE = ATTRIBUTES.device.__get__
WRITE_DATA = ATTRIBUTES.data.__set__


def mark_of(tensor: Tensor) -> torch.device | None:
    """Where it would lie; None: it was made on the CPU, and is a number that goes anywhere."""
    mark = tensor.__dict__.get("pretended")
    return mark if isinstance(mark, torch.device) else None


class PretendedDevices(TorchFunctionMode):
    """Under it `.to("cuda:1")` marks a copy.

    Attributes:
        moves: (from, to) of every tensor that changed its device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[tuple[torch.device | None, torch.device]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func == READ_DEVICE:
            return mark_of(args[0]) or CPU
        if func == Tensor.to:
            return self._to(args, named)
        if func == WRITE_DATA:
            result = func(*args)
            args[0].pretended = mark_of(args[1])
            return result
        tensors = [t for t in tree_flatten((args, named))[0] if isinstance(t, Tensor)]
        marks = {mark_of(t) for t in tensors if t.ndim or mark_of(t)} - {None}
        asked = named.get("device")
        if asked is not None and torch.device(asked).type == "cuda":
            named["device"] = CPU
            marks = {torch.device(asked)}
        if len(marks) > 1 and func not in FREE:
            raise AssertionError(f"{getattr(func, '__name__', func)} of tensors on {marks}")
        result = func(*args, **named)
        mark = next(iter(marks), None)
        if mark is not None:
            tree_map(lambda t: _mark(t, mark), result)
        return result

    def _to(self, args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        tensor, rest = args[0], list(args[1:])
        where = named.pop("device", None)
        if rest and isinstance(rest[0], (str, torch.device)):
            where = rest.pop(0)
        elif rest and rest[0] is None:
            rest.pop(0)
        dtype = [each for each in [*rest, named.get("dtype")] if isinstance(each, torch.dtype)]
        result: Tensor = Tensor.to(tensor, dtype[0]) if dtype else tensor
        mark = mark_of(tensor)
        if where is None or torch.device(where) == mark:
            return _mark(result, mark) if mark else result
        if torch.device(where).type == "cpu" and mark is None:
            return result
        self.moves.append((mark, torch.device(where)))
        return _mark(result.clone() if result is tensor else result, torch.device(where))


def _mark(value: Any, mark: torch.device) -> Any:
    if isinstance(value, Tensor):
        value.pretended = mark  # type: ignore[attr-defined]
    return value
