"""Convolutional LSTM (Shi et al. 2015): an LSTM over maps, whose products are convolutions.

    i = sigmoid(W_xi * x_t + W_hi * h_{t-1} + w_ci . c_{t-1} + b_i)
    f = sigmoid(W_xf * x_t + W_hf * h_{t-1} + w_cf . c_{t-1} + b_f)
    c_t = f . c_{t-1} + i . tanh(W_xc * x_t + W_hc * h_{t-1} + b_c)
    o = sigmoid(W_xo * x_t + W_ho * h_{t-1} + w_co . c_t + b_o)
    h_t = o . tanh(c_t)

Maps keep their size: odd kernels, zeros around them. The peepholes w_c are a number a channel, not
the paper's one a place, so that weights do not depend on the size of the maps; they are an option.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from seqloom.cells.base import Cell, State
from seqloom.cells.convolution import check_kernel, convolve, maps_like
from seqloom.cells.initialization import initialize_memory, initialize_recurrent


class ConvLSTM(Cell):
    """State (h, c), [N, H, height, width], of inputs [N, I, height, width].

    Args:
        input_size: I, channels.
        hidden_size: H, channels.
        kernel_size: side of both convolutions' kernels; odd.
        peephole: the gates see the memory.
        forget_bias: first bias of the forget gate; above 0 remembers at first.

    Raises:
        ConfigError: a kernel that has no middle.
    """

    reads_maps: ClassVar[bool] = True

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        kernel_size: int = 3,
        peephole: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_kernel(kernel_size)
        self.state_sizes = (hidden_size, hidden_size)
        window = (kernel_size, kernel_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size, *window))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size, *window))
        self.bias_ih = nn.Parameter(torch.zeros(4 * hidden_size))
        self.weight_peephole = nn.Parameter(torch.zeros(3, hidden_size, 1, 1)) if peephole else None
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=4, recurrent_init="orthogonal"
        )
        forget = self.bias_ih.detach()[hidden_size : 2 * hidden_size]
        initialize_memory(forget, None, forget_bias=forget_bias, chrono_max_steps=None)

    def initial_state(self, like: Tensor, batch_size: int) -> State:
        """Zeros of the height and width of `like` ([B, T, I, height, width] or without T)."""
        return maps_like(like, super().initial_state(like, batch_size))

    def project(self, inputs: Tensor) -> Tensor:
        return convolve(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, memory = state
        recurrent = convolve(self.read(hidden), self.weight_hh, None)
        total = projected.to(memory.dtype) + recurrent.to(memory.dtype)
        write, forget, candidate, output = total.chunk(4, dim=1)
        if self.weight_peephole is not None:
            write = write + self.weight_peephole[0] * memory
            forget = forget + self.weight_peephole[1] * memory
        memory = forget.sigmoid() * memory + write.sigmoid() * candidate.tanh()
        if self.weight_peephole is not None:
            output = output + self.weight_peephole[2] * memory
        hidden = output.sigmoid() * memory.tanh()
        return hidden, (hidden, memory)
