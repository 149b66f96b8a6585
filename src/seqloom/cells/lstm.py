"""Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and
Cummins 2000).

    i, f, g, o = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh      (gates in torch's order)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)

Parameters have torch's names and layout, so weights of `torch.nn.LSTM` load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.base import FusedCell, State
from seqloom.cells.initialization import initialize_recurrent
from seqloom.sequences import Padded

# Large enough that the sigmoid is exactly 0 or 1 in float32 and bfloat16.
_SATURATED = 1e4


class LSTM(FusedCell):
    """State (h, c), each [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        forget_bias: added to the forget gate at the start, so that memory lasts (Jozefowicz et al.
            2015).
    """

    num_states = 2

    def __init__(self, *, input_size: int, hidden_size: int, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(4 * hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(4 * hidden_size))
        initialize_recurrent(self.weight_ih, self.weight_hh, num_gates=4)
        with torch.no_grad():
            self.bias_ih[hidden_size : 2 * hidden_size] = forget_bias

    def project(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, memory = state
        gates = projected + F.linear(hidden, self.weight_hh, self.bias_hh)
        gates = gates.to(memory.dtype)
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
        memory = forget_gate.sigmoid() * memory + input_gate.sigmoid() * candidate.tanh()
        hidden = output_gate.sigmoid() * memory.tanh()
        return hidden, (hidden, memory)

    def run(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        if inputs.is_full:
            outputs, hidden, memory = self._kernel(inputs.values, self.weight_ih, state)
            return outputs, (hidden, memory)
        # The kernel only tells the memory after step T. One more input feature, 1 on padding, shuts
        # the input gate and opens the forget gate there, so that the memory of the last real step
        # is held, exactly.
        hold = torch.zeros(4, self.hidden_size, _extra_features(self.input_size))
        hold[0, :, 0], hold[1, :, 0] = -_SATURATED, _SATURATED
        weight = torch.cat([self.weight_ih, hold.flatten(0, 1).to(self.weight_ih)], dim=1)
        padding = inputs.values.new_zeros(*inputs.values.shape[:2], hold.shape[2])
        padding[..., 0] = ~inputs.mask()
        values = torch.cat([inputs.values, padding], dim=2)
        outputs, _, memory = self._kernel(values, weight, state)
        return outputs, (inputs.with_values(outputs).last(state[0].to(outputs.dtype)), memory)

    def _kernel(
        self, values: Tensor, weight_ih: Tensor, state: State
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs [B, T, H], final h and c [B, H] of the vendor's kernel over all T steps."""
        weights = [weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        initial = [part.to(values.dtype).unsqueeze(0) for part in state]
        outputs, hidden, memory = torch.lstm(
            values, initial, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        return outputs, hidden.squeeze(0), memory.squeeze(0)


def _extra_features(input_size: int) -> int:
    """At least one, so that the sum is a multiple of 32: an odd size halves oneDNN's speed."""
    return 32 - input_size % 32
