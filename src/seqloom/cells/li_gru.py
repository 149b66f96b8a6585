"""Light gated recurrent unit (Ravanelli et al. 2018): no reset gate, and a ReLU candidate.

    z = sigmoid(LN(W_iz x_t; gain_z) + b_z + W_hz h_{t-1})
    n = relu(LN(W_in x_t; gain_n) + b_n + W_hn h_{t-1})
    h_t = (1 - z) * n + z * h_{t-1}

The paper normalises the input's products over the batch, which bounds the ReLU's growth. Here it is
layer normalisation, each over its H features, so that a row does not depend on the others beside
it, nor on padding; that needs no state and is done for all steps at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.base import GatedCell, State
from seqloom.cells.initialization import initialize_memory, initialize_recurrent
from seqloom.cells.normalization import normalize
from seqloom.cells.products import linear


class LiGRU(GatedCell):
    """State (h,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        recurrent_init: how the recurrent matrices start: orthogonal, uniform or identity.
        forget_bias: first bias of the update gate z, which keeps memory.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

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
        self.weight_ih = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
        self.bias_hh = None
        self.gain_ih = nn.Parameter(torch.ones(2 * hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(2 * hidden_size))
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=2, recurrent_init=recurrent_init
        )
        update, _ = self.bias_ih.detach().chunk(2)
        initialize_memory(update, None, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)

    def project(self, inputs: Tensor) -> Tensor:
        product = linear(inputs, self.weight_ih).to(self.gain_ih.dtype)
        blocks = zip(
            product.chunk(2, dim=-1), self.gain_ih.chunk(2), self.bias_ih.chunk(2), strict=True
        )
        normal = [normalize(block.contiguous(), gain, bias)[0] for block, gain, bias in blocks]
        return torch.cat(normal, dim=-1)

    def gate(
        self, projected: Tensor, recurrent: Tensor, state: State
    ) -> tuple[State, tuple[Tensor, ...]]:
        size, hidden = self.hidden_size, state[0]
        total = recurrent.to(hidden.dtype) + projected
        update, candidate = total[:, :size].sigmoid(), total[:, size:].relu()
        return (candidate + update * (hidden - candidate),), (update, candidate)

    def gate_backward(
        self, saved: tuple[Tensor, ...], state: State, grad_new: State
    ) -> tuple[Tensor, Tensor, State, tuple[Tensor, ...]]:
        (update, candidate), (grad_hidden,), size = saved, grad_new, self.hidden_size
        kept = grad_hidden * update
        grad = grad_hidden.new_empty(len(grad_hidden), 2 * size)
        grad[:, :size] = torch.ops.aten.sigmoid_backward(
            grad_hidden * (state[0] - candidate), update
        )
        grad[:, size:] = torch.ops.aten.threshold_backward(grad_hidden - kept, candidate, 0)
        return grad, grad, (kept,), ()
