"""`SharedWeights`: weights in memory that several processes of one host read and add to.

The idea: every process maps the same file, which begins with a version and goes on with all weights
in one row, and locks it while it reads or adds; the version says how many changes there have been.
Price: the weights once in the file and once more in each process, as they were when it last took
them. A process that dies gives its lock back.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

_HEAD_BYTES = 8  # The version, an int64.


class SharedWeights:
    """Weights that several processes read and add to.

    Args:
        file: an open file, which this object closes; it gets the size that it needs.
        parameters: float32 tensors whose shapes the shared ones have. After `take` they hold the
            shared values.
    """

    def __init__(self, file: int, parameters: Sequence[Tensor]) -> None:
        self._file, self._parameters = file, parameters
        sizes = [parameter.numel() for parameter in parameters]
        num_bytes = _HEAD_BYTES + sum(sizes) * torch.float32.itemsize
        os.ftruncate(file, num_bytes)
        memory = mmap.mmap(file, num_bytes)
        self._version = torch.frombuffer(memory, dtype=torch.int64, count=1)
        flat = torch.frombuffer(memory, dtype=torch.float32, offset=_HEAD_BYTES)
        parts = flat.split(sizes)
        self._shared = [p.view_as(q) for p, q in zip(parts, parameters, strict=True)]
        self._taken = [parameter.detach().clone() for parameter in parameters]
        self._version_taken = 0

    @torch.no_grad()
    def fill(self) -> None:
        """Writes this process's weights, as version 0."""
        torch._foreach_copy_(self._shared, list(self._parameters))
        self._version.zero_()

    @torch.no_grad()
    def take(self) -> None:
        """Replaces this process's weights by the shared ones; what it had changed is lost."""
        with self._locked():
            self._read()
        torch._foreach_copy_(list(self._parameters), self._taken)

    @torch.no_grad()
    def add_change(self) -> int:
        """Adds what changed in this process's weights since it took them, and takes the sum.

        Returns how many changes of others came in between.
        """
        changes = torch._foreach_sub(list(self._parameters), self._taken)
        with self._locked():
            staleness = int(self._version) - self._version_taken
            torch._foreach_add_(self._shared, changes)
            self._version += 1
            self._read()
        torch._foreach_copy_(list(self._parameters), self._taken)
        return staleness

    def close(self) -> None:
        """Ends the lock; the memory goes with the tensors in it."""
        os.close(self._file)

    def _read(self) -> None:
        torch._foreach_copy_(self._taken, self._shared)
        self._version_taken = int(self._version)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
