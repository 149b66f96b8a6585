"""`OneBatch`: a few examples of another DataModule, as all there is to train on and to validate.

The first rows of the first training batch stand in place of both splits, so whatever a batch is
made of (words, windows of a text, frames with their augmentation) is the same at every update. The
test split stays that of the data itself. Each process has its own examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import torch
from lightning.pytorch import LightningDataModule

from seqloom.data.batch import Batch
from seqloom.data.module import SequenceData
from seqloom.errors import ConfigError

UPDATES_PER_EPOCH = 10


class _Again:
    """One batch, several times."""

    def __init__(self, batch: Batch, times: int) -> None:
        self._batch, self._times = batch, times

    def __len__(self) -> int:
        return self._times

    def __iter__(self) -> Iterator[Batch]:
        return repeat(self._batch, self._times)


class OneBatch(LightningDataModule):
    """At most `num_examples` examples of `data`, which was set up; an epoch reads them 10 times."""

    def __init__(self, data: SequenceData, num_examples: int) -> None:
        super().__init__()
        if num_examples < 1:
            raise ConfigError(
                f"callbacks.overfit_examples={num_examples}",
                "is no example at all",
                "write 1 or more",
            )
        self._data, self._num_examples = data, num_examples
        self._batch: Batch | None = None

    def train_dataloader(self) -> _Again:
        return _Again(self._first(), UPDATES_PER_EPOCH)

    def val_dataloader(self) -> _Again:
        return _Again(self._first(), 1)

    def teardown(self, stage: str) -> None:
        self._data.teardown(stage)

    def _first(self) -> Batch:
        if self._batch is None:
            self._data.trainer = self.trainer
            batch = next(iter(self._data.train_dataloader()))
            self._batch = batch.select(torch.arange(min(self._num_examples, len(batch.index))))
        return self._batch
