"""One process's stage of a model, run over the micro-batches of each batch.

The idea: `torch.distributed.pipelining` wants to know beforehand what travels, and batches differ
in length; so a look at one example, without gradients and up to the stack, tells the width of what
is handed on, and a schedule is made for each shape. Micro-batches have nearly the same number of
rows, and what is handed on is filled up, never the batch, so no loss counts a row that is not
there. The price: that look, for each new shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

import torch
from torch import Tensor
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from seqloom.data.batch import Batch
from seqloom.errors import ConfigError
from seqloom.layers.outputs import TokenLoss
from seqloom.layers.recurrent import LayerByLayer, LayerSchedule, RecurrentStack
from seqloom.sequences import Padded
from seqloom.strategies.stages import Loss, Probe, Stage, StageEnd, StageLayers

# Shapes of micro-batches whose buffers are kept.
_NUM_SHAPES = 8


class StageRunner:
    """The stage `number` (the first is 0) of a stack that is cut.

    Args:
        stack: of this process's whole model.
        cuts: after how many layers each stage but the last ends.
        device: of this process.
        num_micro_batches: parts of a batch with at least as many rows.
        one_by_one: by 1F1B instead of GPipe, where there are as many parts as stages.
    """

    def __init__(
        self,
        stack: RecurrentStack,
        cuts: list[int],
        number: int,
        *,
        device: torch.device,
        num_micro_batches: int,
        one_by_one: bool,
    ) -> None:
        self._stack, self._cuts, self._number, self._device = stack, cuts, number, device
        self._num_micro_batches, self._one_by_one = num_micro_batches, one_by_one
        self._num_stages = len(cuts) + 1
        ends = [0, *cuts, len(stack.layers)]
        self._is_last = number == len(cuts)
        self._layers = StageLayers(ends[number], ends[number + 1], is_last=self._is_last)
        self._stage = Stage(self._layers)
        self._widths: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._schedule_of = lru_cache(maxsize=_NUM_SHAPES)(self._make_schedule)

    def run(self, loss: Loss, batch: Batch) -> list[TokenLoss]:
        """Forward and back, which adds to the gradients of this stage's parameters; called by all
        processes. Returns the sums of each micro-batch on the last stage, else nothing.

        Raises ConfigError where `loss` does not run the stack exactly once.
        """
        rows = torch.arange(len(batch.index))
        num_parts = min(self._num_micro_batches, len(rows))
        num_rows = -(-len(rows) // num_parts)
        widths = self._widths_of(loss, batch)
        schedule = self._schedule_of(num_parts, num_rows, widths)
        own_width = 0 if self._is_last else widths[self._number]
        self._stage.begin(loss, batch, (num_rows, own_width))
        with self._scheduled(self._layers):
            schedule.step(rows=rows, target=rows, return_outputs=False)
        return self._stage.told

    def _widths_of(self, loss: Loss, batch: Batch) -> tuple[int, ...]:
        """Of what each stage but the last hands on, from a look at the longest example; the first
        look also sees whether the stack is run once."""
        key, longest = _shape_of(batch)
        if key not in self._widths:
            probe = Probe(self._cuts, stops=bool(self._widths))
            devices = [self._device] if self._device.type == "cuda" else []
            with (
                torch.random.fork_rng(devices),
                torch.no_grad(),
                self._scheduled(probe),
                suppress(StageEnd),
            ):
                loss(batch.select(longest))
            if probe.num_calls != 1:
                raise ConfigError(
                    "strategy=pipeline",
                    f"this model runs the stack that would be cut {probe.num_calls} times a batch",
                    "use strategy=ddp",
                )
            self._widths[key] = probe.widths
        return self._widths[key]

    @contextmanager
    def _scheduled(self, schedule: LayerSchedule) -> Iterator[None]:
        """The stack is run by `schedule` for a while."""
        self._stack.schedule = schedule
        try:
            yield
        finally:
            self._stack.schedule = LayerByLayer()

    def _make_schedule(
        self, num_parts: int, num_rows: int, widths: tuple[int, ...]
    ) -> Schedule1F1B | ScheduleGPipe:
        """For `num_parts` micro-batches of at most `num_rows` rows. Called by all processes."""
        handed = [
            torch.empty(num_rows, width, device="meta", requires_grad=True) for width in widths
        ]
        loss = torch.empty((), device="meta", requires_grad=True)
        stage = PipelineStage(
            self._stage,
            self._number,
            self._num_stages,
            self._device,
            input_args=() if self._number == 0 else (handed[self._number - 1],),
            output_args=(loss,) if self._is_last else (handed[self._number],),
        )
        one_by_one = self._one_by_one and num_parts >= self._num_stages
        kind = Schedule1F1B if one_by_one else ScheduleGPipe
        return kind(stage, num_parts, loss_fn=_as_it_is, scale_grads=False)


def _shape_of(batch: Batch) -> tuple[tuple[int, ...], Tensor]:
    """What the width of a row depends on, and the row [1] with the longest source, or target."""
    key: list[int] = []
    longest = torch.zeros(1, dtype=torch.int64)
    for side in (batch.target, batch.source):
        if isinstance(side, Padded):
            key += [*side.values.shape[1:], int(side.lengths.max())]
            longest = side.lengths.argmax(dim=0, keepdim=True)
        else:
            key += side.shape[1:]
    return tuple(key), longest


def _as_it_is(output: Tensor, target: Tensor) -> Tensor:
    """The last stage gives the loss already."""
    return output
