"""Stacks of recurrent layers around any cell and unrolling: directions, connections, norms, noise.

The idea: a layer turns one cell, or one for each direction, into a map of whole sequences, and a
stack decides what lies between two layers. Both exist twice, over sequences and as a single step,
and a test holds the two together. States of two directions lie side by side. Refuses a step of a
layer that reads both ways.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from seqloom.cells import Cell, State
from seqloom.cells.noise import Noise
from seqloom.errors import ConfigError
from seqloom.layers.dropout import SequenceDropout
from seqloom.sequences import Padded
from seqloom.unrolling import Unrolling

CONNECTIONS = ("none", "residual", "highway")
BIDIRECTIONAL_LAYERS = ("all", "first")
# First bias of highway gates: a new layer hands on most of what it reads (Srivastava et al. 2015).
_GATE_BIAS = -1.0


class CellRecipe(Protocol):
    """What `cell=` gives: a cell that still lacks its sizes."""

    def __call__(self, *, input_size: int, hidden_size: int) -> Cell: ...


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What lies between and inside the layers of a stack.

    Attributes:
        connection: `none`; `residual`: a layer adds what it reads to what it gives (Wu et al.
            2016); `highway`: a gate g that sees what the layer reads mixes the two, g * given + (1
            - g) * read (Srivastava et al. 2015). A layer whose two sizes differ has no connection.
        residual_from: number of the first layer with a connection, the lowest being 1.
        bidirectional_layers: which layers of a bidirectional stack read both ways: `all`, or only
            the `first` (Wu et al. 2016).
        layer_norm: layer normalisation (Ba et al. 2016) of what a layer reads of the one below it.
        recurrent_dropout, zoneout, zoneout_memory, weight_drop: see `Noise`.

    Raises:
        ConfigError: an unknown word, a layer below 1, a rate that is no probability below 1.
    """

    connection: str = "none"
    residual_from: int = 2
    bidirectional_layers: str = "all"
    layer_norm: bool = False
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    zoneout_memory: float = 0.0
    weight_drop: float = 0.0

    def __post_init__(self) -> None:
        for name, words in (
            ("connection", CONNECTIONS),
            ("bidirectional_layers", BIDIRECTIONAL_LAYERS),
        ):
            value = getattr(self, name)
            if value not in words:
                raise ConfigError(f"stack.{name}={value}", "unknown", f"use {' or '.join(words)}")
        if self.residual_from < 1:
            raise ConfigError(
                f"stack.residual_from={self.residual_from}",
                "the lowest layer is number 1",
                "set 1 or more",
            )
        _ = self.noise  # checks the rates

    @property
    def noise(self) -> Noise:
        return Noise(
            recurrent_dropout=self.recurrent_dropout,
            zoneout=self.zoneout,
            zoneout_memory=self.zoneout_memory,
            weight_drop=self.weight_drop,
        )


