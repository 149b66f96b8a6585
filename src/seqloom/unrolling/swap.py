"""`Swap`: what autograd saves in one segment of time leaves the device's memory at the segment's
end and comes back ahead of its use.

The idea: hooks on saved tensors give autograd a number instead of a tensor. A segment's tensors go
to a store together (`unrolling.stores`: a file beside a CPU, pinned memory beside a GPU); when the
backward pass asks for the first of them the segment before is already recalled, so at most two are
present. Parameters and small tensors stay. What was stored goes when the graph goes, whether or not
a backward pass ran.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from seqloom.cells import Cell
from seqloom.unrolling.stores import ALIGNMENT, Stored, make_store

# Below this a tensor's own bookkeeping is as large as what it holds.
_MIN_BYTES = 1024


class Swap:
    """The swapped tensors of one call of an unrolling.

    Args:
        cell: whose parameters stay where they are.
        device: whose tensors are swapped.
    """

    def __init__(self, cell: Cell, device: torch.device) -> None:
        self.device = device
        self.store = make_store(device)
        self.staying = {p.untyped_storage().data_ptr() for p in cell.parameters()}
        self._newest: _Segment | None = None
        self._present: weakref.ref[_Segment] | None = None

    @contextmanager
    def segment(self) -> Iterator[None]:
        """What is saved inside is swapped at the end."""
        segment = _Segment(self, before=self._newest)
        with saved_tensors_hooks(segment.pack, segment.unpack):
            yield
        segment.leave()
        self._newest = segment

    def now_present(self, segment: _Segment) -> None:
        """The backward pass has come to `segment`: the one it was in before is no longer needed."""
        last = self._present() if self._present is not None else None
        if last is not None and last is not segment:
            last.drop()
        self._present = weakref.ref(segment)


class _View(NamedTuple):
    """A tensor as a view of a region of bytes."""

    region: int
    offset: int
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    def of(self, regions: list[Tensor]) -> Tensor:
        region = regions[self.region]
        region = region[: len(region) // self.dtype.itemsize * self.dtype.itemsize]
        # The offset of `as_strided` counts from the start of the storage, not of the region.
        offset = self.offset + region.storage_offset() // self.dtype.itemsize
        return region.view(self.dtype).as_strided(self.shape, self.stride, offset)


def _regions(tensors: list[Tensor]) -> tuple[list[Tensor], list[_View]]:
    """The bytes that `tensors` span, a region [n] (uint8) for each storage, and the tensors as
    views of them: what was saved as several views is stored once, and strides stay as they were,
    which compiled graphs rely on."""
    spans: dict[int, tuple[int, int]] = {}
    for tensor in tensors:
        address, (first, last) = tensor.untyped_storage().data_ptr(), _span(tensor)
        start, end = spans.get(address, (first, last))
        spans[address] = min(start, first // ALIGNMENT * ALIGNMENT), max(end, last)
    regions: list[Tensor] = []
    numbers: dict[int, int] = {}
    views = []
    for tensor in tensors:
        address = tensor.untyped_storage().data_ptr()
        start, end = spans[address]
        if address not in numbers:
            numbers[address] = len(regions)
            bytes_ = torch.empty(0, dtype=torch.uint8, device=tensor.device)
            regions.append(bytes_.set_(tensor.untyped_storage(), start, (end - start,), (1,)))
        offset = int(tensor.storage_offset()) - start // tensor.dtype.itemsize
        view = _View(numbers[address], offset, tensor.shape, tensor.stride(), tensor.dtype)
        views.append(view)
    return regions, views


def _span(tensor: Tensor) -> tuple[int, int]:
    """First byte and end in its storage; not for empty tensors."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    num_elements = 1 + sum((size - 1) * stride for size, stride in steps)
    first = int(tensor.storage_offset()) * tensor.dtype.itemsize
    return first, first + num_elements * tensor.dtype.itemsize


class _Segment:
    """Saved tensors by number: present while the segment is computed, then stored.

    It is held by autograd, which holds the hooks, and by the segment after it, which recalls it.
    """

    def __init__(self, swap: Swap, before: _Segment | None) -> None:
        self._swap, self._before = swap, before
        self._tensors: list[Tensor] | None = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._views: list[_View] = []
        self._stored: Stored | None = None

    def pack(self, tensor: Tensor) -> Tensor | int:
        """The number of a tensor that is swapped, the same one for each time it is saved."""
        assert self._tensors is not None
        # What a node gives and saves would hold the node, and the node it: nothing would be freed.
        tensor = tensor.detach()
        if tensor.device != self._swap.device or tensor.nbytes < _MIN_BYTES:
            return tensor
        tensor = tensor.resolve_conj().resolve_neg()
        address = tensor.untyped_storage().data_ptr()
        if address in self._swap.staying:
            return tensor
        # Addresses are unique because the tensors are held until the segment ends.
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if key not in self._numbers:
            self._numbers[key] = len(self._tensors)
            self._tensors.append(tensor)
        return self._numbers[key]

    def leave(self) -> None:
        """The segment is computed: its tensors go to the store."""
        if self._tensors:
            regions, self._views = _regions(self._tensors)
            self._stored = self._swap.store.put(regions)
        self._tensors = None
        self._numbers = {}

    def unpack(self, packed: Tensor | int) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        if self._tensors is None:
            self._return()
        assert self._tensors is not None
        return self._tensors[packed]

    def recall(self) -> None:
        """Begins to bring the tensors back."""
        if self._stored is not None and self._tensors is None:
            self._stored.recall()

    def drop(self) -> None:
        """Gives up the tensors that are present; they are stored still."""
        self._tensors = None

    def _return(self) -> None:
        assert self._stored is not None
        self._swap.now_present(self)
        regions = self._stored.wait()
        if self._before is not None:
            self._before.recall()
        self._tensors = [view.of(regions) for view in self._views]
