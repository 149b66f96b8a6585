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

from seqloom.cells.base import FusedCell, GatedCell, State
from seqloom.cells.initialization import initialize_memory, initialize_recurrent
from seqloom.cells.products import linear
from seqloom.sequences import Padded

# Large enough that the sigmoid is exactly 0 or 1 in float32 and bfloat16.
_SATURATED = 1e4


class LSTM(FusedCell, GatedCell):
    """State (h, c), each [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        recurrent_init: how the recurrent matrices start: orthogonal, uniform or identity.
        forget_bias: first bias of the forget gate, so that memory lasts (Jozefowicz et al. 2015).
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

    bias_hh: Tensor

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
        total = recurrent.to(memory.dtype) + projected
        gates = total[:, : 2 * size].sigmoid()
        candidate = total[:, 2 * size : 3 * size].tanh()
        output_gate = total[:, 3 * size :].sigmoid()
        memory = torch.addcmul(gates[:, size:] * memory, gates[:, :size], candidate)
        squashed = memory.tanh()
        return (output_gate * squashed, memory), (gates, candidate, output_gate, squashed)

    def gate_backward(
        self, saved: tuple[Tensor, ...], state: State, grad_new: State
    ) -> tuple[Tensor, Tensor, State, tuple[Tensor, ...]]:
        gates, candidate, output_gate, squashed = saved
        grad_hidden, grad_memory = grad_new
        grad_memory = grad_memory + torch.ops.aten.tanh_backward(
            grad_hidden * output_gate, squashed
        )
        grad = grad_hidden.new_empty(len(grad_hidden), 4 * self.hidden_size)
        write_memory_gradients(grad, gates, candidate, state[1], grad_memory)
        grad[:, 3 * self.hidden_size :] = torch.ops.aten.sigmoid_backward(
            grad_hidden * squashed, output_gate
        )
        forget = gates[:, self.hidden_size :]
        return grad, grad, (torch.zeros_like(state[0]), grad_memory * forget), ()

    def run(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        return run_kernel(inputs, state, weights)


def write_memory_gradients(
    grad: Tensor, gates: Tensor, candidate: Tensor, memory: Tensor, grad_memory: Tensor
) -> None:
    """Fills the blocks i, f, g of `grad` [N, 3H or more] with the gradients by what the gates'
    sigmoids and tanh read, given the gates i, f [N, 2H], the candidate, the memory that was read
    and the gradient by the new memory, each [N, H]."""
    size = memory.shape[-1]
    torch.mul(grad_memory, candidate, out=grad[:, :size])
    torch.mul(grad_memory, memory, out=grad[:, size : 2 * size])
    block = grad[:, : 2 * size]
    torch.ops.aten.sigmoid_backward(block, gates, grad_input=block)
    grad[:, 2 * size : 3 * size] = torch.ops.aten.tanh_backward(
        grad_memory * gates[:, :size], candidate
    )


def run_kernel(inputs: Padded, state: State, weights: list[Tensor]) -> tuple[Tensor, State]:
    """`FusedCell.run` by the vendor's kernel; weights in torch's order: input, recurrent, biases
    and, where there is one, the projection."""
    if inputs.is_full:
        outputs, hidden, memory = _kernel(inputs.values, state, weights)
        return outputs, (hidden, memory)
    # The kernel only tells the memory after step T. One more input feature, 1 on padding, shuts
    # the input gate and opens the forget gate there, so that the memory of the last real step
    # is held, exactly.
    size, num_features = state[1].shape[1], inputs.values.shape[2]
    hold = torch.zeros(4, size, _extra_features(num_features))
    hold[0, :, 0], hold[1, :, 0] = -_SATURATED, _SATURATED
    weight = torch.cat([weights[0], hold.flatten(0, 1).to(weights[0])], dim=1)
    padding = inputs.values.new_zeros(*inputs.values.shape[:2], hold.shape[2])
    padding[..., 0] = ~inputs.mask()
    values = torch.cat([inputs.values, padding], dim=2)
    outputs, _, memory = _kernel(values, state, [weight, *weights[1:]])
    return outputs, (inputs.with_values(outputs).last(state[0].to(outputs.dtype)), memory)


def _kernel(values: Tensor, state: State, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs [B, T, output_size], final h and c of the kernel over all T steps."""
    initial = [part.to(values.dtype).unsqueeze(0) for part in state]
    outputs, hidden, memory = torch.lstm(
        values, initial, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True
    )
    return outputs, hidden.squeeze(0), memory.squeeze(0)


def _extra_features(input_size: int) -> int:
    """At least one, so that the sum is a multiple of 32: an odd size halves oneDNN's speed."""
    return 32 - input_size % 32
