"""`handled`: signals are answered by a handler while a block runs, and as before it afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def handled(handler: Handler, numbers: Iterable[int]) -> Iterator[None]:
    """`handler` gets the signals of these numbers; outside the main thread they are not ours to
    handle, and nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
