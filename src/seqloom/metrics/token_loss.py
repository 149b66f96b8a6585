"""The mean negative log likelihood of tokens: two sums, one division, however many ranks and
batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric


class TokenNegativeLogLikelihood(Metric):
    """Nats a token over everything seen since `reset`; sums are reduced over ranks before the
    division."""

    full_state_update = False
    nll: Tensor
    num_tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nll", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, nll: Tensor, num_tokens: int) -> None:
        """Adds the sum `nll` over `num_tokens` tokens."""
        self.nll += nll.detach()
        self.num_tokens += num_tokens

    def compute(self) -> Tensor:
        """Nats a token; NaN when nothing was seen."""
        return (self.nll / self.num_tokens).float()


def perplexity(nats: float) -> float:
    """exp of nats a token; infinite instead of an overflow."""
    return math.exp(nats) if nats < 700 else math.inf
