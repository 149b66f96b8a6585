"""`Wavefront`: the layers of a stack at work at the same time, each a chunk of time behind the one
below it.

The idea: layer l needs of the layer below it only the steps that it reads, so while it runs over
chunk c the one below is already at chunk c + 1. Time is cut into chunks, rows into micro-batches;
each layer carries its states from chunk to chunk. With the layers on devices of their own the work
of a tick overlaps by itself, since a GPU is only told what to do; on one device nothing is gained.
Price: smaller products, and of N layers' devices some wait in the first and the last N - 1 ticks.
What a layer draws once for a sequence is drawn once; dropout that is drawn anew for each element is
drawn chunk by chunk, so it is another draw than without chunks. Layers that read both ways need
the whole sequence: up to the highest of them, all run layer by layer.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqloom.cells import State
from seqloom.errors import ConfigError
from seqloom.layers.recurrent import LayerByLayer, RecurrentLayer, RecurrentStack
from seqloom.sequences import Padded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """What is done without a break: one layer over one piece.

    Attributes:
        place: of the layer, the lowest being 0.
        chunk, micro_batch: which steps and which rows.
    """

    place: int
    chunk: int
    micro_batch: int


@dataclass(frozen=True)
class Piece:
    """Some rows over some steps: what they read, and what lies beside it."""

    inputs: Padded
    side: Tensor | None


@dataclass
class Wavefront:
    """A `LayerSchedule`.

    Args:
        num_chunks: into how many slices time is cut, at least 1; no more than there are steps.
        num_micro_batches: into how many slices the rows are cut, at least 1; no more than there
            are rows.
        observe: told of each unit and its tick, in the order in which they are begun.
    """

    num_chunks: int = 1
    num_micro_batches: int = 1
    observe: Callable[[int, Unit], None] | None = None
    _told: set[int] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("num_chunks", "num_micro_batches"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"strategy.{name}={getattr(self, name)}", "is no number of slices", "set >= 1"
                )

    def __call__(
        self,
        stack: RecurrentStack,
        inputs: Padded,
        states: Sequence[State],
        side: Tensor | None = None,
    ) -> tuple[Padded, list[State]]:
        """See `RecurrentStack.forward`."""
        num_layers, start = len(stack.layers), _num_leading(stack)
        if start == num_layers > 1:
            self._tell_nothing_overlaps(stack)
        if start == num_layers or inputs.batch_size == 0 or inputs.max_length == 0:
            return LayerByLayer()(stack, inputs, states, side)
        stack, finals = stack.for_sequence(inputs.batch_size), []
        for place in range(start):
            inputs, final = stack.run_layer(place, inputs, states[place], side)
            finals.append(final)
        outputs, others = self._run(stack, start, inputs, states, side)
        return outputs, [*finals, *others]

    def run_tick(self, tick: int, units: Sequence[Unit], work: Callable[[Unit], None]) -> None:
        """Units that need nothing of each other. On GPUs `work` comes back before it is done, so
        that they overlap; threads on a CPU gave no clear gain (scripts/benchmark_wavefront.py)."""
        for unit in units:
            if self.observe is not None:
                self.observe(tick, unit)
            work(unit)

    def _run(
        self,
        stack: RecurrentStack,
        start: int,
        inputs: Padded,
        states: Sequence[State],
        side: Tensor | None,
    ) -> tuple[Padded, list[State]]:
        """The layers from `start` on, in ticks; the noise of `stack` is drawn."""
        size = math.ceil(inputs.batch_size / self.num_micro_batches)
        rows = torch.arange(inputs.batch_size).split(size)
        pieces = _cut(inputs, side, rows, self.num_chunks)
        places = range(start, len(stack.layers))
        views = {(p, m): stack.for_slices(rows[m]) for p in places for m in range(len(rows))}
        carried = {
            (place, number): state
            for place in places
            for number, state in enumerate(
                zip(*(part.split(size) for part in states[place]), strict=True)
            )
        }
        passed = {key: piece.inputs for key, piece in pieces.items()}

        def work(unit: Unit) -> None:
            key, piece = (unit.place, unit.micro_batch), (unit.chunk, unit.micro_batch)
            passed[piece], carried[key] = views[key].run_layer(
                unit.place, passed[piece], carried[key], pieces[piece].side
            )

        order = ticks(places, len(pieces) // len(rows), len(rows))
        for tick, units in itertools.groupby(order, key=lambda each: each[0]):
            self.run_tick(tick, [unit for _, unit in units], work)
        finals = [
            _stacked([carried[place, number] for number in range(len(rows))]) for place in places
        ]
        return inputs.with_values(_join(passed, len(rows))), finals

    def _tell_nothing_overlaps(self, stack: RecurrentStack) -> None:
        if id(stack) not in self._told:
            self._told.add(id(stack))
            logger.info("wavefront: all layers of a stack read both ways, so none can overlap")


def ticks(places: range, num_chunks: int, num_micro_batches: int) -> Iterator[tuple[int, Unit]]:
    """All units with the tick in which each is run. In one tick every layer has at most one unit,
    and none needs another of the same tick."""
    num_pieces = num_chunks * num_micro_batches
    for tick in range(num_pieces + len(places) - 1):
        # The highest first: it was given its piece a tick ago.
        for depth in reversed(range(len(places))):
            if 0 <= tick - depth < num_pieces:
                chunk, micro_batch = divmod(tick - depth, num_micro_batches)
                yield tick, Unit(places[depth], chunk, micro_batch)


def _num_leading(stack: RecurrentStack) -> int:
    """Layers up to the highest that reads both ways."""
    both_ways = [
        place
        for place, layer in enumerate(stack.layers)
        if isinstance(layer, RecurrentLayer) and len(layer.cells) > 1
    ]
    return max(both_ways, default=-1) + 1


def _cut(
    inputs: Padded, side: Tensor | None, rows: Sequence[Tensor], num_chunks: int
) -> dict[tuple[int, int], Piece]:
    """Pieces by chunk and micro-batch."""
    size = math.ceil(inputs.max_length / num_chunks)
    pieces = {}
    # One split, not a slice a piece: the gradient of a slice is as long as the whole.
    num_rows = [len(each) for each in rows]
    sides = [None] * len(rows) if side is None else side.split(num_rows)
    for number, values in enumerate(inputs.values.split(num_rows)):
        lengths, beside = inputs.lengths[rows[number]], sides[number]
        chunks = values.split(size, dim=1)
        besides = [None] * len(chunks) if beside is None else beside.split(size, dim=1)
        for chunk, (steps, there) in enumerate(zip(chunks, besides, strict=True)):
            here = (lengths - chunk * size).clamp(0, steps.shape[1])
            pieces[chunk, number] = Piece(Padded(steps, here), there)
    return pieces


def _stacked(states: Sequence[State]) -> State:
    """States of all rows."""
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))


def _join(passed: dict[tuple[int, int], Padded], num_micro_batches: int) -> Tensor:
    num_chunks = len(passed) // num_micro_batches
    return torch.cat(
        [
            torch.cat([passed[chunk, number].values for chunk in range(num_chunks)], dim=1)
            for number in range(num_micro_batches)
        ]
    )
