"""`scan`: a linear recurrence over all steps at once, by a parallel prefix scan, for the cells
whose state enters their recurrence linearly (`ScanCell`).

Price: nothing may act inside a step, so noise there is refused, as is a cell that an option makes
non-linear.
"""

from __future__ import annotations

from torch import Tensor

from seqloom.cells import Cell, ScanCell, State
from seqloom.sequences import Padded
from seqloom.unrolling.base import impossible, no_outputs
from seqloom.unrolling.memory import Memory


class Scan:
    """A cell that is linear in its state, any length.

    Args:
        memory: what is kept for the backward pass: keep, checkpoint or swap.
        num_segments: into how many segments checkpoint and swap cut time; None: about sqrt(T).
    """

    def __init__(self, *, memory: str = "keep", num_segments: int | None = None) -> None:
        self._memory = Memory(memory, num_segments)

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        if not isinstance(cell, ScanCell):
            raise impossible("scan", "is not linear in its state", cell)
        if not cell.is_linear:
            raise impossible("scan", "is made non-linear in its state by an option", cell)
        if not cell.is_plain:
            raise impossible("scan", "has noise inside its steps, which no scan knows", cell)
        values, final = self._memory.run(run_scan, cell, inputs, state)
        return inputs.with_values(values).zeroed(), final


def run_scan(cell: Cell, inputs: Padded, state: State) -> tuple[Tensor, State]:
    """All steps in one call, the state in the dtype in which it came."""
    assert isinstance(cell, ScanCell)
    if inputs.max_length == 0 or inputs.batch_size == 0:
        return no_outputs(cell, inputs, state), state
    values, final = cell.scan(inputs, state)
    return values, tuple(part.to(old.dtype) for part, old in zip(final, state, strict=True))
