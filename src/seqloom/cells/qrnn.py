"""Quasi-recurrent network (Bradbury et al. 2017): a convolution over time, then fo-pooling.

    n = tanh(W_n * x),  f = sigmoid(W_f * x + b_f),  o = sigmoid(W_o * x)
    c_t = f * c_{t-1} + (1 - f) * n
    h_t = o * c_t

`*` is a convolution over this step and, with `window=2`, the one before it; before the first step
there are zeros. What a step gives to the next one's convolution is a part of the state, so a step,
a scan and a stream agree.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.base import State
from seqloom.cells.initialization import initialize_memory
from seqloom.cells.linear_recurrence import LinearCell
from seqloom.cells.products import linear
from seqloom.errors import ConfigError
from seqloom.sequences import Padded


class QRNN(LinearCell):
    """State (c,), [N, H]; with `window=2` also the products of the last input, [N, 3 * H].

    Args:
        input_size: I.
        hidden_size: H.
        window: steps that the convolution reads, 1 or 2.
        forget_bias: first bias of the forget gate; above 0 remembers at first.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.

    Raises:
        ConfigError: another window.
    """

    gives_state = False

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        window: int = 2,
        forget_bias: float = 1.0,
        chrono_max_steps: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if window not in (1, 2):
            raise ConfigError(f"cell.window={window}", "is not supported", "set 1 or 2")
        self.window = window
        self.state_sizes = (hidden_size, 3 * hidden_size)[:window]
        self.weight_ih = nn.Parameter(torch.empty(window * 3 * hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        for block in self.weight_ih.chunk(3 * window):
            nn.init.xavier_uniform_(block)
        _, forget, _ = self.bias_ih.detach().chunk(3)
        initialize_memory(forget, None, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)

    def project(self, inputs: Tensor) -> Tensor:
        """[..., 3 * H * window]: for this step, and for the next one."""
        bias = F.pad(self.bias_ih, [0, len(self.weight_ih) - len(self.bias_ih)])
        return linear(inputs, self.weight_ih, bias)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        candidate, forget, _ = projected.chunk(3, dim=-1)
        keep = forget.sigmoid()
        return keep, (1 - keep) * candidate.tanh()

    def emit(self, projected: Tensor, states: Tensor) -> Tensor:
        return projected[..., 2 * self.hidden_size :].sigmoid() * states

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        if self.window == 1:
            return super().step(projected, state)
        now, later = projected.to(state[1].dtype).chunk(2, dim=-1)
        output, (memory,) = super().step(now + state[1], state[:1])
        return output, (memory, later)

    def scan(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        if self.window == 1:
            return super().scan(inputs, state)
        now, later = self.project(inputs.values).to(state[1].dtype).chunk(2, dim=-1)
        earlier = torch.cat([state[1].unsqueeze(1), later[:, :-1]], dim=1)
        outputs, (memory,) = self.scan_projected(inputs.with_values(now + earlier), state[:1])
        return outputs, (memory, inputs.with_values(later).last(state[1]))
