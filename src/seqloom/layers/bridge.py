"""How a decoder's first state comes from the encoder: `zero`, `last` or `projected`.

    zero       the decoder's own first state, as if there were no encoder
    last       the states of the encoder's upper layers, as they are
    projected  the decoder's own first state plus a tanh layer of the encoder's last output
               (Bahdanau et al. 2015): zeros plus that for most cells; a part that must start
               elsewhere, such as the stabiliser of exponential gates, stays about there

Refuses `last` where the layers of both sides do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from seqloom.cells import State
from seqloom.errors import ConfigError

BRIDGES = ("zero", "last", "projected")


class Bridge(nn.Module):
    """Final states of the encoder's layers -> first states of the decoder's layers.

    Args:
        kind: one of BRIDGES.
        encoder_sizes, decoder_sizes: for each layer of a side, the features of each part of its
            state.
    """

    def __init__(
        self,
        *,
        kind: str,
        encoder_sizes: Sequence[tuple[int, ...]],
        decoder_sizes: Sequence[tuple[int, ...]],
    ) -> None:
        super().__init__()
        if kind not in BRIDGES:
            raise ConfigError(f"model.bridge={kind}", "unknown", f"use one of {', '.join(BRIDGES)}")
        if kind == "last" and list(encoder_sizes[-len(decoder_sizes) :]) != list(decoder_sizes):
            raise ConfigError(
                "model.bridge=last",
                f"states of the encoder's layers {list(encoder_sizes)} are not those of the "
                f"decoder's {list(decoder_sizes)}",
                "use model.bridge=projected, or no more decoder than encoder layers, of one size",
            )
        self.kind = kind
        self.decoder_sizes = [tuple(sizes) for sizes in decoder_sizes]
        if kind == "projected":
            num_features = sum(sum(sizes) for sizes in decoder_sizes)
            self.projection = nn.Linear(encoder_sizes[-1][0], num_features)

    def forward(self, finals: Sequence[State], initial: Sequence[State]) -> list[State]:
        """Encoder finals and the decoder's own first states (a state a layer, parts [B, size]) ->
        decoder states."""
        if self.kind == "zero":
            return list(initial)
        if self.kind == "last":
            return list(finals[-len(self.decoder_sizes) :])
        projected = torch.tanh(self.projection(finals[-1][0]))
        layers = projected.split([sum(sizes) for sizes in self.decoder_sizes], dim=1)
        states = []
        for sizes, layer, state in zip(self.decoder_sizes, layers, initial, strict=True):
            parts = zip(state, layer.split(list(sizes), dim=1), strict=True)
            states.append(tuple(own + made.to(own.dtype) for own, made in parts))
        return states
