"""minGRU (Feng et al. 2024, "Were RNNs all we needed?", section 3.1): a GRU whose gate and
candidate do not see the state, so that all steps run at once.

    z = sigmoid(W_z x_t + b_z)
    n = W_n x_t + b_n
    h_t = (1 - z) * h_{t-1} + z * n

This is the paper's plain form, without logarithms: the scan never divides, so it needs none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.initialization import initialize_memory
from seqloom.cells.linear_recurrence import LinearCell
from seqloom.cells.products import linear


class MinGRU(LinearCell):
    """State (h,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        forget_bias: how strongly memory is kept at first: minus the first bias of z.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        forget_bias: float = 0.0,
        chrono_max_steps: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.state_sizes = (hidden_size,)
        self.weight_ih = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.zeros(2 * hidden_size))
        for block in self.weight_ih.chunk(2):
            nn.init.xavier_uniform_(block)
        write = self.bias_ih.detach()[:hidden_size]
        initialize_memory(write, None, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)
        write.neg_()

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        gate, candidate = projected.chunk(2, dim=-1)
        write = gate.sigmoid()
        return 1 - write, write * candidate
