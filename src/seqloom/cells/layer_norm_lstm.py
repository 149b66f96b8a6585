"""LSTM with layer normalisation (Ba, Kiros and Hinton 2016, equations 20-22).

    i, f, g, o = LN(W_ih x_t; gain_ih) + bias_ih + LN(W_hh h_{t-1}; gain_hh)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(LN(c_t; gain_c, bias_c))

Each LN goes over all features of its row (4H, 4H and H), so neither batches nor padding matter.
The scale of what is read no longer matters either; price: three normalisations a step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.base import GatedCell, State
from seqloom.cells.initialization import initialize_memory, initialize_recurrent
from seqloom.cells.lstm import write_memory_gradients
from seqloom.cells.normalization import normalize, normalize_backward
from seqloom.cells.products import linear


class LayerNormLSTM(GatedCell):
    """State (h, c), each [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        recurrent_init: how the recurrent matrices start: orthogonal, uniform or identity.
        forget_bias: first bias of the forget gate, so that memory lasts.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

    gate_parameters = ("gain_hh", "gain_c", "bias_c")

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
        self.bias_hh = None
        self.gain_ih = nn.Parameter(torch.ones(4 * hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(4 * hidden_size))
        self.gain_hh = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_c = nn.Parameter(torch.ones(hidden_size))
        self.bias_c = nn.Parameter(torch.zeros(hidden_size))
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=4, recurrent_init=recurrent_init
        )
        write, forget, _, _ = self.bias_ih.detach().chunk(4)
        initialize_memory(forget, write, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)

    def project(self, inputs: Tensor) -> Tensor:
        product = linear(inputs, self.weight_ih).to(self.gain_ih.dtype)
        return normalize(product, self.gain_ih, self.bias_ih)[0]

    def gate(
        self, projected: Tensor, recurrent: Tensor, state: State
    ) -> tuple[State, tuple[Tensor, ...]]:
        size, memory = self.hidden_size, state[1]
        normal, of_recurrent = normalize(recurrent.to(memory.dtype), self.gain_hh, None)
        total = normal + projected
        gates = total[:, : 2 * size].sigmoid()
        candidate = total[:, 2 * size : 3 * size].tanh()
        output_gate = total[:, 3 * size :].sigmoid()
        memory = torch.addcmul(gates[:, size:] * memory, gates[:, :size], candidate)
        normal, of_memory = normalize(memory, self.gain_c, self.bias_c)
        squashed = normal.tanh()
        saved = (gates, candidate, output_gate, squashed, *of_recurrent, *of_memory)
        return (output_gate * squashed, memory), saved

    def gate_backward(
        self, saved: tuple[Tensor, ...], state: State, grad_new: State
    ) -> tuple[Tensor, Tensor, State, tuple[Tensor, ...]]:
        gates, candidate, output_gate, squashed = saved[:4]
        (grad_hidden, grad_memory), size = grad_new, self.hidden_size
        grad_normal = torch.ops.aten.tanh_backward(grad_hidden * output_gate, squashed)
        through_tanh, grad_gain_c, grad_bias_c = normalize_backward(
            grad_normal, saved[7:], self.gain_c, self.bias_c
        )
        grad_memory = grad_memory + through_tanh
        grad = grad_hidden.new_empty(len(grad_hidden), 4 * size)
        write_memory_gradients(grad, gates, candidate, state[1], grad_memory)
        grad[:, 3 * size :] = torch.ops.aten.sigmoid_backward(grad_hidden * squashed, output_gate)
        grad_recurrent, grad_gain, _ = normalize_backward(grad, saved[4:7], self.gain_hh, None)
        grad_state = (torch.zeros_like(state[0]), grad_memory * gates[:, size:])
        return grad, grad_recurrent, grad_state, (grad_gain, grad_gain_c, grad_bias_c)
