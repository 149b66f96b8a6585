"""Linear recurrent unit (Orvieto et al. 2023, "Resurrecting recurrent neural networks for long
sequences", section 3): a complex diagonal recurrence, the same at every step.

    lambda = exp(-exp(nu) + i exp(theta))                      [S], inside the unit circle
    s_t = lambda * s_{t-1} + gamma * (B x_t),  gamma = exp(g)
    y_t = Re(C s_t) + D x_t

lambda starts evenly over a ring of the unit disc, gamma at sqrt(1 - |lambda|^2), so that a long
input of white noise gives states of its own size. S is the hidden size. In the paper's block the
outputs then pass a gated linear unit, W_1 y * sigmoid(W_2 y) with W_1 = 1; without one, a stack of
LRUs is linear as a whole.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqloom.cells.base import State
from seqloom.cells.linear_recurrence import LinearCell
from seqloom.cells.products import linear
from seqloom.errors import ConfigError


class LRU(LinearCell):
    """State (s,), [N, 2 * S], real: real and imaginary part of each element side by side.

    Args:
        input_size: I.
        hidden_size: H, of the outputs; S, the number of complex elements of the state, is the same.
        r_min: smallest |lambda| at first.
        r_max: largest |lambda| at first; the nearer to 1, the longer the memory.
        max_phase: largest angle of lambda at first, in radians; small for long sequences.
        memory_steps: the longest span to remember; |lambda| then starts at exp(-1 / memory_steps)
            or above, so that after it more than a third of a state is left. None: r_min decides.
        gated: outputs pass a gated linear unit.

    Raises:
        ConfigError: no ring inside the unit circle.
    """

    gives_state = False

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
        memory_steps: int | None = None,
        gated: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if memory_steps is not None:
            r_min = max(r_min, math.exp(-1 / max(1, memory_steps)))
        if not 0 <= r_min < r_max <= 1:
            raise ConfigError(
                f"cell.r_min={r_min}, cell.r_max={r_max}",
                "is no ring inside the unit circle",
                "set 0 <= r_min < r_max <= 1",
            )
        if not 0 < max_phase <= 2 * math.pi:
            raise ConfigError(
                f"cell.max_phase={max_phase}", "is no angle in radians", "set above 0, to 6.2831"
            )
        self.state_sizes = (2 * hidden_size,)
        self.nu_log = nn.Parameter(torch.empty(hidden_size))
        self.theta_log = nn.Parameter(torch.empty(hidden_size))
        self.gamma_log = nn.Parameter(torch.empty(hidden_size))
        self.weight_in = nn.Parameter(torch.empty(hidden_size, 2, input_size))
        self.weight_out = nn.Parameter(torch.empty(hidden_size, hidden_size, 2))
        self.weight_skip = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_gate = nn.Parameter(torch.empty(hidden_size, hidden_size)) if gated else None
        self.scan_parameters = ("nu_log", "theta_log", "weight_out", *["weight_gate"] * gated)
        self._initialize(r_min, r_max, max_phase)

    @torch.no_grad()
    def _initialize(self, r_min: float, r_max: float, max_phase: float) -> None:
        """The ring of the paper's lemma 3.2, evenly over its area; Glorot's sizes for B and C."""
        area = torch.rand_like(self.nu_log).clamp(min=1e-6, max=1 - 1e-6)
        log_radius = 0.5 * torch.log(r_min**2 + (r_max**2 - r_min**2) * area)
        self.nu_log.copy_(torch.log(-log_radius))
        self.theta_log.copy_(torch.log(max_phase * torch.rand_like(area).clamp(min=1e-6)))
        self.gamma_log.copy_(0.5 * torch.log(-torch.expm1(2 * log_radius)))
        nn.init.normal_(self.weight_in, std=1 / math.sqrt(2 * max(1, self.input_size)))
        nn.init.normal_(self.weight_out, std=1 / math.sqrt(max(1, self.hidden_size)))
        nn.init.xavier_uniform_(self.weight_skip)
        if self.weight_gate is not None:
            nn.init.xavier_uniform_(self.weight_gate)

    def project(self, inputs: Tensor) -> Tensor:
        """gamma B x, each element's two parts side by side, and D x: [..., 2 * S + H]."""
        drive = (self.weight_in * self.gamma_log.exp().reshape(-1, 1, 1)).flatten(0, 1)
        return linear(inputs, torch.cat([drive, self.weight_skip]))

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        driven = projected[..., : 2 * self.hidden_size].unflatten(-1, (-1, 2))
        return torch.complex(*self._decay()), torch.view_as_complex(driven.contiguous())

    def emit(self, projected: Tensor, states: Tensor) -> Tensor:
        return self._outputs(projected, torch.view_as_real(states).flatten(-2))

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        """In real numbers, which every export knows."""
        projected = projected.to(state[0].dtype)
        drive = projected[:, : 2 * self.hidden_size].unflatten(1, (-1, 2))
        real, imaginary = state[0].unflatten(1, (-1, 2)).unbind(2)
        cosine, sine = self._decay()
        turned = torch.stack(
            [cosine * real - sine * imaginary, sine * real + cosine * imaginary], 2
        )
        new = (turned + drive).flatten(1)
        return self._outputs(projected, new), (new,)

    def _decay(self) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of lambda."""
        radius, angle = torch.exp(-self.nu_log.exp()), self.theta_log.exp()
        return radius * angle.cos(), radius * angle.sin()

    def _outputs(self, projected: Tensor, parts: Tensor) -> Tensor:
        """Of states [..., 2 * S], in their precision also under autocast."""
        with torch.autocast(parts.device.type, enabled=False):
            # Re(C s) = Re C Re s - Im C Im s: the matrix holds Re C and -Im C.
            outputs = linear(parts, self.weight_out.flatten(1))
            outputs = outputs + projected[..., 2 * self.hidden_size :]
            if self.weight_gate is None:
                return outputs
            return outputs * linear(outputs, self.weight_gate).sigmoid()
