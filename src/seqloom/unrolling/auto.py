"""`auto`: the fastest unrolling that the cell allows; the log says once which and why.

The vendor's kernel where the cell has one, else a scan where its recurrence is linear, else the
loop. Noise inside a step (recurrent dropout, zoneout) leaves only the loop.
"""

from __future__ import annotations

import logging

from seqloom.cells import Cell, State
from seqloom.sequences import Padded
from seqloom.unrolling.base import Unrolling, possible
from seqloom.unrolling.dynamic import Dynamic
from seqloom.unrolling.fused import Fused
from seqloom.unrolling.scan import Scan

logger = logging.getLogger(__name__)

_REASONS = {"fused": "it has a vendor's kernel", "scan": "its recurrence is linear"}


class Auto:
    """Any cell, any length.

    Args:
        memory: what is kept for the backward pass: keep, checkpoint or swap.
        num_segments: into how many segments checkpoint and swap cut time; None: about sqrt(T).
    """

    def __init__(self, *, memory: str = "keep", num_segments: int | None = None) -> None:
        self._unrollings: dict[str, Unrolling] = {
            "fused": Fused(memory=memory, num_segments=num_segments),
            "scan": Scan(memory=memory, num_segments=num_segments),
            "dynamic": Dynamic(memory=memory, num_segments=num_segments),
        }
        self._told: set[tuple[type, str]] = set()

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        name = possible(cell)[0]
        if (type(cell), name) not in self._told:
            self._told.add((type(cell), name))
            why = _REASONS.get(name, "it is not linear and has no vendor's kernel")
            if not cell.is_plain:
                why = "noise acts inside its steps"
            logger.info("unrolling=auto runs %s as %s: %s", type(cell).__name__, name, why)
        return self._unrollings[name](cell, inputs, state)
