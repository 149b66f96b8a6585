"""`Padded`: the one form of a variable-length batch, from the collate function to the loss; and the
ids of the special symbols, the same in every vocabulary.

Shape legend, for the whole package: `B` batch, `T` time (target time), `S` source time, `I` input,
`H` hidden, `E` embedding, `V` vocabulary, `K` beam, `L` layers, `D` directions.
Lengths stay on the CPU: control flow reads them, and a copy from a device would wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PAD_ID, BOS_ID, EOS_ID, UNK_ID = 0, 1, 2, 3


@dataclass(frozen=True)
class Padded:
    """Sequences of unequal length in one tensor, batch first, padded at the end.

    Attributes:
        values: [B, T, ...]; what lies beyond a length is unspecified, unless `zeroed` made it so.
        lengths: [B], int64, on the CPU, each in 0..T.
    """

    values: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        assert self.values.ndim >= 2
        assert self.lengths.shape == self.values.shape[:1]
        assert self.lengths.dtype == torch.int64
        assert self.lengths.device.type == "cpu"

    @classmethod
    def from_list(cls, rows: Sequence[Tensor], padding_value: float = 0) -> Padded:
        """Pads `rows` (each [T_i, ...], at least one row) to the longest of them."""
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        values = torch.nn.utils.rnn.pad_sequence(
            list(rows), batch_first=True, padding_value=padding_value
        )
        return cls(values, lengths)

    def to_list(self) -> list[Tensor]:
        """The rows without their padding: B tensors [T_i, ...]."""
        return [
            row[:length] for row, length in zip(self.values, self.lengths.tolist(), strict=True)
        ]

    @property
    def batch_size(self) -> int:
        return self.values.shape[0]

    @property
    def max_length(self) -> int:
        """T, the padded length of `values`."""
        return self.values.shape[1]

    @property
    def num_elements(self) -> int:
        """How many steps are real."""
        return int(self.lengths.sum())

    @property
    def is_full(self) -> bool:
        """True when no step is padding, so that masks can be left out."""
        return bool((self.lengths == self.max_length).all())

    def mask(self) -> Tensor:
        """[B, T] bool on the device of `values`, True where a step is real."""
        steps = torch.arange(self.max_length, device=self.values.device)
        lengths = self.lengths.to(self.values.device, non_blocking=True)
        return steps < lengths.unsqueeze(1)

    def with_values(self, values: Tensor) -> Padded:
        """The same lengths over other values [B, T, ...]."""
        return Padded(values, self.lengths)

    def zeroed(self) -> Padded:
        """Zero beyond every length; `self` when nothing is padding."""
        if self.is_full:
            return self
        mask = self.mask().reshape(*self.values.shape[:2], *[1] * (self.values.ndim - 2))
        return self.with_values(self.values.masked_fill(~mask, 0))

    def reversed(self) -> Padded:
        """Each row reversed inside its own length; padding stays at the end. Its own inverse."""
        if self.is_full:
            return self.with_values(self.values.flip(1))
        steps = torch.arange(self.max_length)
        lengths = self.lengths.unsqueeze(1)
        order = torch.where(steps < lengths, lengths - 1 - steps, steps).to(self.values.device)
        index = order.reshape(*order.shape, *[1] * (self.values.ndim - 2))
        return self.with_values(self.values.gather(1, index.expand_as(self.values)))

    def last(self, initial: Tensor) -> Tensor:
        """[B, ...]: each row's last real step, or its row of `initial` [B, ...] where the length
        is 0."""
        if self.max_length == 0:
            return initial
        rows = torch.arange(self.batch_size, device=self.values.device)
        steps = (self.lengths - 1).clamp(min=0).to(self.values.device)
        last = self.values[rows, steps]
        if bool((self.lengths > 0).all()):
            return last
        empty = (self.lengths == 0).to(last.device).reshape(-1, *[1] * (last.ndim - 1))
        return torch.where(empty, initial, last)

    def select(self, rows: Tensor) -> Padded:
        """Rows [N] (int64, repeats allowed) in the order given."""
        return Padded(self.values[rows.to(self.values.device)], self.lengths[rows.cpu()])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Padded:
        """Moves the values; lengths stay on the CPU. Lightning calls this for a batch."""
        return self.with_values(self.values.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Padded:
        return self.with_values(self.values.pin_memory())
