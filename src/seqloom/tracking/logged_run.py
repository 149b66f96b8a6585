"""`LoggedRun`: what a logger must know of the run it logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seqloom.runs import RunFolder


@dataclass(frozen=True)
class LoggedRun:
    """A run as its loggers see it.

    Attributes:
        folder: where it writes.
        config: the resolved config, plain values.
        is_resumed: it goes on from a checkpoint.
    """

    folder: RunFolder
    config: dict[str, Any]
    is_resumed: bool = False
