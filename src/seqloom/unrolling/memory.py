"""What is kept for the backward pass: `keep`, `checkpoint` or `swap`.

    keep        everything, in memory
    checkpoint  the state at the start of each segment; a segment is computed again when its
                gradient is due (Chen et al. 2016): with sqrt(T) segments memory grows like sqrt(T)
    swap        everything, but a segment's part of it leaves the device's memory and comes back
                ahead of its use (`unrolling.swap`; what TensorFlow's `swap_memory` did)

One mechanism: time is cut into segments, the state is carried from one to the next, and each is run
by the same core. Price: `checkpoint` one more forward pass, `swap` the traffic; the numbers are
those of `keep`. Where no gradient is recorded there is nothing to save, and nothing is cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from seqloom.cells import Cell, State
from seqloom.errors import ConfigError
from seqloom.sequences import Padded
from seqloom.unrolling.base import Core
from seqloom.unrolling.swap import Swap

POLICIES = ("keep", "checkpoint", "swap")


@dataclass(frozen=True)
class Memory:
    """A policy and how finely it cuts.

    Attributes:
        policy: `keep`, `checkpoint` or `swap`.
        num_segments: into how many segments time is cut; None: about sqrt(T). At least one step is
            in each.
    """

    policy: str = "keep"
    num_segments: int | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ConfigError(
                f"unrolling.memory={self.policy}",
                "there is no such policy",
                f"set one of {', '.join(POLICIES)}",
            )
        if self.num_segments is None:
            return
        if self.num_segments < 1:
            raise ConfigError(
                f"unrolling.num_segments={self.num_segments}", "needs a segment", "set at least 1"
            )
        if self.policy == "keep":
            raise ConfigError(
                f"unrolling.num_segments={self.num_segments}",
                "unrolling.memory=keep cuts nothing",
                "set unrolling.memory=checkpoint or swap, or unrolling.num_segments=null",
            )

    def segment_size(self, num_steps: int) -> int:
        """Steps of a segment of `num_steps`; the last may be shorter."""
        if self.policy == "keep":
            return max(num_steps, 1)
        return math.ceil(num_steps / (self.num_segments or math.ceil(math.sqrt(num_steps) or 1)))

    def run(self, core: Core, cell: Cell, inputs: Padded, state: State) -> tuple[Tensor, State]:
        """`core` over `inputs`, under this policy."""
        num_steps = inputs.max_length
        if self.policy == "keep" or num_steps == 0 or not torch.is_grad_enabled():
            return core(cell, inputs, state)
        swap = Swap(cell, inputs.values.device) if self.policy == "swap" else None
        outputs, start = inputs.values.new_empty(0), 0
        # One split, not a slice a segment: the gradient of a slice is as long as the whole.
        for values in inputs.values.split(self.segment_size(num_steps), dim=1):
            segment = Padded(values, (inputs.lengths - start).clamp(0, values.shape[1]))
            if swap is None:
                output, state = checkpoint(core, cell, segment, state, use_reentrant=False)
            else:
                # A view of all time would take all of it along into the store.
                segment = segment.with_values(values.contiguous())
                with swap.segment():
                    output, state = core(cell, segment, state)
            if start == 0:
                outputs = output.new_empty(len(output), num_steps, *output.shape[2:])
            outputs = _Write.apply(outputs, output, start)
            start += values.shape[1]
        return outputs, state


class _Write(torch.autograd.Function):
    """Writes a segment's outputs [B, size, ...] into those of all time, in place.

    Unlike a concatenation at the end it never holds all outputs twice, and unlike an assignment it
    does not copy the gradient of all time for every segment.
    """

    @staticmethod
    def forward(ctx: Any, whole: Tensor, part: Tensor, start: int) -> Tensor:
        ctx.mark_dirty(whole)
        ctx.start, ctx.size = start, part.shape[1]
        whole[:, start : start + ctx.size] = part
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        # What was there before came from nowhere, so its gradient may be anything.
        return grad, grad.narrow(1, ctx.start, ctx.size), None
