"""Where swapped tensors lie: a file beside a CPU, pinned host memory beside a CUDA device.

A store takes what a segment saved in one go and gives back a `Stored`, which is recalled ahead
of its use and then waited for. Neither computes; both copy beside the computation, in a thread or a
stream of their own. The file is temporary and has no name; it lies where Python's `tempfile`
puts it (TMPDIR), which must be a disk for memory to be saved. What is stored is freed with the
store, which lives as long as something of it may be asked for.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate
from typing import IO, Any, Protocol

import torch
from torch import Tensor

from seqloom.errors import ConfigError, DataError

# Every region starts at a multiple of this, as memory that torch allocates does.
ALIGNMENT = 64
_BUFFER_BYTES = 1 << 20


class Stored(Protocol):
    """The regions of one segment."""

    def recall(self) -> None:
        """Begins to bring them back; nothing if that has begun."""
        ...

    def wait(self) -> list[Tensor]:
        """Equal to the regions that were put, in their order."""
        ...


class Store(Protocol):
    def put(self, regions: Sequence[Tensor]) -> Stored:
        """Takes regions of bytes [n] (uint8), and holds on to none of them longer than copying
        takes."""
        ...


def make_store(device: torch.device) -> Store:
    """The store for tensors of `device`."""
    if device.type == "cpu":
        return FileStore()
    if device.type == "cuda":
        return HostStore(device)
    raise ConfigError(
        "unrolling.memory=swap",
        f"there is no place to swap to from a device of type {device.type}",
        "use unrolling.memory=checkpoint",
    )


class FileStore:
    """A temporary file, written and read by one thread."""

    def __init__(self) -> None:
        # Closed with the store, so in no `with` block.
        self._file = tempfile.TemporaryFile(buffering=_BUFFER_BYTES)  # noqa: SIM115
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="seqloom-swap")
        self._end = 0
        self._writing: Future[None] | None = None
        weakref.finalize(self, _close, self._worker, self._file)

    def put(self, regions: Sequence[Tensor]) -> Stored:
        if self._writing is not None:
            _result(self._writing)  # so that only one segment waits in memory
        start, sizes = self._end, [len(region) for region in regions]
        self._end += sum(map(_aligned, sizes))
        self._writing = self._worker.submit(_write, self._file, start, list(regions))
        return _StoredInFile(self, start, sizes, self._writing)

    def read(self, start: int, buffer: Tensor) -> Future[None]:
        """Fills `buffer` (uint8) from `start` on, in the store's thread."""
        return self._worker.submit(_read, self._file, start, buffer)


class _StoredInFile:
    def __init__(
        self, store: FileStore, start: int, sizes: list[int], written: Future[None]
    ) -> None:
        self._store, self._start, self._sizes, self._written = store, start, sizes, written
        self._coming: tuple[Tensor, Future[None]] | None = None

    def recall(self) -> None:
        if self._coming is None:
            buffer = torch.empty(sum(map(_aligned, self._sizes)), dtype=torch.uint8)
            self._coming = buffer, self._store.read(self._start, buffer)

    def wait(self) -> list[Tensor]:
        self.recall()
        assert self._coming is not None
        buffer, read = self._coming
        self._coming = None
        _result(self._written)
        _result(read)
        return _cut(buffer, self._sizes)


class HostStore:
    """Pinned host memory, copied to and from on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def put(self, regions: Sequence[Tensor]) -> Stored:
        sizes = [len(region) for region in regions]
        host = torch.empty(sum(map(_aligned, sizes)), dtype=torch.uint8, pin_memory=True)
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            for region, place in zip(regions, _cut(host, sizes), strict=True):
                place.copy_(region, non_blocking=True)
                region.record_stream(self.stream)
        return _StoredOnHost(self, host, sizes)


class _StoredOnHost:
    def __init__(self, store: HostStore, host: Tensor, sizes: list[int]) -> None:
        self._store, self._host, self._sizes = store, host, sizes
        self._coming: tuple[Tensor, torch.cuda.Event] | None = None

    def recall(self) -> None:
        if self._coming is None:
            stream = self._store.stream
            with torch.cuda.stream(stream):
                # On the stream that wrote it, so the reading comes after the writing.
                buffer = self._host.to(self._store.device, non_blocking=True)
                self._coming = buffer, stream.record_event()

    def wait(self) -> list[Tensor]:
        self.recall()
        assert self._coming is not None
        buffer, arrived = self._coming
        self._coming = None
        current = torch.cuda.current_stream(self._store.device)
        current.wait_event(arrived)
        buffer.record_stream(current)
        return _cut(buffer, self._sizes)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _cut(buffer: Tensor, sizes: list[int]) -> list[Tensor]:
    """The regions that lie in `buffer`, each at an aligned start."""
    starts = accumulate(map(_aligned, sizes[:-1]), initial=0)
    return [buffer[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _write(file: IO[bytes], start: int, regions: list[Tensor]) -> None:
    file.seek(start)
    for region in regions:
        file.write(region.numpy().data)
        file.write(bytes(_aligned(len(region)) - len(region)))
    file.flush()


def _read(file: IO[bytes], start: int, buffer: Tensor) -> None:
    file.seek(start)
    num_bytes = file.readinto(buffer.numpy())  # type: ignore[attr-defined]
    assert num_bytes == len(buffer)


def _result(job: Future[Any]) -> None:
    """Waits; a disk that is full or gone is told as such."""
    try:
        job.result()
    except OSError as error:
        raise DataError(
            "unrolling.memory=swap",
            f"the temporary file in {tempfile.gettempdir()} cannot hold it: {error}",
            "set TMPDIR to a folder on a larger disk, or use unrolling.memory=checkpoint",
        ) from error


def _close(worker: ThreadPoolExecutor, file: IO[bytes]) -> None:
    """What has not begun is cancelled; what is under way ends on its own."""
    worker.shutdown(wait=False, cancel_futures=True)
    with suppress(OSError):  # what a full disk did not take has been told by `_result`
        file.close()
