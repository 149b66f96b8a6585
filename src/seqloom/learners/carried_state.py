"""`CarriedState`: what a stream's window hands to the next one (truncated backpropagation).

The idea: row b of a batch goes on where row b of the batch before ended, so its final state is the
next initial state, as a value without a graph; where a new stream begins the state is fresh. It
belongs into checkpoints, each rank's rows by themselves, or a resumed run would start in the middle
of a text with nothing read. Refuses nothing: without a carried state every row starts fresh.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from seqloom.cells import State


class CarriedState:
    """The final states of the last batch, a state a layer with parts [B, ...]; none at first."""

    def __init__(self) -> None:
        self._states: list[State] | None = None

    def start(self, continues: Tensor | None, fresh: Sequence[State]) -> list[State]:
        """Initial states of a batch: the carried ones in rows [B] (bool, on the CPU) that go on,
        `fresh` ones in all others."""
        if continues is None or self._states is None or not bool(continues.any()):
            return list(fresh)
        rows = continues.to(fresh[0][0].device)
        return [
            tuple(_where(rows, old, new) for old, new in zip(carried, state, strict=True))
            for carried, state in zip(self._states, fresh, strict=True)
        ]

    def keep(self, finals: Sequence[State]) -> None:
        """Remembers a batch's final states, without their graph."""
        self._states = [tuple(part.detach() for part in state) for state in finals]

    def clear(self) -> None:
        self._states = None

    def gathered(self) -> list[list[State]]:
        """The states of all ranks on the CPU, to be saved; to be called on every rank. Empty for a
        rank without any."""
        states = self._states or []
        own = [tuple(part.cpu() for part in state) for state in states]
        parts: list[list[State]] = [own]
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            parts = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(parts, own)
        return parts

    def restore(self, saved: Sequence[Sequence[State]], rank: int, device: torch.device) -> None:
        """Undoes `gathered` on one rank; a rank that had no part in it starts fresh."""
        own = saved[rank] if rank < len(saved) else []
        self._states = [tuple(part.to(device) for part in state) for state in own] or None


def _where(rows: Tensor, carried: Tensor, fresh: Tensor) -> Tensor:
    chosen = rows.reshape(-1, *[1] * (fresh.ndim - 1))
    return torch.where(chosen, carried.to(fresh.device, fresh.dtype), fresh)
