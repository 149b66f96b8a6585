"""LSTM with coupled input and forget gates (CIFG; Greff et al. 2017): what is written makes room
for itself.

    i, g, o = W_ih x_t + b_ih + W_hh h_{t-1}
    c_t = (1 - sigmoid(i)) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)

A quarter fewer parameters than an LSTM, and a memory that stays in -1..1 by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.base import GatedCell, State
from seqloom.cells.initialization import initialize_memory, initialize_recurrent
from seqloom.cells.products import linear


class CoupledLSTM(GatedCell):
    """State (h, c), each [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        recurrent_init: how the recurrent matrices start: orthogonal, uniform or identity.
        forget_bias: first bias of the forgetting, -b_i, so that memory lasts.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

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
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        self.bias_hh = None
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=3, recurrent_init=recurrent_init
        )
        write, _, _ = self.bias_ih.detach().chunk(3)
        initialize_memory(write, None, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)
        write.neg_()  # 1 - sigmoid(i) = sigmoid(-i)

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def gate(
        self, projected: Tensor, recurrent: Tensor, state: State
    ) -> tuple[State, tuple[Tensor, ...]]:
        size, memory = self.hidden_size, state[1]
        total = recurrent.to(memory.dtype) + projected
        write = total[:, :size].sigmoid()
        candidate = total[:, size : 2 * size].tanh()
        output_gate = total[:, 2 * size :].sigmoid()
        memory = torch.addcmul(memory, write, candidate - memory)
        squashed = memory.tanh()
        return (output_gate * squashed, memory), (write, candidate, output_gate, squashed)

    def gate_backward(
        self, saved: tuple[Tensor, ...], state: State, grad_new: State
    ) -> tuple[Tensor, Tensor, State, tuple[Tensor, ...]]:
        write, candidate, output_gate, squashed = saved
        (grad_hidden, grad_memory), memory, size = grad_new, state[1], self.hidden_size
        grad_memory = grad_memory + torch.ops.aten.tanh_backward(
            grad_hidden * output_gate, squashed
        )
        written = grad_memory * write
        grad = grad_hidden.new_empty(len(grad_hidden), 3 * size)
        grad[:, :size] = torch.ops.aten.sigmoid_backward(grad_memory * (candidate - memory), write)
        grad[:, size : 2 * size] = torch.ops.aten.tanh_backward(written, candidate)
        grad[:, 2 * size :] = torch.ops.aten.sigmoid_backward(grad_hidden * squashed, output_gate)
        return grad, grad, (torch.zeros_like(state[0]), grad_memory - written), ()
