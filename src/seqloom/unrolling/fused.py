"""`fused`: the vendor's kernel over all steps at once (cuDNN, oneDNN), for the cells that have one.

Padded on every device, not packed: buckets leave little padding, on a CPU packing costs several
times the kernel, and the state of each row's last real step is exact without it (`FusedCell.run`).
Refused where there is no kernel, or where noise acts inside a step, which no kernel knows.
"""

from __future__ import annotations

from torch import Tensor

from seqloom.cells import Cell, FusedCell, State
from seqloom.sequences import Padded
from seqloom.unrolling.base import impossible, no_outputs
from seqloom.unrolling.memory import Memory


class Fused:
    """A cell with a vendor's kernel, any length.

    Args:
        memory: what is kept for the backward pass: keep, checkpoint or swap.
        num_segments: into how many segments checkpoint and swap cut time; None: about sqrt(T).
    """

    def __init__(self, *, memory: str = "keep", num_segments: int | None = None) -> None:
        self._memory = Memory(memory, num_segments)

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        if not isinstance(cell, FusedCell):
            raise impossible("fused", "has no vendor's kernel", cell)
        if not cell.is_plain:
            raise impossible("fused", "has noise inside its steps, which no kernel knows", cell)
        values, final = self._memory.run(run_kernel, cell, inputs, state)
        return inputs.with_values(values).zeroed(), final


def run_kernel(cell: Cell, inputs: Padded, state: State) -> tuple[Tensor, State]:
    """All steps in one call, the state in the dtype in which it came."""
    assert isinstance(cell, FusedCell)
    if inputs.max_length == 0 or inputs.batch_size == 0:
        return no_outputs(cell, inputs, state), state
    values, final = cell.run(inputs, state)
    return values, tuple(part.to(old.dtype) for part, old in zip(final, state, strict=True))
