"""Convolutional GRU (Ballas et al. 2016): a GRU over maps, whose products are convolutions.

    z = sigmoid(W_z * x_t + U_z * h_{t-1} + b_z)
    r = sigmoid(W_r * x_t + U_r * h_{t-1} + b_r)
    n = tanh(W * x_t + U * (r . h_{t-1}) + b)
    h_t = (1 - z) . h_{t-1} + z . n

Maps keep their size: odd kernels, zeros around them. As the paper has it z writes, so its first
bias is minus `forget_bias`. Price: the second convolution of the state waits for the first.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from seqloom.cells.base import Cell, State
from seqloom.cells.convolution import check_kernel, convolve, maps_like
from seqloom.cells.initialization import initialize_recurrent


class ConvGRU(Cell):
    """State (h,), [N, H, height, width], of inputs [N, I, height, width].

    Args:
        input_size: I, channels.
        hidden_size: H, channels.
        kernel_size: side of both convolutions' kernels; odd.
        forget_bias: minus the first bias of z; above 0 remembers at first.

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
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_kernel(kernel_size)
        self.state_sizes = (hidden_size,)
        window = (kernel_size, kernel_size)
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size, *window))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size, *window))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=3, recurrent_init="orthogonal"
        )
        self.bias_ih.detach()[:hidden_size].fill_(-forget_bias)

    def initial_state(self, like: Tensor, batch_size: int) -> State:
        """Zeros of the height and width of `like` ([B, T, I, height, width] or without T)."""
        return maps_like(like, super().initial_state(like, batch_size))

    def project(self, inputs: Tensor) -> Tensor:
        return convolve(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,), size = state, self.hidden_size
        projected = projected.to(hidden.dtype)
        gate_weight, candidate_weight = self.weight_hh.split([2 * size, size])
        recurrent = convolve(self.read(hidden), gate_weight, None).to(hidden.dtype)
        write, reset = (projected[:, : 2 * size] + recurrent).sigmoid().chunk(2, dim=1)
        recurrent = convolve(self.read(reset * hidden), candidate_weight, None).to(hidden.dtype)
        candidate = torch.tanh(projected[:, 2 * size :] + recurrent)
        hidden = hidden + write * (candidate - hidden)
        return hidden, (hidden,)
