"""Simple recurrent unit (Lei et al. 2018), with its highway connection.

    f = sigmoid(W_f x_t + v_f * c_{t-1} + b_f)
    r = sigmoid(W_r x_t + v_r * c_{t-1} + b_r)
    c_t = f * c_{t-1} + (1 - f) * (W x_t)
    h_t = r * c_t + (1 - r) * alpha x_t,  alpha = sqrt(1 + 2 exp(b))

b is where b_r starts; alpha keeps the size of what passes the highway. The terms v * c_{t-1} are
the paper's final version (`peephole`); they make the recurrence non-linear, so without them it
runs as a scan. Where inputs and state differ in size, the highway carries W_x x_t.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.base import State
from seqloom.cells.initialization import initialize_memory
from seqloom.cells.linear_recurrence import LinearCell
from seqloom.cells.products import linear


class SRU(LinearCell):
    """State (c,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        peephole: the gates see the state; then there is no scan.
        highway_bias: first bias of r; below 0 passes more of the input at first.
        forget_bias: first bias of the forget gate; above 0 remembers at first.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

    gives_state = False

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        peephole: bool = False,
        highway_bias: float = 0.0,
        forget_bias: float = 0.0,
        chrono_max_steps: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.state_sizes = (hidden_size,)
        num_blocks = 3 if input_size == hidden_size else 4
        self.weight_ih = nn.Parameter(torch.empty(num_blocks * hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.zeros(2 * hidden_size))
        self.weight_peephole = nn.Parameter(torch.empty(2, hidden_size)) if peephole else None
        self.highway_scale = math.sqrt(1 + 2 * math.exp(highway_bias))
        bound = math.sqrt(3 / max(1, input_size))  # the paper's, section 3.2
        nn.init.uniform_(self.weight_ih, -bound, bound)
        if self.weight_peephole is not None:
            nn.init.uniform_(self.weight_peephole, -bound, bound)
        forget, highway = self.bias_ih.detach().chunk(2)
        initialize_memory(forget, None, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)
        highway.fill_(highway_bias)

    @property
    def is_linear(self) -> bool:
        return self.weight_peephole is None

    def project(self, inputs: Tensor) -> Tensor:
        """[..., 4 * H]: forget gate, highway gate, candidate, and what the highway carries."""
        bias = F.pad(self.bias_ih, [0, len(self.weight_ih) - len(self.bias_ih)])
        products = linear(inputs, self.weight_ih, bias)
        if self.input_size != self.hidden_size:
            return products
        return torch.cat([products, inputs.to(products.dtype)], dim=-1)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        size = self.hidden_size
        keep = projected[..., :size].sigmoid()
        return keep, (1 - keep) * projected[..., 2 * size : 3 * size]

    def emit(self, projected: Tensor, states: Tensor) -> Tensor:
        _, gate, _, carried = projected.chunk(4, dim=-1)
        carried = carried * self.highway_scale
        return carried + gate.sigmoid() * (states - carried)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        if self.weight_peephole is not None:
            (memory,) = state
            seen = torch.cat(
                [self.weight_peephole[0] * memory, self.weight_peephole[1] * memory], dim=-1
            )
            projected = projected.to(memory.dtype) + F.pad(seen, [0, 2 * self.hidden_size])
        return super().step(projected, state)
