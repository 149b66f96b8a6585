"""What an unrolling is: a cell over time. It knows lengths and steps, and nothing of the cell's
mathematics.

The law all of them obey: outputs beyond a row's length are zero, the final state is the state
after the row's last real step, a row of length 0 keeps its initial state, and the numbers depend
neither on which one is chosen nor on what it keeps in memory for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from seqloom.cells.base import Cell, FusedCell, ScanCell, State
from seqloom.errors import ConfigError
from seqloom.sequences import Padded

# The inside of an unrolling: outputs [B, T, output_size, ...] (unspecified beyond a length) and the
# state after each row's last real step.
Core = Callable[[Cell, Padded, State], tuple[Tensor, State]]


class Unrolling(Protocol):
    """Runs a cell over a batch of sequences."""

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        """Inputs [B, T, I, ...] and state (parts [B, size, ...]) -> outputs [B, T, output_size,
        ...] and the final state. T and B may be 0."""
        ...


def possible(cell: Cell) -> list[str]:
    """Names of the unrollings that `cell` allows as it is, the fastest first.

    Noise inside a step forbids what does not compute step by step.
    """
    names = []
    if cell.is_plain and isinstance(cell, FusedCell):
        names.append("fused")
    if cell.is_plain and isinstance(cell, ScanCell) and cell.is_linear:
        names.append("scan")
    return [*names, "dynamic", "static"]


def impossible(name: str, why: str, cell: Cell) -> ConfigError:
    """The error of an unrolling that `cell` does not allow; it lists the others."""
    return ConfigError(
        f"unrolling={name}",
        f"{type(cell).__name__} {why}",
        f"use unrolling={', '.join(possible(cell))} or auto",
    )


def no_outputs(cell: Cell, inputs: Padded, state: State) -> Tensor:
    """Outputs where no step is real: zeros [B, T, output_size, ...]."""
    batch_size, num_steps = inputs.values.shape[:2]
    return state[0].new_zeros(batch_size, num_steps, cell.output_size, *state[0].shape[2:])
