"""How recurrent weights start: Glorot for what reads the input, and for what reads the state one of

    orthogonal  keeps the norm of the state and of its gradient over many steps (Saxe et al. 2014)
    uniform     torch's own, uniform in +-1 / sqrt(H)
    identity    the state is carried on as it is; with ReLU the IRNN (Le, Jaitly and Hinton 2015)

The bias of a gate that keeps memory starts at a constant, or spread so that the cell's memories
last between 1 and `chrono_max_steps` steps (Tallec and Ollivier 2018).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqloom.errors import ConfigError

RECURRENT = ("orthogonal", "uniform", "identity")


def initialize_recurrent(
    weight_ih: Tensor, weight_hh: Tensor, *, num_gates: int, recurrent_init: str
) -> None:
    """Fills [num_gates * H, I] and [num_gates * H, P] in place, each gate on its own.

    Raises:
        ConfigError: `recurrent_init` is not one of `RECURRENT`.
    """
    if recurrent_init not in RECURRENT:
        raise ConfigError(
            f"cell.recurrent_init={recurrent_init}",
            "there is no such start",
            f"set one of {', '.join(RECURRENT)}",
        )
    for block in weight_ih.chunk(num_gates):
        nn.init.xavier_uniform_(block)
    for block in weight_hh.chunk(num_gates):
        if recurrent_init == "orthogonal":
            nn.init.orthogonal_(block)
        elif recurrent_init == "identity":
            nn.init.eye_(block)
        else:
            bound = 1 / math.sqrt(max(1, block.shape[1]))
            nn.init.uniform_(block, -bound, bound)


@torch.no_grad()
def initialize_memory(
    forget: Tensor, write: Tensor | None, *, forget_bias: float, chrono_max_steps: int | None
) -> None:
    """Fills the biases [H] of the gate that keeps memory and, under chrono initialisation, of the
    gate that writes it (None: the cell has none of its own), in place.

    Chrono: b_forget = log(u), u uniform in 1..chrono_max_steps - 1, and b_write = -b_forget;
    `forget_bias` is then not used (Tallec and Ollivier 2018, equation 16).

    Raises:
        ConfigError: `chrono_max_steps` below 3, which leaves no span to draw from.
    """
    if chrono_max_steps is None:
        forget.fill_(forget_bias)
        return
    if chrono_max_steps < 3:
        raise ConfigError(
            f"cell.chrono_max_steps={chrono_max_steps}",
            "leaves no span of memory to draw from",
            "set the longest span in steps, at least 3, or null",
        )
    forget.uniform_(1, chrono_max_steps - 1).log_()
    if write is not None:
        write.copy_(-forget)
