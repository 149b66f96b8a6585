"""`dynamic`: a loop to the longest length of this batch; a row that has ended costs nothing.

Rows are ordered by length, longest first, so the rows still running are always a prefix that
shrinks (what TensorFlow's `dynamic_rnn` did with copies through `where`). Price: a Python step per
time step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqloom.cells import Cell, State
from seqloom.sequences import Padded


class Dynamic:
    """Any cell, any length."""

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        order = torch.argsort(inputs.lengths, descending=True, stable=True)
        ordered = inputs.select(order)
        device = inputs.values.device
        state = tuple(part[order.to(device)] for part in state)
        outputs, state = run_prefixes(cell, ordered, state)
        back = torch.argsort(order).to(device)
        return inputs.with_values(outputs[back]), tuple(part[back] for part in state)


def run_prefixes(cell: Cell, inputs: Padded, state: State) -> tuple[Tensor, State]:
    """The loop over rows that are sorted by length, longest first; outputs [B, T, H], zero beyond
    a length."""
    steps = torch.arange(inputs.max_length).unsqueeze(1)
    num_active = (inputs.lengths > steps).sum(dim=1).tolist()
    projected = cell.project(inputs.values)
    batch_size, size = inputs.batch_size, cell.hidden_size
    outputs: list[Tensor] = []
    ended: list[State] = []  # the final states of rows that have ended, the shortest rows first
    for step, count in enumerate(num_active):
        if count == 0:
            break
        if count < len(state[0]):
            ended.append(tuple(part[count:] for part in state))
            state = tuple(part[:count] for part in state)
        output, state = cell.step(projected[:count, step], state)
        padding = output.new_zeros(batch_size - count, size)
        outputs.append(torch.cat([output, padding]) if count < batch_size else output)
    missing = inputs.max_length - len(outputs)
    outputs.extend(state[0].new_zeros(batch_size, size) for _ in range(missing))
    parts = zip(state, *reversed(ended), strict=True)
    stacked = torch.stack(outputs, dim=1) if outputs else state[0].new_zeros(batch_size, 0, size)
    return stacked, tuple(torch.cat(part) for part in parts)
