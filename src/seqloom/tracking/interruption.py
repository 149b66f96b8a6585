"""`StopSignals`: Ctrl-C and SIGTERM as a wish that training grants at its next exact point.

The first signal only raises a flag; the loop looks at it where a checkpoint is exact, saves, and
leaves by `Interrupted`. A second Ctrl-C ends at once, and the last checkpoint then is an older one,
exact as well. Handlers are inherited by forked loader workers, where they do nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

_log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """The run was stopped by a signal after its state was saved; the exit code is 128 + signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class StopSignals:
    """Listens between `install` and `restore`; `received` is the first signal's number, or None.

    Args:
        preemption: one more signal, which means what SIGTERM means.
    """

    def __init__(self, preemption: int | None = None) -> None:
        self._signals = (*_SIGNALS, *([] if preemption is None else [preemption]))
        self.received: int | None = None
        self._pid = os.getpid()
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Takes the handlers over; does nothing outside the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, self._handle) for number in self._signals
            }

    def restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return
        if self.received is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signum if signum in _SIGNALS else signal.SIGTERM
        _log.warning("stopping at the next step that can be saved; Ctrl-C again stops at once")
