"""Stacks of recurrent layers: directions, residual connections and dropout around any cell and
unrolling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from seqloom.cells import Cell, State
from seqloom.layers.dropout import SequenceDropout
from seqloom.sequences import Padded
from seqloom.unrolling import Unrolling


class CellRecipe(Protocol):
    """What `cell=` gives: a cell that still lacks its sizes."""

    def __call__(self, *, input_size: int, hidden_size: int) -> Cell: ...


class RecurrentLayer(nn.Module):
    """One layer over time, forward or in both directions.

    Args:
        cell: recipe of the cell.
        unrolling: how it is run over time.
        input_size: I.
        output_size: features of an output step; with two directions each gives half of them.
        bidirectional: a second cell reads each row backwards inside its own length; outputs are
            concatenated.
    """

    def __init__(
        self,
        *,
        cell: CellRecipe,
        unrolling: Unrolling,
        input_size: int,
        output_size: int,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        num_directions = 2 if bidirectional else 1
        self.input_size, self.output_size = input_size, output_size
        self.cells = nn.ModuleList(
            cell(input_size=input_size, hidden_size=output_size // num_directions)
            for _ in range(num_directions)
        )
        self.unrolling = unrolling

    def initial_state(self, like: Tensor, batch_size: int) -> State:
        """The zero state, parts [batch_size, output_size]: both directions side by side."""
        states = [self._cell(d).initial_state(like, batch_size) for d in range(len(self.cells))]
        return _join(states)

    def forward(self, inputs: Padded, state: State) -> tuple[Padded, State]:
        """Inputs [B, T, I] and state -> outputs [B, T, output_size], zero on padding, and the
        final state."""
        if len(self.cells) == 1:
            return self.unrolling(self._cell(0), inputs, state)
        halves = [part.chunk(2, dim=-1) for part in state]
        forward, final = self.unrolling(self._cell(0), inputs, tuple(half[0] for half in halves))
        backward, first = self.unrolling(
            self._cell(1), inputs.reversed(), tuple(half[1] for half in halves)
        )
        outputs = torch.cat([forward.values, backward.reversed().values], dim=-1)
        return inputs.with_values(outputs), _join([final, first])

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of a forward layer: [N, I] -> [N, output_size] and the new state."""
        cell = self._cell(0)
        return cell.step(cell.project(inputs), state)

    def _cell(self, direction: int) -> Cell:
        cell = self.cells[direction]
        assert isinstance(cell, Cell)
        return cell


class RecurrentStack(nn.Module):
    """Layers one above the other, with dropout between them. A stack of no layers gives its inputs
    back.

    Args:
        layers: each reads what the one below it gives, and beside it the `side` input when there
            is one.
        dropout: on what a layer reads of the one below it.
        residual: a layer of the size of the one below it adds that one's output to its own (Wu et
            al. 2016).
    """

    def __init__(
        self, *, layers: Sequence[RecurrentLayer], dropout: SequenceDropout, residual: bool
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = dropout
        self.residual = residual

    def initial_states(self, like: Tensor, batch_size: int) -> list[State]:
        return [layer.initial_state(like, batch_size) for layer in self._layers()]

    def forward(
        self, inputs: Padded, states: Sequence[State], side: Tensor | None = None
    ) -> tuple[Padded, list[State]]:
        """Inputs [B, T, I], a state a layer, side input [B, T, C] -> outputs of the top layer,
        final states."""
        finals: list[State] = []
        for number, (layer, state) in enumerate(zip(self._layers(), states, strict=True)):
            read = self._read(number, inputs.values, side)
            outputs, final = layer(inputs.with_values(read), state)
            if self._adds_input(layer, inputs.values, number):
                outputs = outputs.with_values(outputs.values + inputs.values)
            finals.append(final)
            inputs = outputs
        return inputs, finals

    def step(
        self, inputs: Tensor, states: Sequence[State], side: Tensor | None = None
    ) -> tuple[Tensor, list[State]]:
        """One step: [N, I], a state a layer, side input [N, C] -> [N, output_size] and the new
        states."""
        finals: list[State] = []
        for number, (layer, state) in enumerate(zip(self._layers(), states, strict=True)):
            outputs, final = layer.step(self._read(number, inputs, side), state)
            if self._adds_input(layer, inputs, number):
                outputs = outputs + inputs
            finals.append(final)
            inputs = outputs
        return inputs, finals

    def _read(self, number: int, below: Tensor, side: Tensor | None) -> Tensor:
        """What layer `number` reads; the stack's own inputs come with their dropout already."""
        if number > 0:
            below = self.dropout(below)
        return below if side is None else torch.cat([below, side.to(below.dtype)], dim=-1)

    def _adds_input(self, layer: RecurrentLayer, below: Tensor, number: int) -> bool:
        return self.residual and number > 0 and layer.output_size == below.shape[-1]

    def _layers(self) -> list[RecurrentLayer]:
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]


def stack_of_layers(
    input_sizes: Sequence[int],
    *,
    cell: CellRecipe,
    unrolling: Unrolling,
    output_size: int,
    dropout: SequenceDropout,
    residual: bool,
    bidirectional: bool = False,
) -> RecurrentStack:
    """A stack with a layer for each of `input_sizes`, all of one output size."""
    layers = [
        RecurrentLayer(
            cell=cell,
            unrolling=unrolling,
            input_size=size,
            output_size=output_size,
            bidirectional=bidirectional,
        )
        for size in input_sizes
    ]
    return RecurrentStack(layers=layers, dropout=dropout, residual=residual)


def _join(states: Sequence[State]) -> State:
    """States of the directions side by side: parts [B, D * H]."""
    return tuple(torch.cat(parts, dim=-1) for parts in zip(*states, strict=True))