class RecurrentLayer(nn.Module):
    """One layer over time, forward or in both directions.

    Args:
        cell: recipe of the cell.
        unrolling: how it is run over time.
        input_size: I.
        output_size: what the cell is asked for as its hidden size; with two directions each is
            asked for half.
        bidirectional: a second cell reads each row backwards inside its own length; outputs are
            concatenated.
        noise: what is disturbed inside the recurrence while it trains.

    Attributes:
        output_size: features of an output step, both directions together: what was asked for,
            unless the cell gives another number (a projected LSTM).
        state_sizes: features of each part of the state, both directions together.
    """

    def __init__(
        self,
        *,
        cell: CellRecipe,
        unrolling: Unrolling,
        input_size: int,
        output_size: int,
        bidirectional: bool = False,
        noise: Noise | None = None,
    ) -> None:
        super().__init__()
        num_directions = 2 if bidirectional else 1
        cells = [
            cell(input_size=input_size, hidden_size=output_size // num_directions)
            for _ in range(num_directions)
        ]
        self.cells = nn.ModuleList(cells)
        self.input_size = input_size
        self.output_size = num_directions * cells[0].output_size
        self.state_sizes = tuple(num_directions * size for size in cells[0].state_sizes)
        self.unrolling = unrolling
        self.noise = noise or Noise()

    def initial_state(self, like: Tensor, batch_size: int) -> State:
        """The cell's own first state, parts [batch_size, state_sizes[k], ...]."""
        return _join([cell.initial_state(like, batch_size) for cell in self._cells()])

    def for_sequence(self, batch_size: int) -> Self:
        """This layer with the noise of its cells drawn for one batch of sequences, for those who
        run it step by step: a step by itself draws its own."""
        if self.noise == Noise():
            return self
        layer = copy.copy(self)
        cells = [cell.for_sequence(self.noise, batch_size) for cell in self._cells()]
        layer._modules = {"cells": nn.ModuleList(cells)}
        layer.noise = Noise()
        return layer

    def for_rows(self, rows: Tensor) -> Self:
        """This layer for rows [N] of the batch that its noise was drawn for, in the order given."""
        layer = copy.copy(self)
        cells = [cell.for_rows(rows) for cell in self._cells()]
        layer._modules = {"cells": nn.ModuleList(cells)}
        return layer

    def forward(self, inputs: Padded, state: State) -> tuple[Padded, State]:
        """Inputs [B, T, I, ...] and state -> outputs [B, T, output_size, ...], zero on padding,
        and the final state."""
        cells = self.for_sequence(inputs.batch_size)._cells()
        if len(cells) == 1:
            return self.unrolling(cells[0], inputs, state)
        halves = [part.chunk(2, dim=1) for part in state]
        forward, final = self.unrolling(cells[0], inputs, tuple(half[0] for half in halves))
        backward, first = self.unrolling(
            cells[1], inputs.reversed(), tuple(half[1] for half in halves)
        )
        outputs = torch.cat([forward.values, backward.reversed().values], dim=2)
        return inputs.with_values(outputs), _join([final, first])

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of a forward layer: [N, I, ...] -> [N, output_size, ...] and the new state."""
        (cell,) = self.for_sequence(len(inputs))._cells()
        return cell.advance(cell.project(inputs), state)

    def _cells(self) -> list[Cell]:
        return [cell for cell in self.cells if isinstance(cell, Cell)]


class LayerSchedule(Protocol):
    """The order in which a stack runs its layers over sequences."""

    def __call__(
        self, stack: RecurrentStack, inputs: Padded, states: Sequence[State], side: Tensor | None
    ) -> tuple[Padded, list[State]]:
        """See `RecurrentStack.forward`."""
        ...


class LayerByLayer:
    """Each layer over all steps, the lowest first."""

    def __call__(
        self, stack: RecurrentStack, inputs: Padded, states: Sequence[State], side: Tensor | None
    ) -> tuple[Padded, list[State]]:
        """See `LayerSchedule`."""
        assert len(states) == len(stack.layers)
        finals: list[State] = []
        for place, state in enumerate(states):
            inputs, final = stack.run_layer(place, inputs, state, side)
            finals.append(final)
        return inputs, finals


class RecurrentStack(nn.Module):
    """Layers one above the other, with dropout between them. A stack of no layers gives its inputs
    back.

    Args:
        layers: each reads what the one below it gives, and beside it the `side` input when there
            is one.
        dropout: on what a layer reads of the one below it.
        options: what else lies between layers.
        side_size: C, features of the side input.
        num_below: how many layers of another stack lie below this one, whose outputs it reads; 0:
            its inputs come with their dropout already, and are not normalised.

    Attributes:
        schedule: the order in which layers are run; strategies set another.
        devices: of each layer, where a strategy has put them on several; outputs and states are
            then where they were made.
    """

    schedule: LayerSchedule = LayerByLayer()
    devices: Sequence[torch.device] = ()

    def __init__(
        self,
        *,
        layers: Sequence[RecurrentLayer],
        dropout: SequenceDropout,
        options: StackOptions,
        side_size: int = 0,
        num_below: int = 0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = dropout
        self.options = options
        self.num_below = num_below
        self.norms, self.gates = nn.ModuleDict(), nn.ModuleDict()
        for number, layer in enumerate(layers, start=num_below + 1):
            size = layer.input_size - side_size
            if options.layer_norm and number > 1:
                self.norms[str(number)] = nn.LayerNorm(size)
            if options.connection == "highway" and self._connects(number, layer, size):
                gate = nn.Linear(size, size)
                nn.init.constant_(gate.bias, _GATE_BIAS)
                self.gates[str(number)] = gate

    @property
    def output_size(self) -> int:
        """Features of an output step of the highest layer.

        Raises ConfigError where there is no layer.
        """
        if not self.layers:
            raise ConfigError("number of layers=0", "nothing would be recurrent", "set 1 or more")
        return self._layers()[-1].output_size

    @property
    def state_sizes(self) -> list[tuple[int, ...]]:
        """Of each layer."""
        return [layer.state_sizes for layer in self._layers()]

    @property
    def reads_maps(self) -> bool:
        """Inputs are maps [B, T, I, height, width]."""
        return any(cell.reads_maps for layer in self._layers() for cell in layer._cells())

    def initial_states(self, like: Tensor, batch_size: int) -> list[State]:
        """The layers' own first states, on the device of `like`."""
        return [layer.initial_state(like, batch_size) for layer in self._layers()]

    def for_sequence(self, batch_size: int) -> Self:
        """This stack with the noise of its cells drawn once for all steps of a batch, for those
        who train it step by step. Dropout between layers is drawn at each step even so."""
        stack = copy.copy(self)
        layers = [layer.for_sequence(batch_size) for layer in self._layers()]
        stack._modules = {**self._modules, "layers": nn.ModuleList(layers)}
        return stack

    def for_slices(self, rows: Tensor) -> Self:
        """This stack for rows [N] of the batch that its noise was drawn for, whose steps come in
        slices of time: a locked dropout keeps its first mask, so each layer needs a copy of its
        own."""
        stack = copy.copy(self)
        layers = [layer.for_rows(rows) for layer in self._layers()]
        dropout = self.dropout.for_slices()
        parts = {"layers": nn.ModuleList(layers), "dropout": dropout}
        stack._modules = {**self._modules, **parts}
        return stack

    def forward(
        self, inputs: Padded, states: Sequence[State], side: Tensor | None = None
    ) -> tuple[Padded, list[State]]:
        """Inputs [B, T, I], a state a layer, side input [B, T, C] -> outputs of the top layer, zero
        on padding, and final states."""
        return self.schedule(self, inputs, states, side)

    def run_layer(
        self, place: int, inputs: Padded, state: State, side: Tensor | None = None
    ) -> tuple[Padded, State]:
        """The layer at `place` (the lowest is 0) over what lies below it, [B, T, ...], with its
        dropout, norm and connection; a `schedule` calls this."""
        number, layer = self.num_below + 1 + place, self._layers()[place]
        values, state, side = self._beside(place, inputs.values, state, side)
        inputs = inputs.with_values(values)
        read = self._read(number, inputs.values, side)
        outputs, final = layer(inputs.with_values(read), state)
        connected = self._connect(number, layer, inputs.values, outputs.values)
        if number == 1 and connected is not outputs.values:
            # What comes from outside may be other than zero on padding.
            return inputs.with_values(connected).zeroed(), final
        return inputs.with_values(connected), final

    def step(
        self, inputs: Tensor, states: Sequence[State], side: Tensor | None = None
    ) -> tuple[Tensor, list[State]]:
        """One step: [N, I], a state a layer, side input [N, C] -> [N, output_size] and the new
        states."""
        finals: list[State] = []
        for place, (layer, state) in enumerate(zip(self._layers(), states, strict=True)):
            number = self.num_below + 1 + place
            inputs, state, side = self._beside(place, inputs, state, side)
            outputs, final = layer.step(self._read(number, inputs, side), state)
            inputs = self._connect(number, layer, inputs, outputs)
            finals.append(final)
        return inputs, finals

    def _beside(
        self, place: int, below: Tensor, state: State, side: Tensor | None
    ) -> tuple[Tensor, State, Tensor | None]:
        """What the layer at `place` takes, on its device."""
        if not self.devices:
            return below, state, side
        device = self.devices[place]
        state = tuple(part.to(device) for part in state)
        return below.to(device), state, None if side is None else side.to(device)

    def _read(self, number: int, below: Tensor, side: Tensor | None) -> Tensor:
        """What layer `number` reads of `below`, and the side input beside it."""
        if self.options.layer_norm and number > 1:
            below = self.norms[str(number)](below)
        if number > 1:
            below = self.dropout(below)
        return below if side is None else torch.cat([below, side.to(below.dtype)], dim=-1)

    def _connect(
        self, number: int, layer: RecurrentLayer, below: Tensor, outputs: Tensor
    ) -> Tensor:
        """The outputs of layer `number`, connected with what it read."""
        if not self._connects(number, layer, below.shape[-1]):
            return outputs
        if self.options.connection == "residual":
            return outputs + below
        gate = self.gates[str(number)](below).sigmoid()
        return below + gate * (outputs - below)

    def _connects(self, number: int, layer: RecurrentLayer, size: int) -> bool:
        options = self.options
        fits = number >= options.residual_from and layer.output_size == size
        return options.connection != "none" and fits

    def _layers(self) -> list[RecurrentLayer]:
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]


def stack_of_layers(
    input_size: int,
    num_layers: int,
    *,
    cell: CellRecipe,
    unrolling: Unrolling,
    output_size: int,
    dropout: SequenceDropout,
    options: StackOptions,
    bidirectional: bool = False,
    side_size: int = 0,
    num_below: int = 0,
) -> RecurrentStack:
    """A stack of `num_layers`, each asked for `output_size` features; the lowest reads `input_size`
    features, every other what the one below it gives, and all the side input beside it."""
    layers: list[RecurrentLayer] = []
    for number in range(num_layers):
        both_ways = bidirectional and (number == 0 or options.bidirectional_layers == "all")
        layer = RecurrentLayer(
            cell=cell,
            unrolling=unrolling,
            input_size=input_size + side_size,
            output_size=output_size,
            bidirectional=both_ways,
            noise=options.noise,
        )
        layers.append(layer)
        input_size = layer.output_size
    return RecurrentStack(
        layers=layers,
        dropout=dropout,
        options=options,
        side_size=side_size,
        num_below=num_below,
    )


def _join(states: Sequence[State]) -> State:
    """States of the directions side by side."""
    if len(states) == 1:
        return states[0]
    return tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True))
