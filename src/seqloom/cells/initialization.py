"""How recurrent weights start: Glorot for what reads the input, orthogonal for what reads the
state.

An orthogonal recurrent matrix keeps the norm of the state and of its gradient over many steps
(Saxe et al. 2014).
"""

from __future__ import annotations

from torch import Tensor, nn


def initialize_recurrent(weight_ih: Tensor, weight_hh: Tensor, *, num_gates: int) -> None:
    """Fills [num_gates * H, I] and [num_gates * H, H] in place, each gate on its own."""
    for block in weight_ih.chunk(num_gates):
        nn.init.xavier_uniform_(block)
    for block in weight_hh.chunk(num_gates):
        nn.init.orthogonal_(block)
