"""`dynamic`: a loop to the longest length of this batch; a row that has ended costs nothing.

Rows are ordered by length, longest first, so the rows still running are always a prefix that
shrinks (what TensorFlow's `dynamic_rnn` did with copies through `where`). A `GatedCell` runs with
its hand-written derivative, any other through autograd. Price: a Python step per time step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqloom.cells.base import Cell, GatedCell, State
from seqloom.sequences import Padded
from seqloom.unrolling.base import no_outputs
from seqloom.unrolling.handwritten import run_handwritten
from seqloom.unrolling.memory import Memory


class Dynamic:
    """Any cell, any length.

    Args:
        memory: what is kept for the backward pass: keep, checkpoint or swap.
        num_segments: into how many segments checkpoint and swap cut time; None: about sqrt(T).
    """

    def __init__(self, *, memory: str = "keep", num_segments: int | None = None) -> None:
        self._memory = Memory(memory, num_segments)

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        lengths, order = torch.sort(inputs.lengths, descending=True, stable=True)
        if torch.equal(lengths, inputs.lengths):
            outputs, final = self._memory.run(run_sorted, cell, inputs, state)
            return inputs.with_values(outputs), final
        there = order.to(inputs.values.device)
        back = torch.argsort(there)
        ordered = Padded(inputs.values.index_select(0, there), lengths)
        state = tuple(part.index_select(0, there) for part in state)
        outputs, final = self._memory.run(run_sorted, cell.for_rows(there), ordered, state)
        final = tuple(part.index_select(0, back) for part in final)
        return inputs.with_values(outputs.index_select(0, back)), final


def run_sorted(cell: Cell, inputs: Padded, state: State) -> tuple[Tensor, State]:
    """Rows that are sorted by length, longest first; outputs zero beyond a length."""
    if isinstance(cell, GatedCell):
        return run_handwritten(cell, inputs, state)
    return run_prefixes(cell, inputs, state)


def run_prefixes(cell: Cell, inputs: Padded, state: State) -> tuple[Tensor, State]:
    """The loop through autograd; rows and outputs as for `run_sorted`."""
    num_steps = int(inputs.lengths[:1].sum())  # the longest row is the first
    if num_steps == 0:
        return no_outputs(cell, inputs, state), state
    steps = torch.arange(num_steps).unsqueeze(1)
    num_active = (inputs.lengths > steps).sum(dim=1).tolist()
    projected = cell.project(inputs.values[:, :num_steps]).unbind(dim=1)
    outputs: list[Tensor] = []
    ended: list[State] = []  # the final states of rows that have ended, the shortest rows first
    for count, projected_step in zip(num_active, projected, strict=True):
        if count < len(state[0]):
            ended.append(tuple(part[count:] for part in state))
            state = tuple(part[:count] for part in state)
        output, state = cell.advance(projected_step[:count], state)
        padding = output.new_zeros(inputs.batch_size - count, *output.shape[1:])
        outputs.append(torch.cat([output, padding]) if len(padding) else output)
    silence = outputs[0].new_zeros(outputs[0].shape)
    outputs.extend([silence] * (inputs.max_length - num_steps))
    parts = zip(state, *reversed(ended), strict=True)
    return torch.stack(outputs, dim=1), tuple(torch.cat(part) for part in parts)
