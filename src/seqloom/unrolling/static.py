"""`static`: a fixed number of steps, the same graph for every batch.

Rows that have ended still compute and are masked (what TensorFlow's `static_rnn` did), so every
batch costs `num_steps`. Longer input is refused.
"""

from __future__ import annotations

import torch

from seqloom.cells import Cell, State
from seqloom.errors import ConfigError
from seqloom.sequences import Padded


class Static:
    """Any cell, at most `num_steps` steps; shorter batches are padded to it.

    Args:
        num_steps: the number of steps of the graph.
    """

    def __init__(self, *, num_steps: int) -> None:
        if num_steps < 1:
            raise ConfigError(f"unrolling.num_steps={num_steps}", "needs a step", "set at least 1")
        self.num_steps = num_steps

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        longest = inputs.max_length
        if longest > self.num_steps:
            raise ConfigError(
                f"unrolling.num_steps={self.num_steps}",
                f"this batch has {longest} steps",
                f"set unrolling.num_steps={longest} or more, or unrolling=dynamic",
            )
        padding = inputs.values.new_zeros(
            inputs.batch_size, self.num_steps - longest, *inputs.values.shape[2:]
        )
        padded = inputs.with_values(torch.cat([inputs.values, padding], dim=1))
        mask = padded.mask()
        projected = cell.project(padded.values)
        outputs = []
        for step in range(self.num_steps):
            real = mask[:, step, None]
            output, new_state = cell.step(projected[:, step], state)
            state = tuple(
                torch.where(real, new, old) for new, old in zip(new_state, state, strict=True)
            )
            outputs.append(output.masked_fill(~real, 0))
        return inputs.with_values(torch.stack(outputs, dim=1)[:, :longest]), state
