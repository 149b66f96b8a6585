"""How a decoder's first state comes from the encoder: `zero`, `last` or `projected`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqloom.cells import State
from seqloom.errors import ConfigError

BRIDGES = ("zero", "last", "projected")


class Bridge(nn.Module):
    """Final states of the encoder's layers -> first states of the decoder's layers.

    `zero` starts from zeros; `last` hands the states of the encoder's upper layers on as they are;
    `projected` makes every state by a tanh layer from the encoder's last output (Bahdanau et al.
    2015).

    Args:
        kind: one of BRIDGES.
        num_encoder_layers, num_decoder_layers: layers on each side.
        num_states: how many parts the state of a decoder layer has.
        encoder_size, decoder_size: features of one part of a state.
    """

    def __init__(
        self,
        *,
        kind: str,
        num_encoder_layers: int,
        num_decoder_layers: int,
        num_states: int,
        encoder_size: int,
        decoder_size: int,
    ) -> None:
        super().__init__()
        if kind not in BRIDGES:
            raise ConfigError(f"model.bridge={kind}", "unknown", f"use one of {', '.join(BRIDGES)}")
        if kind == "last" and (
            num_decoder_layers > num_encoder_layers or encoder_size != decoder_size
        ):
            raise ConfigError(
                "model.bridge=last",
                f"the encoder has {num_encoder_layers} layers of {encoder_size}, "
                f"the decoder {num_decoder_layers} of {decoder_size}",
                "use model.bridge=projected, or no more decoder than encoder layers",
            )
        self.kind = kind
        self.num_layers, self.num_states = num_decoder_layers, num_states
        self.decoder_size = decoder_size
        if kind == "projected":
            self.projection = nn.Linear(
                encoder_size, num_decoder_layers * num_states * decoder_size
            )

    def forward(self, finals: Sequence[State]) -> list[State]:
        """Encoder finals (a state a layer, parts [B, encoder_size]) -> decoder states (parts [B,
        decoder_size])."""
        if self.kind == "last":
            return list(finals[-self.num_layers :])
        last: Tensor = finals[-1][0]
        if self.kind == "zero":
            zeros = last.new_zeros(len(last), self.decoder_size)
            return [(zeros,) * self.num_states for _ in range(self.num_layers)]
        parts = torch.tanh(self.projection(last)).to(last.dtype)
        layers = parts.unflatten(1, (self.num_layers, self.num_states, self.decoder_size))
        return [layer.unbind(1) for layer in layers.unbind(1)]
