"""Rows of unequal length in two arrays: all values end to end, and where each row begins.

The idea: millions of Python strings or lists cost fifty bytes each, and every loader worker that
touches them copies their pages. One array of values with one of offsets costs its bytes plus 8
bytes a row (16 a pair of sides), is shared between processes and memory-mapped from disk.
The price: a row is decoded each time it is read, and rows cannot be changed once built.
Files are two plain `.npy` arrays; object arrays (pickles) are refused.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from seqloom.errors import DataError

CHUNK_ROWS = 65_536  # rows gathered or decoded at a time, so that intermediates stay small


class _Rows:
    """Values [sum of lengths] and int64 offsets [N + 1]: row i is offsets[i]:offsets[i + 1]."""

    dtype: DTypeLike

    def __init__(self, values: NDArray, offsets: NDArray[np.int64]) -> None:
        assert values.ndim == offsets.ndim == 1
        assert (values.dtype, offsets.dtype) == (self.dtype, np.int64)
        assert (offsets[0], offsets[-1]) == (0, len(values))
        self._values, self._offsets = values, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] int64: bytes of each line, or ids of each row."""
        return np.diff(self._offsets)

    @property
    def num_bytes(self) -> int:
        """Memory (or disk) of values and offsets together."""
        return self._values.nbytes + self._offsets.nbytes

    def _row(self, index: SupportsIndex) -> NDArray:
        position = operator.index(index)
        if position < 0:
            position += len(self)
        if not 0 <= position < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._values[self._offsets[position] : self._offsets[position + 1]]

    def take(self, indices: ArrayLike) -> Self:
        """The rows `indices` [M] (0..N-1, any order, repeats allowed) as a new buffer in memory."""
        rows = np.asarray(indices, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()}..{rows.max()} of {len(self)}")
        starts = self._offsets[rows]
        lengths = self._offsets[rows + 1] - starts
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        values = np.empty(offsets[-1], dtype=self.dtype)
        for begin in range(0, len(rows), CHUNK_ROWS):
            chunk = slice(begin, begin + CHUNK_ROWS)
            first, last = offsets[begin], offsets[min(begin + CHUNK_ROWS, len(rows))]
            # Position p of the output comes from p + (where its row starts - where it is put).
            shifts = np.repeat(starts[chunk] - offsets[:-1][chunk], lengths[chunk])
            values[first:last] = self._values[np.arange(first, last) + shifts]
        return type(self)(values, offsets)

    def save(self, folder: Path, name: str) -> None:
        """Writes `name.values.npy` and `name.offsets.npy` into `folder`."""
        np.save(folder / f"{name}.values.npy", self._values, allow_pickle=False)
        np.save(folder / f"{name}.offsets.npy", self._offsets, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Memory-maps what `save` wrote; a missing, foreign or truncated file is a `DataError`."""
        path = folder / f"{name}.values.npy"
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            offsets = np.load(folder / f"{name}.offsets.npy", mmap_mode="r", allow_pickle=False)
            return cls(values, offsets)
        except (OSError, ValueError, EOFError, AssertionError, IndexError) as error:
            why = f"not a saved {cls.__name__} ({type(error).__name__}: {error})"
            raise DataError(str(path), why, "delete the folder; it is made again") from error


class TextBuffer(_Rows):
    """Lines of text as UTF-8: one uint8 array and offsets. Iterating gives the lines as `str`."""

    dtype = np.dtype(np.uint8)

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> Self:
        """Reads `lines` once; no other copy of the text is held."""
        builder = _TextBuilder()
        for line in lines:
            builder.append(line)
        return cls(*builder.arrays())

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]]) -> tuple[Self, Self]:
        """Two buffers from one pass over (source, target) pairs."""
        source, target = _TextBuilder(), _TextBuilder()
        for source_line, target_line in pairs:
            source.append(source_line)
            target.append(target_line)
        return cls(*source.arrays()), cls(*target.arrays())

    def __getitem__(self, index: SupportsIndex) -> str:
        return self._row(index).tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        for begin in range(0, len(self), CHUNK_ROWS):
            bounds = self._offsets[begin : begin + CHUNK_ROWS + 1].tolist()
            block = self._values[bounds[0] : bounds[-1]].tobytes()
            for start, end in pairwise(bounds):
                yield block[start - bounds[0] : end - bounds[0]].decode()


class TokenBuffer(_Rows):
    """Rows of token ids: one int32 array and offsets. Iterating gives int32 arrays [T_i]."""

    dtype = np.dtype(np.int32)

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> Self:
        """Reads `rows` once; an id beyond 32 bits is an OverflowError."""
        values, offsets = array("i"), array("q", [0])
        assert values.itemsize == cls.dtype.itemsize
        for row in rows:
            values.extend(row)
            offsets.append(len(values))
        return cls(np.frombuffer(values, dtype=cls.dtype), np.frombuffer(offsets, dtype=np.int64))

    def __getitem__(self, index: SupportsIndex) -> NDArray[np.int32]:
        return self._row(index)

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self._row(index) for index in range(len(self)))


class _TextBuilder:
    """Grows a text buffer line by line, near the bytes it will hold."""

    def __init__(self) -> None:
        self._bytes, self._offsets = bytearray(), array("q", [0])

    def append(self, line: str) -> None:
        self._bytes += line.encode()
        self._offsets.append(len(self._bytes))

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The grown memory itself, not a copy."""
        return (
            np.frombuffer(self._bytes, dtype=np.uint8),
            np.frombuffer(self._offsets, dtype=np.int64),
        )
