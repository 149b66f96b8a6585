"""Gated recurrent unit as its paper has it (Cho et al. 2014), reset before the matrix; what
TensorFlow's `GRUCell` computes.

    r = sigmoid(W_ir x_t + b_r + W_hr h_{t-1})
    z = sigmoid(W_iz x_t + b_z + W_hz h_{t-1})
    n = tanh(W_in x_t + b_n + W_hn (r * h_{t-1}))
    h_t = (1 - z) * n + z * h_{t-1}

Price: the second product waits for the first, two a step, and no vendor's kernel knows it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.base import Cell, State
from seqloom.cells.initialization import initialize_memory, initialize_recurrent
from seqloom.cells.products import linear


class ResetBeforeGRU(Cell):
    """State (h,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        recurrent_init: how the recurrent matrices start: orthogonal, uniform or identity.
        forget_bias: first bias of the update gate z, which keeps memory.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        recurrent_init: str = "orthogonal",
        forget_bias: float = 0.0,
        chrono_max_steps: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.state_sizes = (hidden_size,)
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=3, recurrent_init=recurrent_init
        )
        _, update, _ = self.bias_ih.detach().chunk(3)
        initialize_memory(update, None, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        projected = projected.to(hidden.dtype)
        size = self.hidden_size
        gate_weight, candidate_weight = self.weight_hh.split([2 * size, size])
        recurrent = F.linear(self.read(hidden), gate_weight).to(hidden.dtype)
        gates = (projected[:, : 2 * size] + recurrent).sigmoid()
        reset, update = gates.chunk(2, dim=-1)
        recurrent = F.linear(self.read(reset * hidden), candidate_weight).to(hidden.dtype)
        candidate = torch.tanh(projected[:, 2 * size :] + recurrent)
        hidden = candidate + update * (hidden - candidate)
        return hidden, (hidden,)
