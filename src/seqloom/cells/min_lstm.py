"""minLSTM (Feng et al. 2024, "Were RNNs all we needed?", section 3.2): an LSTM whose gates and
candidate do not see the state, with gates that sum to 1, so that the state keeps its scale.

    f = sigmoid(W_f x_t + b_f),  i = sigmoid(W_i x_t + b_i),  n = W_n x_t + b_n
    f' = f / (f + i),  i' = i / (f + i)
    h_t = f' * h_{t-1} + i' * n

This is the paper's plain form, without logarithms of the state. The quotient is taken as
f' = sigmoid(log f - log i), which is finite also where both gates are shut.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.initialization import initialize_memory
from seqloom.cells.linear_recurrence import LinearCell
from seqloom.cells.products import linear


class MinLSTM(LinearCell):
    """State (h,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        forget_bias: first bias of the forget gate; above 0 remembers at first.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        forget_bias: float = 1.0,
        chrono_max_steps: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.state_sizes = (hidden_size,)
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        for block in self.weight_ih.chunk(3):
            nn.init.xavier_uniform_(block)
        forget, write, _ = self.bias_ih.detach().chunk(3)
        initialize_memory(forget, write, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        forget, write, candidate = projected.chunk(3, dim=-1)
        keep = torch.sigmoid(F.logsigmoid(forget) - F.logsigmoid(write))
        return keep, (1 - keep) * candidate
