"""Rows of a vocabulary dealt to the processes of a tensor-parallel group, and their embedding.

The idea: process r keeps the r-th of n equal blocks of rows, as a DTensor with `Shard(0)` lies (the
last blocks are shorter, or empty, where n does not divide V). A lookup gives zeros for the words of
other processes, and the sum over processes is what one process would have found. Price: an
all-reduce of what was looked up. Everything else of a model is whole on every process of the group,
which read the same batches; so a gradient that arrives here is already the same everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, autograd
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn import functional as F

from seqloom.layers.embedding import TokenEmbedding


@dataclass(frozen=True)
class RowShard:
    """The rows of V that a process keeps.

    Args:
        mesh: of one dimension: the processes that share the rows.
        num_rows: V, at least 1.
    """

    mesh: DeviceMesh
    num_rows: int

    @property
    def rows(self) -> slice:
        """This process's rows; empty where there are more blocks than rows."""
        size = math.ceil(self.num_rows / self.mesh.size())
        start = min(self.mesh.get_local_rank() * size, self.num_rows)
        return slice(start, min(start + size, self.num_rows))

    def cut(self, whole: Tensor) -> Tensor:
        """[V, ...] -> a copy of this process's rows. Nothing is sent."""
        part = distribute_tensor(whole, self.mesh, [Shard(0)], src_data_rank=None)
        return part.to_local().clone()

    def join(self, part: Tensor, dim: int = 0) -> Tensor:
        """This process's part of a tensor -> the whole one, with V elements in dimension `dim`, on
        every process; its gradient is that of the part. All of the group call this."""
        shape = torch.Size([*part.shape[:dim], self.num_rows, *part.shape[dim + 1 :]])
        spread = DTensor.from_local(
            part.contiguous(),
            self.mesh,
            [Shard(dim)],
            run_check=False,
            shape=shape,
            stride=part.new_empty(shape, device="meta").stride(),
        )
        return spread.full_tensor()

    def find(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids [...] of 0..V-1 -> their places among this process's rows, and which are here; 0
        where they are not."""
        rows = self.rows
        here = (ids >= rows.start) & (ids < rows.stop)
        return (ids - rows.start).masked_fill(~here, 0), here

    def sum(self, part: Tensor) -> Tensor:
        """The sum over processes, whose gradient every process has: it is passed on as it is."""
        total: Tensor = _Sum.apply(part, self.mesh)
        return total

    def share(self, whole: Tensor) -> Tensor:
        """What all processes have alike, for the use of each of them in its own way: the gradient
        is summed."""
        shared: Tensor = _Share.apply(whole, self.mesh)
        return shared


class ShardedEmbedding(TokenEmbedding):
    """An embedding of which this process keeps some rows; its `weight` is [rows, E].

    Not made as it is: `strategies.vocabulary` turns a `TokenEmbedding` into one.
    """

    shard: RowShard

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [...] int64 -> [..., E], the same on every process. All of the group call this."""
        places, here = self.shard.find(ids)
        if len(self.weight):
            found = F.embedding(places, self.weight) * here.unsqueeze(-1)
        else:
            found = self.weight.sum() + self.weight.new_zeros(*ids.shape, self.weight.shape[1])
        return self.shard.sum(found) * math.sqrt(self.weight.shape[1])


class _Sum(autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, mesh: DeviceMesh) -> Tensor:
        total = part.clone()
        dist.all_reduce(total, group=mesh.get_group())
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Share(autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, mesh: DeviceMesh) -> Tensor:
        ctx.mesh = mesh
        return whole.view_as(whole)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total, group=ctx.mesh.get_group())
        return total, None
