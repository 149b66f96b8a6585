"""`Noise`: what is disturbed inside a recurrence while it trains.

    recurrent dropout   features of the hidden state that the recurrent matrices read are zeroed,
                        the same ones at every step of a sequence (Gal and Ghahramani 2016)
    zoneout             elements of the state keep their old value for a step (Krueger et al. 2017)
    DropConnect         elements of the recurrent matrices are zeroed for a whole batch of sequences
                        (Wan et al. 2013; on recurrent matrices: Merity et al. 2018)

Dropouts scale what is left by 1 / (1 - p), so that expectations hold without them; zoneout is
replaced by its expectation in evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqloom.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Rates, each a probability in 0..1.

    Attributes:
        recurrent_dropout: of a feature that the recurrent matrices read.
        zoneout: that an element of the hidden state (the first part) keeps its old value.
        zoneout_memory: likewise for all other parts.
        weight_drop: of an element of the recurrent matrices.
    """

    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    zoneout_memory: float = 0.0
    weight_drop: float = 0.0

    def __post_init__(self) -> None:
        for name in ("recurrent_dropout", "zoneout", "zoneout_memory", "weight_drop"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(
                    f"stack.{name}={value}", "is no probability below 1", "set 0 or more, below 1"
                )

    @property
    def has_zoneout(self) -> bool:
        return bool(self.zoneout or self.zoneout_memory)

    def keep_masks(self, state: Sequence[Tensor], training: bool) -> list[Tensor]:
        """For each part of the state, 1 where an element keeps its old value; in evaluation the
        probability of it, a scalar."""
        masks = []
        for number, part in enumerate(state):
            rate = self.zoneout_memory if number else self.zoneout
            if training:
                masks.append(torch.empty_like(part).bernoulli_(rate))
            else:
                masks.append(part.new_tensor(rate))
        return masks
