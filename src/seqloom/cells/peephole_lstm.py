"""LSTM whose gates see the memory (Gers and Schmidhuber 2000).

    i = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi + w_ci * c_{t-1})
    f = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf + w_cf * c_{t-1})
    c_t = f * c_{t-1} + i * tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)
    o = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho + w_co * c_t)
    h_t = o * tanh(c_t)

Names and layout are those of `LSTM`, with the peepholes beside them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.base import GatedCell, State
from seqloom.cells.initialization import initialize_memory, initialize_recurrent
from seqloom.cells.lstm import write_memory_gradients
from seqloom.cells.products import linear


class PeepholeLSTM(GatedCell):
    """State (h, c), each [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        recurrent_init: how the recurrent matrices start: orthogonal, uniform or identity.
        forget_bias: first bias of the forget gate, so that memory lasts.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.

    Attributes:
        weight_ch: the peepholes [3H] of i, f and o; they start at zero.
    """

    gate_parameters = ("weight_ch",)

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        recurrent_init: str = "orthogonal",
        forget_bias: float = 1.0,
        chrono_max_steps: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.state_sizes = (hidden_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.weight_ch = nn.Parameter(torch.zeros(3 * hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(4 * hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(4 * hidden_size))
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=4, recurrent_init=recurrent_init
        )
        write, forget, _, _ = self.bias_ih.detach().chunk(4)
        initialize_memory(forget, write, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def gate(
        self, projected: Tensor, recurrent: Tensor, state: State
    ) -> tuple[State, tuple[Tensor, ...]]:
        size, memory = self.hidden_size, state[1]
        peep_write, peep_forget, peep_output = self.weight_ch.chunk(3)
        total = recurrent.to(memory.dtype) + projected
        write = torch.addcmul(total[:, :size], memory, peep_write)
        forget = torch.addcmul(total[:, size : 2 * size], memory, peep_forget)
        gates = torch.cat([write, forget], dim=-1).sigmoid()
        candidate = total[:, 2 * size : 3 * size].tanh()
        new = torch.addcmul(gates[:, size:] * memory, gates[:, :size], candidate)
        output_gate = torch.addcmul(total[:, 3 * size :], new, peep_output).sigmoid()
        squashed = new.tanh()
        return (output_gate * squashed, new), (gates, candidate, output_gate, squashed)

    def gate_backward(
        self, saved: tuple[Tensor, ...], state: State, grad_new: State
    ) -> tuple[Tensor, Tensor, State, tuple[Tensor, ...]]:
        gates, candidate, output_gate, squashed = saved
        (grad_hidden, grad_memory), memory, size = grad_new, state[1], self.hidden_size
        new = torch.addcmul(gates[:, size:] * memory, gates[:, :size], candidate)
        peep_write, peep_forget, peep_output = self.weight_ch.chunk(3)
        grad_output = torch.ops.aten.sigmoid_backward(grad_hidden * squashed, output_gate)
        through_tanh = torch.ops.aten.tanh_backward(grad_hidden * output_gate, squashed)
        grad_memory = torch.addcmul(grad_memory + through_tanh, grad_output, peep_output)
        grad = grad_hidden.new_empty(len(grad_hidden), 4 * size)
        write_memory_gradients(grad, gates, candidate, memory, grad_memory)
        grad[:, 3 * size :] = grad_output
        grad_old = grad_memory * gates[:, size:]
        grad_old.addcmul_(grad[:, :size], peep_write)
        grad_old.addcmul_(grad[:, size : 2 * size], peep_forget)
        grad_peepholes = torch.cat(
            [
                (grad[:, :size] * memory).sum(dim=0),
                (grad[:, size : 2 * size] * memory).sum(dim=0),
                (grad_output * new).sum(dim=0),
            ]
        )
        return grad, grad, (torch.zeros_like(state[0]), grad_old), (grad_peepholes,)
