"""From planned rows to batches: a data set that answers whole batches, and a loader that can be
resumed.

The one idea: what a batch holds is a pure function of (epoch, rows), so prefetching and worker
processes cannot change it, and a loader's state is a count. Iteration is lazy: nothing is fetched
before the first `next`, by which time Lightning has set the epoch (it makes iterators earlier), and
only batches that were handed out count as consumed. `Loader` is no torch DataLoader to the outside,
so Lightning never rebuilds it. The price: the first batch of an epoch is not prefetched. Refuses to
go on in the middle of an epoch with other data or another number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from seqloom.data.batch import Batch
from seqloom.data.batching import WorldBatchSampler
from seqloom.data.buffers import CHUNK_ROWS, TextBuffer, TokenBuffer
from seqloom.data.tokenizers import SegmentationTable
from seqloom.errors import ConfigError, SeqloomError
from seqloom.sequences import EOS_ID, PAD_ID, Padded

Key = tuple[int, np.ndarray]
"""An epoch and what its plan says of a batch: the rows [B], or the spans of a stream."""


class BatchSource(Protocol):
    """A data set that answers whole batches."""

    def __getitem__(self, key: Key) -> Batch:
        """The batch; a pure function."""
        ...


class RowSource(BatchSource, Protocol):
    """A data set of N rows."""

    def lengths(self, epoch: int) -> np.ndarray:
        """[N, 2] int64 source and target steps in `epoch`, end symbols included; 1 for a single
        value.
        """
        ...


class Tokens(Protocol):
    """The ids of one side; a pure function of the epoch."""

    def lengths(self, epoch: int) -> np.ndarray:
        """[N] ids of each row, without the end symbol."""
        ...

    def rows(self, epoch: int, rows: np.ndarray) -> TokenBuffer:
        """The ids of `rows` [B], in their order."""
        ...


class FixedTokens:
    """The same ids in every epoch."""

    def __init__(self, buffer: TokenBuffer) -> None:
        self._buffer = buffer

    def lengths(self, epoch: int) -> np.ndarray:
        """See `Tokens.lengths`."""
        return self._buffer.lengths

    def rows(self, epoch: int, rows: np.ndarray) -> TokenBuffer:
        """See `Tokens.rows`."""
        return self._buffer.take(rows)


class ResegmentedTokens:
    """BPE dropout: words cut anew for each epoch; a row that would become too long keeps its usual
    ids.

    Args:
        usual: the ids without dropout.
        max_length: steps with the end symbol; None: no limit.
    """

    def __init__(
        self, table: SegmentationTable, usual: TokenBuffer, *, seed: int, max_length: int | None
    ) -> None:
        assert len(table) == len(usual)
        self._table, self._usual, self._seed = table, usual, seed
        self._most = np.iinfo(np.int64).max if max_length is None else max_length - 1

    def lengths(self, epoch: int) -> np.ndarray:
        """See `Tokens.lengths`."""
        lengths = np.empty(len(self._table), dtype=np.int64)
        for begin in range(0, len(lengths), CHUNK_ROWS):
            rows = np.arange(begin, min(begin + CHUNK_ROWS, len(lengths)))
            _, offsets = self._table.segment(self._seed, epoch, rows)
            lengths[rows] = np.diff(offsets)
        return np.where(lengths > self._most, self._usual.lengths, lengths)

    def rows(self, epoch: int, rows: np.ndarray) -> TokenBuffer:
        """See `Tokens.rows`."""
        cut = TokenBuffer(*self._table.segment(self._seed, epoch, rows))
        if (cut.lengths <= self._most).all():
            return cut
        usual = self._usual.take(rows)
        return TokenBuffer.from_rows(
            (new if len(new) <= self._most else old).tolist()
            for new, old in zip(cut, usual, strict=True)
        )


class PairDataset:
    """N pairs; an item is a whole batch, asked for by its epoch and rows.

    Args:
        source, target: ids without end symbols.
        source_text, target_text: the untouched lines, for evaluation; None in training.
    """

    def __init__(
        self,
        source: Tokens,
        target: Tokens,
        *,
        source_text: TextBuffer | None = None,
        target_text: TextBuffer | None = None,
    ) -> None:
        self._source, self._target = source, target
        self._source_text, self._target_text = source_text, target_text

    def lengths(self, epoch: int) -> np.ndarray:
        """See `RowSource.lengths`."""
        sides = self._source.lengths(epoch), self._target.lengths(epoch)
        return np.stack(sides, axis=1) + 1

    def __getitem__(self, key: Key) -> Batch:
        epoch, rows = key
        return Batch(
            torch.from_numpy(rows.astype(np.int64)),
            padded(self._source.rows(epoch, rows)),
            padded(self._target.rows(epoch, rows)),
            _lines(self._source_text, rows),
            _lines(self._target_text, rows),
        )


def padded(tokens: TokenBuffer) -> Padded:
    """[B, T] int64: each row, then the end symbol, then padding; B rows, at least one."""
    lengths = tokens.lengths
    steps = np.arange(lengths.max() + 1)
    values = np.full((len(lengths), len(steps)), PAD_ID, dtype=np.int64)
    values[steps < lengths[:, None]] = np.concatenate([*tokens])
    values[np.arange(len(lengths)), lengths] = EOS_ID
    return Padded(torch.from_numpy(values), torch.from_numpy(lengths + 1))


class Loader:
    """The batches of one rank, epoch after epoch; its `state_dict` is where it stands.

    Args:
        sampler: which rows, and this rank's share of them.
        fingerprint: of all that decides what a batch holds.
        num_workers: processes that collate; they persist over epochs. 0: this one.
        pin_memory: for faster copies to a GPU.
    """

    def __init__(
        self,
        dataset: BatchSource,
        sampler: WorldBatchSampler,
        *,
        fingerprint: str,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.batch_sampler = sampler
        self.fingerprint = fingerprint
        self._dataset, self._num_workers, self._pin_memory = dataset, num_workers, pin_memory
        self._batches: DataLoader[Batch | SeqloomError] | None = None
        self._consumed = 0

    @property
    def sampler(self) -> Loader:
        """Where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iteration; another one than before begins at its first batch."""
        if epoch != self.batch_sampler.epoch:
            self.batch_sampler.set_epoch(epoch)
            self._consumed = 0

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch, also after a resume in the middle of one."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        if self._batches is None:
            self._batches = self._open()
        self._consumed = self.batch_sampler.start
        batches = iter(self._batches)  # asks the sampler once, or twice for workers
        self.batch_sampler.start = 0
        for batch in batches:
            if isinstance(batch, SeqloomError):
                raise batch
            self._consumed += 1
            yield batch

    def close(self) -> None:
        """Ends the worker processes; a later iteration starts them again."""
        self._batches = None

    def state_dict(self) -> dict[str, int | str]:
        """The epoch and how many of its batches were handed out; the same on every rank."""
        return {
            "epoch": self.batch_sampler.epoch,
            "batches_consumed": self._consumed,
            "num_batches": len(self),
            "world_size": self.batch_sampler.world_size,
            "fingerprint": self.fingerprint,
        }

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """The next iteration goes on where `state` was taken.

        Raises ConfigError in the middle of an epoch when the processes or the data are others;
        between epochs both may change.
        """
        consumed, is_complete = int(state["batches_consumed"]), False
        if consumed >= int(state["num_batches"]):
            is_complete = True
        elif consumed > 0:
            self._check_same(state)
        self.batch_sampler.set_epoch(int(state["epoch"]))
        self._consumed = self.batch_sampler.start = len(self) if is_complete else consumed

    def _check_same(self, state: dict[str, int | str]) -> None:
        place = f"after batch {state['batches_consumed']} of epoch {state['epoch']}"
        world_size = self.batch_sampler.world_size
        if state["world_size"] != world_size:
            raise ConfigError(
                f"{world_size} processes",
                f"the checkpoint was made {place} by {state['world_size']}, which share an epoch's"
                " batches otherwise",
                f"resume with {state['world_size']}, or from a checkpoint at the end of an epoch",
            )
        if state["fingerprint"] != self.fingerprint:
            raise ConfigError(
                "resume",
                f"the checkpoint was made {place} of other data or other batches than these",
                "restore the data, tokenizer and batching of the run, or resume from the end of an"
                " epoch",
            )

    def _open(self) -> DataLoader[Batch | SeqloomError]:
        return DataLoader(
            cast("Dataset[Batch | SeqloomError]", _Answers(self._dataset)),
            batch_size=None,
            sampler=_Keys(self.batch_sampler),
            collate_fn=_as_it_is,
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            pin_memory=self._pin_memory,
            # Its own, so that iterating draws nothing from the generator that dropout uses.
            generator=torch.Generator(),
        )


class _Answers:
    """A data set whose errors are told as values: a worker process could not raise one here, since
    torch makes it anew from a single string."""

    def __init__(self, dataset: BatchSource) -> None:
        self._dataset = dataset

    def __getitem__(self, key: Key) -> Batch | SeqloomError:
        try:
            return self._dataset[key] if len(key[1]) else Batch.nothing()
        except SeqloomError as error:
            return error


class _Keys:
    """The sampler's batches with their epoch, as the data set wants them."""

    def __init__(self, sampler: WorldBatchSampler) -> None:
        self._sampler = sampler

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Key]:
        epoch = self._sampler.epoch
        return ((epoch, rows) for rows in self._sampler)


def _as_it_is(batch: Any) -> Any:
    return batch


def _lines(text: TextBuffer | None, rows: np.ndarray) -> tuple[str, ...]:
    return () if text is None else tuple(text[row] for row in rows)
