"""sLSTM (Beck et al. 2024, "xLSTM", section 2.2): an LSTM with an exponential input gate, a
normaliser, and a state that is mixed within heads only.

    z = tanh(W_z x_t + b_z + R_z h_{t-1}),  o = sigmoid(W_o x_t + b_o + R_o h_{t-1})
    i = W_i x_t + b_i + R_i h_{t-1},  f = log sigmoid(W_f x_t + b_f + R_f h_{t-1})
    m_t = max(f + m_{t-1}, i),  i' = exp(i - m_t),  f' = exp(f + m_{t-1} - m_t)
    c_t = f' * c_{t-1} + i' * z,  n_t = f' * n_{t-1} + i'
    h_t = o * c_t / n_t

Every R is block-diagonal, a block a head. The memory that is meant is c exp(m), its normaliser
n exp(m): m, the stabiliser, only keeps their numbers in range. Of the paper's two forget gates it
is the sigmoid; the block around the cell (convolution, norms) is left to layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.base import Cell, State
from seqloom.cells.products import linear
from seqloom.cells.stabilization import check_heads, zone_out

# Where nothing has been written: below any input gate, so that the first one is written in full.
_EMPTY = -1e4
# Below any normaliser of the cell's own; for states that come from elsewhere.
_MIN_NORMALIZER = 1e-6


class SLSTM(Cell):
    """State (h, c, n, m), each [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        num_heads: blocks of the recurrent matrices; divides H.
        forget_bias_min: first bias of the forget gate, of a head's first element.
        forget_bias_max: of its last one; between them evenly.

    Raises:
        ConfigError: heads that do not divide H, or bounds in the wrong order.
    """

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        num_heads: int = 4,
        forget_bias_min: float = 3.0,
        forget_bias_max: float = 6.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_heads(hidden_size, num_heads, forget_bias_min, forget_bias_max)
        self.num_heads = num_heads
        self.state_sizes = (hidden_size,) * 4
        head_size = hidden_size // num_heads
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(num_heads, 4 * head_size, head_size))
        self.bias_ih = nn.Parameter(torch.zeros(4 * hidden_size))
        for block in self.weight_ih.chunk(4):
            nn.init.xavier_uniform_(block)
        for head in self.weight_hh.detach():
            for block in head.chunk(4):
                nn.init.orthogonal_(block)
        forget = self.bias_ih.detach()[2 * hidden_size : 3 * hidden_size]
        forget.view(num_heads, -1).copy_(
            torch.linspace(forget_bias_min, forget_bias_max, head_size)
        )

    def initial_state(self, like: Tensor, batch_size: int) -> State:
        """Zeros, and a stabiliser that stands for an empty memory."""
        *others, stabilizer = super().initial_state(like, batch_size)
        return *others, stabilizer + _EMPTY

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, memory, normalizer, stabilizer = state
        total = projected.to(hidden.dtype) + self._recurrent(hidden)
        candidate, write, forget, output = total.chunk(4, dim=-1)
        kept = F.logsigmoid(forget) + stabilizer
        stabilizer = torch.maximum(kept, write)
        keep, write = torch.exp(kept - stabilizer), torch.exp(write - stabilizer)
        memory = keep * memory + write * candidate.tanh()
        normalizer = keep * normalizer + write
        hidden = output.sigmoid() * memory / normalizer.clamp(min=_MIN_NORMALIZER)
        return hidden, (hidden, memory, normalizer, stabilizer)

    def advance(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        output, new = self.step(projected, state)
        if not self.noise.has_zoneout:
            return output, new
        masks = self.noise.keep_masks(state, self.training)
        hidden = new[0] + masks[0] * (state[0] - new[0])
        return hidden, (hidden, *zone_out(masks[1:], state[1:], new[1:]))

    def _recurrent(self, hidden: Tensor) -> Tensor:
        """R h for all gates, [N, 4 * H]."""
        heads = self.read(hidden).unflatten(1, (self.num_heads, -1)).transpose(0, 1)
        products = torch.bmm(heads, self.weight_hh.transpose(1, 2))  # [heads, N, 4 * H / heads]
        by_gate = products.unflatten(2, (4, -1)).permute(1, 2, 0, 3)
        return by_gate.flatten(1).to(hidden.dtype)
