"""`Batch`: B examples as every learner gets them.

A side is a `Padded` where each example has a sequence, and a plain tensor where it has one value
(a class, a vector). Lengths and the index stay on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seqloom.sequences import Padded

Values = Padded | Tensor
"""Sequences, or [B] class ids (int64), or [B, F] features (float32)."""


@dataclass(frozen=True)
class Batch:
    """B examples.

    Attributes:
        index: [B] int64 on the CPU, the position of each example in its split: its identity over
            ranks.
        source: what the model reads. Text that an encoder reads ends with the end symbol.
        target: what it should write. Text that a decoder writes ends with the end symbol, without
            a begin symbol.
        source_text, target_text: both sides as a person reads them, for scores and predictions;
            empty tuples in training.
        continues: [B] bool on the CPU: the row goes on where the same row of the batch before
            ended, so its state is carried over; None where no row does.
    """

    index: Tensor
    source: Values
    target: Values
    source_text: tuple[str, ...] = ()
    target_text: tuple[str, ...] = ()
    continues: Tensor | None = None

    @classmethod
    def nothing(cls) -> Batch:
        """No example: the share of a process in an evaluation of fewer examples than processes."""
        return cls(torch.empty(0, dtype=torch.int64), torch.empty(0), torch.empty(0))

    @property
    def is_empty(self) -> bool:
        """Whether it is `nothing`, whose sides have no shape."""
        return len(self.index) == 0

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Moves the values of both sides; Lightning calls this."""
        return replace(
            self,
            source=self.source.to(device, non_blocking=non_blocking),
            target=self.target.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Batch:
        return replace(self, source=self.source.pin_memory(), target=self.target.pin_memory())

    def select(self, rows: Tensor) -> Batch:
        """Some examples: rows [N] (int64, on the CPU), in that order."""
        chosen = rows.tolist()
        return Batch(
            self.index[rows],
            _select(self.source, rows),
            _select(self.target, rows),
            tuple(self.source_text[row] for row in chosen) if self.source_text else (),
            tuple(self.target_text[row] for row in chosen) if self.target_text else (),
            None if self.continues is None else self.continues[rows],
        )

    def pair(self) -> tuple[Padded, Padded]:
        """Both sides, of a problem with sequences on both."""
        assert isinstance(self.source, Padded)
        assert isinstance(self.target, Padded)
        return self.source, self.target


def _select(values: Values, rows: Tensor) -> Values:
    if isinstance(values, Padded):
        return values.select(rows)
    return values[rows.to(values.device)]
