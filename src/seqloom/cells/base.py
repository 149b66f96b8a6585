"""`Cell`: one time step of a recurrent network, as mathematics alone.

A cell knows neither time nor unequal lengths; `seqloom.unrolling` runs it over a sequence. Its
work is split in two: `project` is what needs no state and is therefore done for all steps in one
product, `step` is the rest. State is a value that is passed and returned; the module holds
parameters only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from seqloom.sequences import Padded

State = tuple[Tensor, ...]


class Cell(nn.Module, ABC):
    """`(x_t, state) -> output, state`, with `output` = the first part of the new state.

    Attributes:
        input_size: I, the features of one input step.
        hidden_size: H, the features of one output step and of every part of the state.
        num_states: how many tensors [N, H] the state has.
    """

    num_states: int

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size

    @abstractmethod
    def project(self, inputs: Tensor) -> Tensor:
        """[..., I] -> [..., G]: everything that needs no state."""

    @abstractmethod
    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: projected input [N, G] and state -> output [N, H] and new state, in the dtype
        of the state."""

    def initial_state(self, like: Tensor, batch_size: int) -> State:
        """Zeros [batch_size, H] on the device of `like`, in float32: states are kept in full
        precision."""
        zeros = like.new_zeros(batch_size, self.hidden_size).float()
        return (zeros,) * self.num_states


class FusedCell(Cell):
    """A cell that a vendor's kernel (cuDNN, oneDNN) runs over a whole sequence at once."""

    @abstractmethod
    def run(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        """All steps in one call: outputs [B, T, H] (unspecified beyond a length) and the state
        after each row's last real step (its row of `state` where the length is 0). T >= 1."""
