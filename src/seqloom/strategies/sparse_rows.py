"""Gradients of embeddings, exchanged as the rows that were looked up.

The idea: a batch looks up few of the rows of a large table, and the gradient of all others is zero.
Before an update each process tells how many of its rows are not zero; where those with their
numbers are fewer bytes than the whole table they are gathered, padded to the most that a process
has, and elsewhere the table is all-reduced as usual. Every process decides the same, from the same
counts, and adds in the same order. Price: the exchange begins after the backward pass instead of
within it, and finding the rows reads the table once. A table that something else shares (a tied
output layer) has a gradient in every row and stays with DDP.
"""

from __future__ import annotations

from collections import Counter

import torch
import torch.distributed as dist
from torch import Tensor, nn

from seqloom.layers.embedding import TokenEmbedding
from seqloom.strategies.communication import Traffic, ring_all_gather, ring_all_reduce


def private_embeddings(model: nn.Module) -> dict[str, Tensor]:
    """Trained weights of embeddings that nothing else shares, by name."""
    owners = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    return {
        f"{name}.weight" if name else "weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, TokenEmbedding | nn.Embedding)
        and module.weight.requires_grad
        and owners[id(module.weight)] == 1
    }


class SparseRows:
    """Averages the gradients of embeddings over all processes.

    Args:
        weights: each [rows, size], in the same order everywhere.
        traffic: where what is sent is added.
    """

    def __init__(self, weights: list[Tensor], traffic: Traffic) -> None:
        self._weights, self._traffic = weights, traffic

    @torch.no_grad()
    def exchange(self) -> None:
        """Replaces each gradient by its mean over processes; one that no process has stays None."""
        if not self._weights:
            return
        touched = [_touched_rows(weight) for weight in self._weights]
        # Without a gradient: -1, since that is another thing than a gradient of zeros.
        own = [-1 if rows is None else len(rows) for rows in touched]
        counts = self._gather(torch.tensor(own, device=self._weights[0].device))
        most = torch.stack(counts).amax(0).tolist()
        for weight, rows, num_rows in zip(self._weights, touched, most, strict=True):
            if num_rows < 0:
                continue
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            if self._is_sparse(weight, num_rows):
                self._gather_rows(weight.grad, _none(weight) if rows is None else rows, num_rows)
            else:
                weight.grad /= dist.get_world_size()
                self._traffic.all_reduce(weight.grad.nbytes)
                dist.all_reduce(weight.grad)

    def _is_sparse(self, weight: Tensor, num_rows: int) -> bool:
        row_bytes = weight.shape[1] * weight.element_size() + torch.int64.itemsize
        return ring_all_gather(num_rows * row_bytes) < ring_all_reduce(weight.nbytes)

    def _gather_rows(self, grad: Tensor, rows: Tensor, num_rows: int) -> None:
        """`rows` [r] of `grad` with those of the others, r <= num_rows."""
        padding = num_rows - len(rows)
        # Padding adds zeros to row 0.
        indices = nn.functional.pad(rows, (0, padding))
        values = nn.functional.pad(grad[rows] / dist.get_world_size(), (0, 0, 0, padding))
        every_indices, every_values = self._gather(indices), self._gather(values)
        grad.index_fill_(0, rows, 0.0)
        for others, added in zip(every_indices, every_values, strict=True):
            grad.index_add_(0, others, added)

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        self._traffic.all_gather(tensor.nbytes)
        dist.all_gather(parts, tensor.contiguous())
        return parts


def _touched_rows(weight: Tensor) -> Tensor | None:
    """Numbers of the rows [r] of a gradient that are not zero everywhere."""
    return None if weight.grad is None else weight.grad.ne(0).any(1).nonzero().squeeze(1)


def _none(weight: Tensor) -> Tensor:
    return torch.empty(0, dtype=torch.int64, device=weight.device)
