"""`static`: a fixed number of steps, the same graph for every batch.

Rows that have ended still compute and are masked (what TensorFlow's `static_rnn` did), so every
batch costs `num_steps`. Longer input is refused. With `compile` the steps are compiled
(`torch.compile`), anew for every batch size: use it with batches of one size. Compiling takes about
a second a step, so a block of at most ten is compiled and repeated.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from seqloom.cells import Cell, State
from seqloom.errors import ConfigError
from seqloom.sequences import Padded
from seqloom.unrolling.memory import Memory

logger = logging.getLogger(__name__)

# Steps that are compiled together; more gain nothing, and compiling takes longer with each.
_BLOCK_STEPS = 10
# Layers, batch sizes, training or not: each is a graph of its own; beyond it nothing is compiled.
_MAX_GRAPHS = 64


class Static:
    """Any cell, at most `num_steps` steps; shorter batches are padded to it.

    Args:
        num_steps: the number of steps of the graph; checkpoint and swap round it up to segments of
            equal size.
        compile: compile the steps; the log says how long the first call of a graph took.
        memory: what is kept for the backward pass: keep, checkpoint or swap.
        num_segments: into how many segments checkpoint and swap cut time; None: about the root of
            `num_steps`.
    """

    def __init__(
        self,
        *,
        num_steps: int,
        compile: bool = False,
        memory: str = "keep",
        num_segments: int | None = None,
    ) -> None:
        if num_steps < 1:
            raise ConfigError(f"unrolling.num_steps={num_steps}", "needs a step", "set at least 1")
        self.num_steps = num_steps
        self._compile = compile
        self._memory = Memory(memory, num_segments)
        self._seen: set[tuple[object, ...]] = set()

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        longest = inputs.max_length
        if longest > self.num_steps:
            raise ConfigError(
                f"unrolling.num_steps={self.num_steps}",
                f"this batch has {longest} steps",
                f"set unrolling.num_steps={longest} or more, or unrolling=dynamic",
            )
        size = self._memory.segment_size(self.num_steps)
        num_steps = -(-self.num_steps // size) * size
        tail = [0, 0] * (inputs.values.ndim - 2) + [0, num_steps - longest]
        padded = inputs.with_values(F.pad(inputs.values, tail))
        outputs, final = self._memory.run(self._run, cell, padded, state)
        return inputs.with_values(outputs[:, :longest]), final

    def _run(self, cell: Cell, inputs: Padded, state: State) -> tuple[Tensor, State]:
        mask = inputs.mask()
        if not self._compile:
            return run_masked(cell, inputs.values, mask, state)
        size = -(-inputs.max_length // -(-inputs.max_length // _BLOCK_STEPS))
        outputs = []
        for values, real in zip(inputs.values.split(size, 1), mask.split(size, 1), strict=True):
            # Contiguous, so that every block has the same strides, and so the same graph.
            output, state = self._run_block(cell, values.contiguous(), real.contiguous(), state)
            outputs.append(output)
        return torch.cat(outputs, dim=1), state

    def _run_block(
        self, cell: Cell, values: Tensor, mask: Tensor, state: State
    ) -> tuple[Tensor, State]:
        graph = (type(cell), values.shape, values.dtype, cell.training, torch.is_grad_enabled())
        start = time.perf_counter()
        with torch._dynamo.config.patch(recompile_limit=_MAX_GRAPHS):
            result = _compiled()(cell, values, mask, state)
        if graph not in self._seen:
            self._seen.add(graph)
            logger.info(
                "unrolling=static: the first call of %d compiled steps of %s, %d rows, took %.1f s",
                values.shape[1],
                type(cell).__name__,
                values.shape[0],
                time.perf_counter() - start,
            )
        return result


Steps = Callable[[Cell, Tensor, Tensor, State], tuple[Tensor, State]]


def run_masked(cell: Cell, values: Tensor, mask: Tensor, state: State) -> tuple[Tensor, State]:
    """Every step of values [B, T, I, ...] for every row; mask [B, T]; outputs zero on padding."""
    outputs = []
    # One unbinding, not a slice a step: the gradient of a slice is as long as the whole.
    steps = zip(cell.project(values).unbind(dim=1), mask.unbind(dim=1), strict=True)
    for projected, real in steps:
        output, new = cell.advance(projected, state)
        state = tuple(
            torch.where(_over(real, fresh), fresh, old)
            for fresh, old in zip(new, state, strict=True)
        )
        outputs.append(torch.where(_over(real, output), output, 0))
    return torch.stack(outputs, dim=1), state


def _over(real: Tensor, values: Tensor) -> Tensor:
    """[B] as it broadcasts over [B, ...]."""
    return real.reshape(-1, *[1] * (values.ndim - 1))


@functools.cache
def _compiled() -> Steps:
    """Compiled once a process, for all cells: torch keeps a graph for each."""
    return torch.compile(run_masked, dynamic=False)
