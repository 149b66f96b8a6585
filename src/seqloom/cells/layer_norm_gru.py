"""GRU with layer normalisation (Ba, Kiros and Hinton 2016, their GRU): reset after the matrix.

    r, z = sigmoid(LN(W_i x_t; gain) + b + LN(W_h h_{t-1}; gain))
    n = tanh(LN(W_in x_t; gain) + b_n + r * LN(W_hn h_{t-1}; gain))
    h_t = (1 - z) * n + z * h_{t-1}

The two gates share one LN over 2H features and the candidate has one over H, on either side, so
neither batches nor padding matter. Price: four normalisations a step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.cells.base import GatedCell, State
from seqloom.cells.gru import gru_gate, gru_gate_backward
from seqloom.cells.initialization import initialize_memory, initialize_recurrent
from seqloom.cells.normalization import normalize, normalize_backward
from seqloom.cells.products import linear


class LayerNormGRU(GatedCell):
    """State (h,), [N, H].

    Args:
        input_size: I.
        hidden_size: H.
        recurrent_init: how the recurrent matrices start: orthogonal, uniform or identity.
        forget_bias: first bias of the update gate z, which keeps memory.
        chrono_max_steps: the longest span to remember, for chrono initialisation; None: none.
    """

    gate_parameters = ("gain_hh",)

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
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_hh = None
        self.gain_ih = nn.Parameter(torch.ones(3 * hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        self.gain_hh = nn.Parameter(torch.ones(3 * hidden_size))
        initialize_recurrent(
            self.weight_ih, self.weight_hh, num_gates=3, recurrent_init=recurrent_init
        )
        _, update, _ = self.bias_ih.detach().chunk(3)
        initialize_memory(update, None, forget_bias=forget_bias, chrono_max_steps=chrono_max_steps)

    def project(self, inputs: Tensor) -> Tensor:
        product = linear(inputs, self.weight_ih).to(self.gain_ih.dtype)
        return self._normalize(product, self.gain_ih)[0] + self.bias_ih

    def gate(
        self, projected: Tensor, recurrent: Tensor, state: State
    ) -> tuple[State, tuple[Tensor, ...]]:
        normal, saved = self._normalize(recurrent.to(state[0].dtype), self.gain_hh)
        new, of_gates = gru_gate(projected, normal, state[0])
        return new, (*of_gates, *saved)

    def gate_backward(
        self, saved: tuple[Tensor, ...], state: State, grad_new: State
    ) -> tuple[Tensor, Tensor, State, tuple[Tensor, ...]]:
        grad_projected, grad_normal, grad_hidden = gru_gate_backward(
            saved[:3], state[0], grad_new[0]
        )
        parts = zip(
            self._split(grad_normal),
            (saved[3:6], saved[6:]),
            self._split(self.gain_hh),
            strict=True,
        )
        grads = [normalize_backward(grad, kept, gain, None) for grad, kept, gain in parts]
        grad_recurrent = torch.cat([grad[0] for grad in grads], dim=-1)
        grad_gain = torch.cat([grad[1] for grad in grads])
        return grad_projected, grad_recurrent, (grad_hidden,), (grad_gain,)

    def _normalize(self, product: Tensor, gain: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """LN of the gates' block [..., 2H] and of the candidate's [..., H]."""
        parts = zip(self._split(product), self._split(gain), strict=True)
        gates, candidate = (normalize(part, part_gain, None) for part, part_gain in parts)
        return torch.cat([gates[0], candidate[0]], dim=-1), (*gates[1], *candidate[1])

    def _split(self, values: Tensor) -> list[Tensor]:
        size = self.hidden_size
        return [part.contiguous() for part in values.split([2 * size, size], dim=-1)]
