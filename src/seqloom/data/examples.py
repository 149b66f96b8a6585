"""`ExampleData`: the DataModule of small data sets that are made or read whole, into memory.

The one idea: a side is a column: sequences end to end in one array, or one value for each example;
a batch gathers its rows. Numbers stay as small as they are stored (bytes of a picture) and become
float32, scaled, where a batch is made. The price: every process makes the data anew at its start.
Refuses an empty split.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqloom.data import cache
from seqloom.data.batch import Batch, Values
from seqloom.data.batching import Batching
from seqloom.data.loader import Key
from seqloom.data.module import SequenceData
from seqloom.data.spec import DataSpec, FeatureSide, Side
from seqloom.data.vocabulary import load_spec
from seqloom.errors import DataError
from seqloom.sequences import Padded


@dataclass(frozen=True)
class Ragged:
    """N sequences end to end.

    Attributes:
        values: [sum of lengths] ids, or [sum of lengths, F] numbers.
        offsets: [N + 1] int64: sequence i is values[offsets[i]:offsets[i + 1]].
    """

    values: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        assert (self.offsets[0], self.offsets[-1]) == (0, len(self.values))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_block(cls, block: np.ndarray) -> Ragged:
        """Sequences of equal length, [N, T] or [N, T, F]; nothing is copied."""
        num_rows, num_steps = block.shape[:2]
        offsets = np.arange(num_rows + 1, dtype=np.int64) * num_steps
        return cls(block.reshape(num_rows * num_steps, *block.shape[2:]), offsets)

    @classmethod
    def from_rows(cls, rows: Sequence[np.ndarray]) -> Ragged:
        """Sequences [T_i] or [T_i, F], at least one."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return cls(np.concatenate(rows), offsets)

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64."""
        return np.diff(self.offsets)

    def padded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[B, T, ...] values of `rows` [B] with zeros behind each, and their lengths [B]."""
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max(initial=0))
        is_real = steps < lengths[:, None]
        block = np.zeros((*is_real.shape, *self.values.shape[1:]), dtype=self.values.dtype)
        block[is_real] = self.values[(self.offsets[rows][:, None] + steps)[is_real]]
        return block, lengths


Column = Ragged | np.ndarray
"""Sequences, or [N] class ids, or [N, F] numbers."""


@dataclass(frozen=True)
class Examples:
    """N examples.

    Attributes:
        source, target: both sides. Ids are those of the side's classes or tokens; token sequences
            of a target end with the end symbol.
        scale: what stored numbers are multiplied with.
    """

    source: Column
    target: Column
    scale: float = 1.0

    def __post_init__(self) -> None:
        assert len(self.source) == len(self.target)

    def __len__(self) -> int:
        return len(self.source)


class ExampleDataset:
    """N examples; an item is a whole batch, asked for by its epoch and rows.

    Args:
        spec: both sides.
        with_text: each batch carries its sides as the spec writes them, for evaluation.
    """

    def __init__(self, examples: Examples, spec: DataSpec, *, with_text: bool) -> None:
        self._examples, self._spec, self._with_text = examples, spec, with_text

    def lengths(self, epoch: int) -> np.ndarray:
        """See `RowSource.lengths`."""
        sides = self._examples.source, self._examples.target
        steps = [
            side.lengths if isinstance(side, Ragged) else np.ones(len(side), dtype=np.int64)
            for side in sides
        ]
        return np.stack(steps, axis=1)

    def __getitem__(self, key: Key) -> Batch:
        _, rows = key
        source = self._values(self._examples.source, self._spec.source, rows)
        target = self._values(self._examples.target, self._spec.target, rows)
        return Batch(
            torch.from_numpy(rows.astype(np.int64)),
            source,
            target,
            self._text(self._spec.source, source),
            self._text(self._spec.target, target),
        )

    def _values(self, column: Column, side: Side, rows: np.ndarray) -> Values:
        if isinstance(column, Ragged):
            block, lengths = column.padded(rows)
            return Padded(self._tensor(block, side), torch.from_numpy(lengths))
        return self._tensor(column[rows], side)

    def _tensor(self, values: np.ndarray, side: Side) -> Tensor:
        if not isinstance(side, FeatureSide):
            return torch.from_numpy(values.astype(np.int64))
        numbers = torch.from_numpy(values.astype(np.float32))
        return numbers if self._examples.scale == 1 else numbers * self._examples.scale

    def _text(self, side: Side, values: Values) -> tuple[str, ...]:
        if not self._with_text:
            return ()
        rows = values.to_list() if isinstance(values, Padded) else values
        return tuple(side.format(row) for row in rows)


class ExampleData(SequenceData):
    """Examples in memory; a subclass makes them.

    The arguments are those of `SequenceData`.
    """

    def __init__(
        self,
        *,
        batching: Batching,
        num_train: int | None,
        num_val: int | None,
        num_test: int | None,
        seed: int,
        num_workers: int,
        vocabulary_dir: Path | None,
    ) -> None:
        super().__init__(
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            vocabulary_dir=vocabulary_dir,
        )
        self._keys: dict[str, str] = {}

    @abstractmethod
    def sides(self) -> DataSpec:
        """Both sides, where no run's own are given."""

    @abstractmethod
    def make(self, split: str, spec: DataSpec) -> Examples:
        """The examples of `split` (train, val or test), with the ids of `spec`."""

    @abstractmethod
    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """Plain values that change whenever `make(split)` would answer something else."""

    def describe(self) -> DataSpec:
        """See `SequenceData.describe`."""
        return load_spec(self.vocabulary_dir) if self.vocabulary_dir else self.sides()

    def load(self, split: str) -> ExampleDataset:
        """See `SequenceData.load`."""
        examples = self.make(split, self.spec)
        if not len(examples):
            raise DataError(f"data.{split}", "it has no example", "give more data")
        return ExampleDataset(examples, self.spec, with_text=split != "train")

    def key(self, split: str) -> str:
        """See `SequenceData.key`."""
        if split not in self._keys:
            parts = {
                "data": type(self).__name__,
                "number": self.num_examples[split],
                **self.fingerprint_parts(split),
            }
            self._keys[split] = cache.fingerprint_of(parts)
        return self._keys[split]
