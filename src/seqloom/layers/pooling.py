"""Pooling over time: the outputs of a sequence become one vector.

    last       where each direction has read the whole row: the final output
    mean, max  over the real steps, feature by feature
    attention  the mean under weights softmax(u . tanh(W h_t + b)), learned (Yang et al. 2016)

A row without steps gives zeros (`last`: what it is given); padding is never read. `running` gives
what `forward` would, after every step of an endless sequence, in chunks and in constant memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.errors import ConfigError
from seqloom.layers.attention import masked_softmax
from seqloom.sequences import Padded

POOLINGS = ("last", "mean", "max", "attention")


class Pooling(nn.Module):
    """`(outputs [B, T, F], final output [B, F]) -> [B, F]`.

    Args:
        kind: one of POOLINGS.
        size: F.
    """

    def __init__(self, *, kind: str, size: int) -> None:
        super().__init__()
        if kind not in POOLINGS:
            raise ConfigError(
                f"model.pooling={kind}", "unknown", f"use one of {', '.join(POOLINGS)}"
            )
        self.kind = kind
        if kind == "attention":
            self.hidden, self.energy = nn.Linear(size, size), nn.Linear(size, 1, bias=False)

    def running(self, outputs: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs [K, F] of one forward sequence, K >= 1, and what an earlier call handed on (None
        at the start) -> the pooled vector after each step [K, F], and what to hand on.
        """
        if self.kind == "last":
            return outputs, outputs[-1:]
        if self.kind == "max":
            seen = outputs if before is None else torch.cat([before, outputs])
            best = seen.cummax(dim=0).values[-len(outputs) :]
            return best, best[-1:]
        # Weighted sums and, behind them, the sum of weights. The energies of attention are bounded
        # by the size of one vector, so their exponentials need no common factor.
        weights = outputs.new_ones(len(outputs), 1, dtype=torch.float64)
        if self.kind == "attention":
            weights = self.energy(torch.tanh(self.hidden(outputs))).double().exp()
        sums = torch.cat([weights * outputs, weights], dim=1).cumsum(dim=0)
        if before is not None:
            sums = sums + before
        return (sums[:, :-1] / sums[:, -1:]).to(outputs.dtype), sums[-1:]

    def forward(self, outputs: Padded, final: Tensor) -> Tensor:
        if self.kind == "last":
            return final
        if self.kind == "max":
            return _maximum(outputs)
        values = outputs.zeroed().values
        if self.kind == "mean":
            counts = outputs.lengths.clamp(min=1).to(values.device).unsqueeze(1)
            return values.sum(dim=1) / counts
        scores = self.energy(torch.tanh(self.hidden(values)))
        weights = masked_softmax(scores.transpose(1, 2), outputs.mask())
        return (weights.to(values.dtype) @ values).squeeze(1)


def _maximum(outputs: Padded) -> Tensor:
    values = outputs.values
    if outputs.max_length == 0:
        return values.new_zeros(values.shape[0], values.shape[2])
    lowest = torch.finfo(values.dtype).min
    best = values.masked_fill(~outputs.mask().unsqueeze(-1), lowest).amax(dim=1)
    empty = (outputs.lengths == 0).to(values.device).unsqueeze(1)
    return best.masked_fill(empty, 0)
