"""Gated recurrent unit (Cho et al. 2014), in the form that the vendors' kernels compute: reset
after the matrix.

    r = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
    z = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}

Parameters have torch's names and layout, so weights of `torch.nn.GRU` load as they are. The paper's
own form, reset before the matrix, is `ResetBeforeGRU`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.base import FusedCell, GatedCell, State
from seqloom.cells.initialization import initialize_memory, initialize_recurrent
from seqloom.cells.products import linear
from seqloom.sequences import Padded


class GRU(FusedCell, GatedCell):
    """State (h,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        recurrent_init: how the recurrent matrices start: orthogonal, uniform or identity.
        forget_bias: first bias of the update gate z, which keeps memory.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

    bias_hh: Tensor

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
        self.bias_hh = nn.Parameter(torch.zeros(3 * hidden_size))
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=3, recurrent_init=recurrent_init
        )
        _, update, _ = self.bias_ih.detach().chunk(3)
        initialize_memory(update, None, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def gate(
        self, projected: Tensor, recurrent: Tensor, state: State
    ) -> tuple[State, tuple[Tensor, ...]]:
        return gru_gate(projected, recurrent, state[0])

    def gate_backward(
        self, saved: tuple[Tensor, ...], state: State, grad_new: State
    ) -> tuple[Tensor, Tensor, State, tuple[Tensor, ...]]:
        grad_projected, grad_recurrent, grad_hidden = gru_gate_backward(
            saved, state[0], grad_new[0]
        )
        return grad_projected, grad_recurrent, (grad_hidden,), ()

    def run(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        weights: list[Tensor] = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        initial = state[0].to(inputs.values.dtype).unsqueeze(0)
        outputs, hidden = torch.gru(
            inputs.values, initial, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        if inputs.is_full:
            return outputs, (hidden.squeeze(0),)
        return outputs, (inputs.with_values(outputs).last(state[0].to(outputs.dtype)),)


def gru_gate(
    projected: Tensor, recurrent: Tensor, hidden: Tensor
) -> tuple[State, tuple[Tensor, ...]]:
    """The element-wise part: both products [N, 3H] (blocks r, z, n) and h [N, H] -> the new state,
    and what `gru_gate_backward` needs."""
    size = hidden.shape[-1]
    recurrent = recurrent.to(hidden.dtype)
    gates = (recurrent[:, : 2 * size] + projected[:, : 2 * size]).sigmoid()
    reset, update = gates.chunk(2, dim=-1)
    read = recurrent[:, 2 * size :]
    candidate = torch.addcmul(projected[:, 2 * size :].to(hidden.dtype), reset, read).tanh()
    new = candidate + update * (hidden - candidate)
    return (new,), (gates, candidate, read)


def gru_gate_backward(
    saved: tuple[Tensor, ...], hidden: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by both products [N, 3H] and by h [N, H], given that by the new state."""
    gates, candidate, read = saved
    size = hidden.shape[-1]
    reset, update = gates.chunk(2, dim=-1)
    grad_hidden = grad * update
    grad_projected = grad.new_empty(len(grad), 3 * size)
    grad_candidate = torch.ops.aten.tanh_backward(grad - grad_hidden, candidate)
    grad_projected[:, 2 * size :] = grad_candidate
    torch.mul(grad_candidate, read, out=grad_projected[:, :size])
    torch.mul(grad, hidden - candidate, out=grad_projected[:, size : 2 * size])
    block = grad_projected[:, : 2 * size]
    torch.ops.aten.sigmoid_backward(block, gates, grad_input=block)
    grad_recurrent = grad_projected.clone()
    grad_recurrent[:, 2 * size :] *= reset
    return grad_projected, grad_recurrent, grad_hidden
