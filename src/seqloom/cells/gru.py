"""Gated recurrent unit (Cho et al. 2014), in the form that the vendors' kernels compute: reset
after the matrix.

    r = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
    z = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}

Parameters have torch's names and layout, so weights of `torch.nn.GRU` load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.base import FusedCell, State
from seqloom.cells.initialization import initialize_recurrent
from seqloom.sequences import Padded


class GRU(FusedCell):
    """State (h,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
    """

    num_states = 1

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(3 * hidden_size))
        initialize_recurrent(self.weight_ih, self.weight_hh, num_gates=3)

    def project(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        from_input = projected.to(hidden.dtype)
        from_hidden = F.linear(hidden, self.weight_hh, self.bias_hh).to(hidden.dtype)
        input_reset, input_update, input_new = from_input.chunk(3, dim=-1)
        hidden_reset, hidden_update, hidden_new = from_hidden.chunk(3, dim=-1)
        reset = (input_reset + hidden_reset).sigmoid()
        update = (input_update + hidden_update).sigmoid()
        new = (input_new + reset * hidden_new).tanh()
        hidden = new + update * (hidden - new)
        return hidden, (hidden,)

    def run(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        weights: list[Tensor] = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        initial = state[0].to(inputs.values.dtype).unsqueeze(0)
        outputs, hidden = torch.gru(
            inputs.values, initial, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        if inputs.is_full:
            return outputs, (hidden.squeeze(0),)
        return outputs, (inputs.with_values(outputs).last(state[0].to(outputs.dtype)),)
