"""LSTM with a recurrent projection (Sak, Senior and Beaufays 2014): a large memory, a small state.

    i, f, g, o = W_ih x_t + b_ih + W_hh r_{t-1} + b_hh      (gates in torch's order)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    r_t = W_hr (sigmoid(o) * tanh(c_t))

Parameters have torch's names and layout, so weights of `torch.nn.LSTM(proj_size=)` load as they
are. Price: a second, small product a step.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.base import FusedCell, State
from seqloom.cells.initialization import initialize_memory, initialize_recurrent
from seqloom.cells.lstm import run_kernel
from seqloom.cells.products import linear
from seqloom.errors import ConfigError
from seqloom.sequences import Padded


class ProjectedLSTM(FusedCell):
    """State (r, c), [N, P] and [N, H]; the output is r.

    Args:
        input_size: I.
        hidden_size: H, of the memory.
        projection_size: P, of the output, 1..H - 1; None: H // 2.
        recurrent_init: how the recurrent matrices start: orthogonal, uniform or identity.
        forget_bias: first bias of the forget gate, so that memory lasts.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.

    Raises:
        ConfigError: a projection that is not smaller than the memory.
    """

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        projection_size: int | None = None,
        recurrent_init: str = "orthogonal",
        forget_bias: float = 1.0,
        chrono_max_steps: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if projection_size is None:
            projection_size = hidden_size // 2
        if not 1 <= projection_size < hidden_size:
            raise ConfigError(
                f"cell.projection_size={projection_size}",
                f"does not project a memory of {hidden_size} features to fewer",
                f"set 1..{hidden_size - 1}, or cell=lstm",
            )
        self.output_size = projection_size
        self.state_sizes = (projection_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, projection_size))
        self.weight_hr = nn.Parameter(torch.empty(projection_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(4 * hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(4 * hidden_size))
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=4, recurrent_init=recurrent_init
        )
        nn.init.orthogonal_(self.weight_hr)
        write, forget, _, _ = self.bias_ih.detach().chunk(4)
        initialize_memory(forget, write, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, memory = state
        recurrent = F.linear(self.read(hidden), self.weight_hh, self.bias_hh)
        total = recurrent.to(memory.dtype) + projected
        write, forget, candidate, output = total.chunk(4, dim=-1)
        memory = forget.sigmoid() * memory + write.sigmoid() * candidate.tanh()
        hidden = F.linear(output.sigmoid() * memory.tanh(), self.weight_hr).to(memory.dtype)
        return hidden, (hidden, memory)

    def run(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        weights: list[Tensor] = [
            self.weight_ih,
            self.weight_hh,
            self.bias_ih,
            self.bias_hh,
            self.weight_hr,
        ]
        with warnings.catch_warnings():
            # On a CPU this kernel is torch's own loop; it is right, and says once that it is not
            # oneDNN's.
            warnings.filterwarnings("ignore", message="LSTM with projections is not supported")
            return run_kernel(inputs, state, weights)
