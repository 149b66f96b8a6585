"""`auto`: the fastest unrolling that the cell allows, said once in the log."""

from __future__ import annotations

import logging

from seqloom.cells import Cell, FusedCell, State
from seqloom.sequences import Padded
from seqloom.unrolling.base import Unrolling
from seqloom.unrolling.dynamic import Dynamic
from seqloom.unrolling.fused import Fused

logger = logging.getLogger(__name__)


class Auto:
    """`fused` where the cell has a vendor's kernel, else `dynamic`."""

    def __init__(self) -> None:
        self._told: set[type] = set()

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        fused = isinstance(cell, FusedCell)
        if type(cell) not in self._told:
            self._told.add(type(cell))
            why = "it has a vendor's kernel" if fused else "it has no vendor's kernel"
            name = "fused" if fused else "dynamic"
            logger.info("unrolling=auto runs %s as %s: %s", type(cell).__name__, name, why)
        unrolling: Unrolling = Fused() if fused else Dynamic()
        return unrolling(cell, inputs, state)
