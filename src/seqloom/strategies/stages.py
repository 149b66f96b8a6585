"""A stage of a pipeline: some layers of a stack, with what lies before the lowest and behind the
highest one.

The idea: every stage computes the learner's own loss of a micro-batch, and the cut goes through the
stack alone. There a stage starts from what the one below it handed on, runs its own layers, and
leaves the computation unless it is the last one; so no topology and no learner knows of stages.
What is handed on is one float32 tensor [rows, width]: a row's outputs, then its final states of
the layers so far, which pooling and bridges read. The price: what lies before the stack is computed
by every stage, for its shapes, and differentiated by the first one only. Refuses a model that runs
its stack twice, since what lies between the two runs would have to go back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells import State
from seqloom.data.batch import Batch
from seqloom.errors import ConfigError
from seqloom.layers.outputs import TokenLoss
from seqloom.layers.recurrent import LayerByLayer, RecurrentLayer, RecurrentStack
from seqloom.sequences import Padded

Loss = Callable[[Batch], TokenLoss]


class StageEnd(Exception):
    """Leaves a computation whose rest is another stage's; `packed` [B, D] is handed on to it."""

    def __init__(self, packed: Tensor) -> None:
        super().__init__("another stage goes on from here")
        self.packed = packed


class StageLayers:
    """The layers `first` to `end` - 1 (the lowest is 0) of a stack of `num_layers`; a
    `LayerSchedule`.

    Attributes:
        received: [rows, width] from the stage below; None on the first stage.
    """

    def __init__(self, first: int, end: int, *, is_last: bool) -> None:
        self.first, self.end, self.is_last = first, end, is_last
        self.received: Tensor | None = None

    def __call__(
        self, stack: RecurrentStack, inputs: Padded, states: Sequence[State], side: Tensor | None
    ) -> tuple[Padded, list[State]]:
        """See `LayerSchedule`. Raises StageEnd where a stage follows."""
        finals: list[State] = []
        if self.received is not None:
            inputs, finals = unpack(self.received, stack, self.first, inputs, states)
        for place in range(self.first, self.end):
            inputs, final = stack.run_layer(place, inputs, states[place], side)
            finals.append(final)
        if not self.is_last:
            raise StageEnd(pack(inputs, finals))
        return inputs, finals


class Stage(nn.Module):
    """What one process computes of each micro-batch, as `torch.distributed.pipelining` calls it.

    Args:
        layers: this stage's.

    Attributes:
        told: on the last stage the sums of each micro-batch of this step.
    """

    def __init__(self, layers: StageLayers) -> None:
        super().__init__()
        self.layers = layers
        self.told: list[TokenLoss] = []
        self._loss: Loss | None = None
        self._batch: Batch | None = None
        self._shape = (0, 0)

    def begin(self, loss: Loss, batch: Batch, shape: tuple[int, int]) -> None:
        """Begins a step over `batch`, whose `loss` runs the stack that `layers` schedules; every
        micro-batch hands on a tensor of `shape` [rows, width]."""
        self._loss, self._batch, self._shape = loss, batch, shape
        self.told = []

    def forward(self, *received: Tensor, rows: Tensor) -> Tensor:
        """The micro-batch of `rows` [B]: what is handed on [rows, width], filled up with zeros, or
        on the last stage the loss []."""
        assert self._loss is not None
        assert self._batch is not None
        self.layers.received = received[0] if received else None
        try:
            loss = self._loss(self._batch.select(rows))
        except StageEnd as end:
            num_rows, width = end.packed.shape
            return F.pad(end.packed, (0, self._shape[1] - width, 0, self._shape[0] - num_rows))
        self.told.append(TokenLoss(loss.loss.detach(), loss.nll, loss.num_tokens))
        return loss.loss


class Probe:
    """Looks at what reaches a stack; a `LayerSchedule`.

    Args:
        cuts: numbers of layers, after each of which a stage ends.
        stops: leaves the computation at the stack, which a model may then run once more unseen.

    Attributes:
        widths: of what is handed on after each cut.
        num_calls: how often the stack was run.
    """

    def __init__(self, cuts: Sequence[int], *, stops: bool) -> None:
        self.cuts, self.stops = cuts, stops
        self.widths: tuple[int, ...] = ()
        self.num_calls = 0

    def __call__(
        self, stack: RecurrentStack, inputs: Padded, states: Sequence[State], side: Tensor | None
    ) -> tuple[Padded, list[State]]:
        """See `LayerSchedule`. Raises StageEnd where it `stops`."""
        self.num_calls += 1
        self.widths = tuple(
            sum(math.prod(shape) for shape in handed_on(stack, cut, inputs, states))
            for cut in self.cuts
        )
        if self.stops:
            raise StageEnd(inputs.values)
        return LayerByLayer()(stack, inputs, states, side)


