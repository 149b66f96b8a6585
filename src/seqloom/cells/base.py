"""`Cell`: one time step of a recurrent network, as mathematics alone.

A cell knows neither time nor unequal lengths; `seqloom.unrolling` runs it over a sequence. Its
work is split in two: `project` is what needs no state and is therefore done for all steps in one
product, `step` is the rest. State is a value that is passed and returned; the module holds
parameters only.

What a cell can do beyond a step is a class of its own, and an unrolling asks for that class:
`FusedCell` has a vendor's kernel over a whole sequence, `ScanCell` a parallel form over time,
`GatedCell` a step whose derivative is written by hand, so that a loop over it is fast.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.noise import Noise
from seqloom.errors import ConfigError
from seqloom.sequences import Padded

State = tuple[Tensor, ...]


class Cell(nn.Module, ABC):
    """`(x_t, state) -> output, state`.

    Attributes:
        input_size: I, the features of one input step.
        hidden_size: H, the size that was asked for.
        output_size: features of one output step; H unless a cell says otherwise.
        state_sizes: features of each part of the state; part k is [N, state_sizes[k], ...].
        recurrent_weights: names of the matrices that read the state, which DropConnect thins out.
        gives_state: the output is the first part of the new state.
        reads_maps: inputs and states are maps [N, F, height, width], not vectors [N, F].
    """

    state_sizes: tuple[int, ...]
    recurrent_weights: ClassVar[tuple[str, ...]] = ("weight_hh",)
    gives_state: ClassVar[bool] = True
    reads_maps: ClassVar[bool] = False

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = hidden_size
        self.noise = Noise()
        self._read_mask: Tensor | None = None

    @abstractmethod
    def project(self, inputs: Tensor) -> Tensor:
        """[..., I] -> [..., G]: everything that needs no state."""

    @abstractmethod
    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: projected input [N, G] and state -> output [N, output_size] and new state, in
        the dtype of the state."""

    def initial_state(self, like: Tensor, batch_size: int) -> State:
        """Zeros [batch_size, size] for each part, on the device of `like` (inputs [B, T, I] or [N,
        I]), at least in float32: states are kept in full precision."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        return tuple(like.new_zeros(batch_size, size, dtype=dtype) for size in self.state_sizes)

    def read(self, hidden: Tensor) -> Tensor:
        """What the recurrent matrices read of [N, H, ...]: `hidden` with recurrent dropout, the
        same features of a row at every step (Gal and Ghahramani 2016)."""
        if self._read_mask is None:
            return hidden
        mask = self._read_mask[: len(hidden)]
        return hidden * mask.reshape(*mask.shape, *[1] * (hidden.ndim - 2))

    def advance(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        """`step` with zoneout; what every loop over time calls."""
        output, new = self.step(projected, state)
        if not self.noise.has_zoneout:
            return output, new
        masks = self.noise.keep_masks(state, self.training)
        new = tuple(
            fresh + keep * (old - fresh) for keep, old, fresh in zip(masks, state, new, strict=True)
        )
        return (new[0] if self.gives_state else output), new

    def for_sequence(self, noise: Noise, batch_size: int) -> Self:
        """This cell with its noise drawn for one batch of sequences: the same parameters, seen
        through masks.

        Raises ConfigError for noise in recurrent matrices that the cell does not have.

        A copy, because the cell itself keeps nothing between calls, and because whatever is
        computed again for the backward pass must see the same masks.
        """
        if noise == Noise():
            return self
        if (noise.recurrent_dropout or noise.weight_drop) and not self.recurrent_weights:
            raise ConfigError(
                f"stack.recurrent_dropout={noise.recurrent_dropout} "
                f"stack.weight_drop={noise.weight_drop}",
                f"{type(self).__name__} has no recurrent matrices to act on",
                "set both to 0; zoneout and dropout between layers work",
            )
        cell = copy.copy(self)
        cell.noise = noise
        if not self.training:
            return cell
        if noise.recurrent_dropout:
            ones = torch.ones(
                batch_size, self.state_sizes[0], device=next(self.parameters()).device
            )
            cell._read_mask = F.dropout(ones, noise.recurrent_dropout)
        if noise.weight_drop:
            thinned = {
                name: F.dropout(getattr(self, name), noise.weight_drop)
                for name in self.recurrent_weights
            }
            # The copy's own table: the parameters of this cell stay where they are.
            cell._parameters = {**self._parameters, **thinned}  # type: ignore[dict-item]
        return cell

    def for_rows(self, rows: Tensor) -> Self:
        """This cell for rows [N] of the batch that its noise was drawn for, in the order given."""
        if self._read_mask is None:
            return self
        cell = copy.copy(self)
        cell._read_mask = self._read_mask[rows]
        return cell

    @property
    def is_plain(self) -> bool:
        """No noise acts inside a step, so the whole sequence may be computed in another way."""
        return self._read_mask is None and not self.noise.has_zoneout


class FusedCell(Cell):
    """A cell that a vendor's kernel (cuDNN, oneDNN) runs over a whole sequence at once."""

    @abstractmethod
    def run(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        """All steps in one call: outputs [B, T, output_size] (unspecified beyond a length) and the
        state after each row's last real step (its row of `state` where the length is 0). T >= 1.
        """


class ScanCell(Cell):
    """A cell whose recurrence is linear in the state, so that it has a parallel form over time.

    Attributes:
        is_linear: False where an option of the cell makes its recurrence non-linear; then there is
            no scan.
    """

    @property
    def is_linear(self) -> bool:
        return True

    @abstractmethod
    def scan(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        """As `FusedCell.run`, by a prefix scan."""


class GatedCell(Cell):
    """A cell that is one product of its hidden state (the first part of the state) and then
    element-wise mathematics, whose derivative it knows.

    `unrolling.handwritten` runs it without a graph of single operations: forward it keeps what
    `gate` saves, backward it calls `gate_backward` step by step, and the gradient of the recurrent
    matrix is one product over all steps.

    Attributes:
        weight_hh: [R, H]; bias_hh: [R] or None.
        gate_parameters: names of the further parameters that `gate` reads.
    """

    weight_hh: Tensor
    bias_hh: Tensor | None
    gate_parameters: ClassVar[tuple[str, ...]] = ()

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        recurrent = F.linear(self.read(state[0]), self.weight_hh, self.bias_hh)
        new, _ = self.gate(projected, recurrent, state)
        return new[0], new

    @abstractmethod
    def gate(
        self, projected: Tensor, recurrent: Tensor, state: State
    ) -> tuple[State, tuple[Tensor, ...]]:
        """Projected input [N, G], recurrent product [N, R] and state -> the new state, whose first
        part is the output, and what `gate_backward` needs of this step."""

    @abstractmethod
    def gate_backward(
        self, saved: tuple[Tensor, ...], state: State, grad_new: State
    ) -> tuple[Tensor, Tensor, State, tuple[Tensor, ...]]:
        """The derivative of `gate`, given what it saved, the state it read and the gradients by
        the new state.

        Returns the gradients by the projected input [N, G], by the recurrent product [N, R], by the
        state (without the way through the recurrent product), and by `gate_parameters`.
        """
