"""What an unrolling is: a cell over time. It knows lengths and steps, and nothing of the cell's
mathematics.

The law all of them obey: outputs beyond a row's length are zero, the final state is the state
after the row's last real step, a row of length 0 keeps its initial state, and the numbers do not
depend on which one is chosen.
"""

from __future__ import annotations

from typing import Protocol

from seqloom.cells import Cell, State
from seqloom.sequences import Padded


class Unrolling(Protocol):
    """Runs a cell over a batch of sequences."""

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        """Inputs [B, T, I] and state (parts [B, H]) -> outputs [B, T, H] and the final state."""
        ...
