"""`Stopwatch`: wall time shared out among names, none of it twice and none of it lost.

The idea: at every moment one name is on top of a stack, and the time since the last change belongs
to it. So a part within a part takes its time out of the outer one, and the times of a step add up
to the step by construction. `watch` puts an object's own methods under a name by giving it a
subclass of its class, until `unwatch`: no module has to know that it is watched, a copy of one is
watched too, and what is not watched costs nothing. The price: on an accelerator each change of the
name waits for the device, so that work is charged to whoever queued it, and overlap is lost.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, ContextDecorator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

REST = "rest"


@dataclass(frozen=True)
class Lap:
    """Seconds and calls by name, since the lap before."""

    seconds: dict[str, float]
    calls: dict[str, int]


class Stopwatch:
    """Time by name; the name `rest` has what nobody else has.

    Args:
        synchronize: waits for a device; None where nothing is queued.
        clock: seconds.

    Attributes:
        is_on: False: what is watched is not noticed, its time goes to whatever is on top.
        annotate: makes a range of that name, which is open as long as the name is; None: none.
        marks: (autograd's sequence number, name) at every change, in order: a node of the graph
            with number n was made under the last name whose number is <= n.
    """

    def __init__(
        self,
        synchronize: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._synchronize, self._clock = synchronize, clock
        self._stack: list[tuple[str, AbstractContextManager[Any] | None]] = [(REST, None)]
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._calls: Counter[str] = Counter()
        self._since = clock()
        self.is_on = True
        self.annotate: Callable[[str], AbstractContextManager[Any]] | None = None
        self.marks: list[tuple[int, str]] = []

    def enter(self, name: str) -> None:
        """From here on time belongs to `name`, until `leave`."""
        self._charge()
        annotation = None if self.annotate is None else self.annotate(name)
        if annotation is not None:
            annotation.__enter__()
        self._stack.append((name, annotation))
        self._calls[name] += 1
        self._mark()

    def leave(self) -> None:
        """Time belongs again to what was on top before."""
        self._charge()
        _, annotation = self._stack.pop()
        if annotation is not None:
            annotation.__exit__(None, None, None)
        self._mark()

    def switch(self, name: str) -> None:
        """Puts `name` in the place of what is on top."""
        top, annotation = self._stack[-1]
        if top != name:
            self._charge()
            self._stack[-1] = (name, annotation)

    def lap(self) -> Lap:
        """What has been measured since the last lap."""
        self._charge()
        lap = Lap(dict(self._seconds), dict(self._calls))
        self._seconds, self._calls = defaultdict(float), Counter()
        return lap

    def _charge(self) -> None:
        if self._synchronize is not None:
            self._synchronize()
        now = self._clock()
        self._seconds[self._stack[-1][0]] += now - self._since
        self._since = now

    def _mark(self) -> None:
        self.marks.append((torch.autograd._get_sequence_nr(), self._stack[-1][0]))


def watch(watched: object, name: str, stopwatch: Stopwatch) -> None:
    """From here on the time in each public method of the object's own classes goes to `name`."""
    kind = type(watched)
    methods = {
        key: _Timed(name, stopwatch)(getattr(kind, key))
        for base in kind.__mro__
        if base not in nn.Module.__mro__
        for key, member in vars(base).items()
        if inspect.isfunction(member)
        and not key.startswith("_")
        and not inspect.isgeneratorfunction(member)
    }
    watched.__class__ = type(kind.__name__, (kind,), {"__module__": kind.__module__, **methods})


def unwatch(watched: object) -> None:
    """Undoes `watch`."""
    watched.__class__ = type(watched).__bases__[0]


class _Timed(ContextDecorator):
    """Decorates a method, whose time goes to `name` while the stopwatch is on."""

    def __init__(self, name: str, stopwatch: Stopwatch) -> None:
        self._name, self._stopwatch = name, stopwatch
        self._entered: list[bool] = []  # a method may call itself

    def __enter__(self) -> None:
        self._entered.append(self._stopwatch.is_on)
        if self._stopwatch.is_on:
            self._stopwatch.enter(self._name)

    def __exit__(self, *_: object) -> None:
        if self._entered.pop():
            self._stopwatch.leave()
