"""Simple recurrent network (Elman 1990), with tanh or ReLU.

    h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)

With `nonlinearity=relu` and `recurrent_init=identity` it is the IRNN (Le, Jaitly and Hinton 2015).
Parameters have torch's names and layout, so weights of `torch.nn.RNN` load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.base import FusedCell, GatedCell, State
from seqloom.cells.initialization import initialize_recurrent
from seqloom.cells.products import linear
from seqloom.errors import ConfigError
from seqloom.sequences import Padded


class RNN(FusedCell, GatedCell):
    """State (h,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        nonlinearity: `tanh` or `relu`.
        recurrent_init: how the recurrent matrix starts: orthogonal, uniform or identity.

    Raises:
        ConfigError: another nonlinearity or start.
    """

    bias_hh: Tensor

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        nonlinearity: str = "tanh",
        recurrent_init: str = "orthogonal",
    ) -> None:
        super().__init__(input_size, hidden_size)
        if nonlinearity not in ("tanh", "relu"):
            raise ConfigError(
                f"cell.nonlinearity={nonlinearity}", "there is no such one", "set tanh or relu"
            )
        self.nonlinearity = nonlinearity
        self.state_sizes = (hidden_size,)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(hidden_size))
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=1, recurrent_init=recurrent_init
        )

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def gate(
        self, projected: Tensor, recurrent: Tensor, state: State
    ) -> tuple[State, tuple[Tensor, ...]]:
        total = recurrent.to(state[0].dtype) + projected
        hidden = total.tanh() if self.nonlinearity == "tanh" else total.relu()
        return (hidden,), (hidden,)

    def gate_backward(
        self, saved: tuple[Tensor, ...], state: State, grad_new: State
    ) -> tuple[Tensor, Tensor, State, tuple[Tensor, ...]]:
        (hidden,), (grad,) = saved, grad_new
        if self.nonlinearity == "tanh":
            grad = torch.ops.aten.tanh_backward(grad, hidden)
        else:
            grad = torch.ops.aten.threshold_backward(grad, hidden, 0)
        return grad, grad, (torch.zeros_like(state[0]),), ()

    def run(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        weights: list[Tensor] = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        initial = state[0].to(inputs.values.dtype).unsqueeze(0)
        kernel = torch.rnn_tanh if self.nonlinearity == "tanh" else torch.rnn_relu
        outputs, hidden = kernel(
            inputs.values, initial, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        if inputs.is_full:
            return outputs, (hidden.squeeze(0),)
        return outputs, (inputs.with_values(outputs).last(state[0].to(outputs.dtype)),)
