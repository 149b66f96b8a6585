"""`fused`: the vendor's kernel over all steps at once (cuDNN, oneDNN), for the cells that have one.

Padded, not packed: buckets leave little padding, and on a CPU packing costs several times the
kernel.
"""

from __future__ import annotations

from seqloom.cells import Cell, FusedCell, State
from seqloom.errors import ConfigError
from seqloom.sequences import Padded


class Fused:
    """A cell with a vendor's kernel, any length."""

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        if not isinstance(cell, FusedCell):
            raise ConfigError(
                "unrolling=fused",
                f"no vendor has a kernel for {type(cell).__name__}",
                "use unrolling=dynamic, static or auto",
            )
        if inputs.max_length == 0 or inputs.batch_size == 0:
            outputs = state[0].new_zeros(*inputs.values.shape[:2], cell.hidden_size)
            return inputs.with_values(outputs), state
        values, final = cell.run(inputs, state)
        final = tuple(part.to(old.dtype) for part, old in zip(final, state, strict=True))
        return inputs.with_values(values).zeroed(), final
