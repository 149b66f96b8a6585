"""Independently recurrent network (Li et al. 2018): each element sees only its own past.

    h_t = relu(W x_t + b + u * h_{t-1})

u is a vector, so the gradient of an element over T steps is bounded by |u|^T: with |u| near 1 it
lasts for thousands of steps, and above 1 it explodes, so u is held in +-2^(1 / T) (section 3.1).
Price: elements meet only in the layer above, so it wants at least two layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.base import Cell, State
from seqloom.cells.products import linear
from seqloom.errors import ConfigError


class IndRNN(Cell):
    """State (h,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        nonlinearity: `relu` or `tanh`.
        recurrent_min: smallest element of u at first.
        recurrent_max: largest element of u at first; the nearer to 1, the longer the memory.
        memory_steps: T, the longest span to remember, by which u is bounded; None: no bound.

    Raises:
        ConfigError: another nonlinearity, or bounds in the wrong order.
    """

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        nonlinearity: str = "relu",
        recurrent_min: float = 0.0,
        recurrent_max: float = 1.0,
        memory_steps: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if nonlinearity not in ("relu", "tanh"):
            raise ConfigError(
                f"cell.nonlinearity={nonlinearity}", "there is no such one", "set relu or tanh"
            )
        if recurrent_min > recurrent_max:
            raise ConfigError(
                f"cell.recurrent_min={recurrent_min}",
                f"is above cell.recurrent_max={recurrent_max}",
                "set it no larger than that",
            )
        self.nonlinearity = nonlinearity
        self.bound = None if memory_steps is None else 2 ** (1 / max(1, memory_steps))
        self.state_sizes = (hidden_size,)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(hidden_size))
        nn.init.xavier_uniform_(self.weight_ih)
        nn.init.uniform_(self.weight_hh, recurrent_min, recurrent_max)

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        total = projected.to(hidden.dtype) + self._weight() * self.read(hidden)
        hidden = total.relu() if self.nonlinearity == "relu" else total.tanh()
        return hidden, (hidden,)

    def _weight(self) -> Tensor:
        """u in its bound; the gradient passes, so that an element can come back from outside."""
        if self.bound is None:
            return self.weight_hh
        inside = self.weight_hh.detach().clamp(-self.bound, self.bound)
        return self.weight_hh + (inside - self.weight_hh.detach())