def handed_on(
    stack: RecurrentStack, cut: int, inputs: Padded, states: Sequence[State]
) -> list[tuple[int, ...]]:
    """Shapes of what a row hands on after `cut` layers, given what the stack reads: its outputs,
    and each part of its final states."""
    highest = stack.layers[cut - 1]
    assert isinstance(highest, RecurrentLayer)
    outputs = (inputs.max_length, highest.output_size, *inputs.values.shape[3:])
    return [outputs, *(tuple(part.shape[1:]) for state in states[:cut] for part in state)]


def pack(outputs: Padded, finals: Sequence[State]) -> Tensor:
    """Outputs [B, T, ...] and states as one tensor [B, D], float32."""
    parts = [outputs.values, *(part for state in finals for part in state)]
    return torch.cat([part.flatten(1).float() for part in parts], dim=1)


def unpack(
    packed: Tensor, stack: RecurrentStack, cut: int, inputs: Padded, states: Sequence[State]
) -> tuple[Padded, list[State]]:
    """What was packed after `cut` layers, perhaps filled up to [rows, width], given what the stack
    reads here."""
    shapes = handed_on(stack, cut, inputs, states)
    sizes = [math.prod(shape) for shape in shapes]
    pieces = packed[: inputs.batch_size, : sum(sizes)].split(sizes, dim=1)
    parts = [
        piece.reshape(inputs.batch_size, *shape)
        for piece, shape in zip(pieces, shapes, strict=True)
    ]
    rest = iter(parts[1:])
    finals = [tuple(next(rest).to(part.dtype) for part in state) for state in states[:cut]]
    return inputs.with_values(parts[0]), finals


def find_stack(model: nn.Module) -> RecurrentStack:
    """The first stack of layers of a model, which reads its source. Raises ConfigError where there
    is none."""
    for module in model.modules():
        if isinstance(module, RecurrentStack) and len(module.layers):
            return module
    raise ConfigError(
        "strategy=pipeline", "this model has no recurrent layers to cut between", "use strategy=ddp"
    )


def cuts_of(model: nn.Module, stack: RecurrentStack, num_stages: int) -> list[int]:
    """After how many layers each stage but the last one ends, so that the largest stage is as small
    as can be, by parameters that are multiplied with (not looked up).

    Raises ConfigError where there are more stages than layers and what lies behind them.
    """
    num_layers = len(stack.layers)
    if num_stages > num_layers + 1:
        raise ConfigError(
            f"trainer.devices={num_stages}",
            f"the model's first stack has {num_layers} layers, and what lies behind them is one "
            "stage more",
            f"use at most {num_layers + 1}, or more layers",
        )
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    costs = [_num_parameters(layer, looked_up) for layer in stack.layers]
    behind = _num_parameters(model, looked_up) - sum(costs)

    def largest(cuts: Iterable[int]) -> int:
        ends = [0, *cuts, num_layers]
        stages = [sum(costs[first:end]) for first, end in itertools.pairwise(ends)]
        return max([*stages[:-1], stages[-1] + behind])

    places = range(1, num_layers + 1)
    return list(min(itertools.combinations(places, num_stages - 1), key=largest))


def check_cuts(cuts: Sequence[int], num_stages: int, stack: RecurrentStack) -> None:
    """Raises ConfigError for cuts that do not make `num_stages` of the stack's layers."""
    num_layers = len(stack.layers)
    if len(cuts) != num_stages - 1 or cuts[-1] > num_layers:
        raise ConfigError(
            f"strategy.cut={list(cuts)}",
            f"{num_stages} processes need {num_stages - 1} of the numbers 1 to {num_layers}",
            "write as many, or auto",
        )


def _num_parameters(module: nn.Module, but: set[int]) -> int:
    return sum(p.numel() for p in module.parameters() if id(p) not in but)
