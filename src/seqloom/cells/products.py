"""Matrix products of cells, by the faster of two libraries.

torch hands float32 products on a CPU to BLAS, which on some processors (MKL on AMD) runs at half
the speed of oneDNN. So they go to oneDNN there, and as torch does it otherwise: few rows, other
precisions and devices, autocast, compiled graphs. Blocks of rows keep what oneDNN hands over small
enough to stay in the cache, and its shapes few: it compiles a kernel for each. Price: copies into
oneDNN's layout and back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_MIN_ROWS = 8  # fewer are not worth the call
_BLOCK_ROWS = 512


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`: [..., I], [O, I] and [O] -> [..., O]."""
    num_rows = inputs.numel() // max(1, weight.shape[1])
    if inputs.dtype != weight.dtype or num_rows < _MIN_ROWS or not _has_onednn(weight):
        return F.linear(inputs, weight, bias)
    flat: Tensor = _Linear.apply(inputs.reshape(num_rows, -1), weight, bias)
    return flat.reshape(*inputs.shape[:-1], -1)


def weight_gradient(grad: Tensor, inputs: Tensor) -> Tensor:
    """The gradient [O, I] of a weight, given that of the product [N, O] and what it read [N, I]."""
    if len(grad) < _MIN_ROWS or not _has_onednn(grad):
        return grad.T @ inputs
    total = grad.new_zeros(grad.shape[1], inputs.shape[1])
    for rows in zip(grad.split(_BLOCK_ROWS), inputs.split(_BLOCK_ROWS), strict=True):
        by_output, read = (block.contiguous().to_mkldnn() for block in rows)
        total += torch.ops.aten.mkldnn_linear_backward_weights(by_output, read, total, False)[0]
    return total


class Product:
    """`linear` with one weight and no gradient, for many calls: the weight is brought into oneDNN's
    layout once."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight, self._bias = weight, bias
        self._own = weight.contiguous().to_mkldnn() if _has_onednn(weight) else None

    def __call__(self, rows: Tensor) -> Tensor:
        """[N, I] of any dtype -> [N, O] in that of the weight."""
        rows = rows.to(self._weight.dtype)
        own, bias = self._own, self._bias
        if own is None or len(rows) < _MIN_ROWS:
            return F.linear(rows, self._weight, bias)
        if len(rows) <= _BLOCK_ROWS:
            return F.linear(rows.contiguous().to_mkldnn(), own, bias).to_dense()
        product = rows.new_empty(len(rows), len(self._weight))
        for there, block in zip(product.split(_BLOCK_ROWS), rows.split(_BLOCK_ROWS), strict=True):
            there.copy_(F.linear(block.contiguous().to_mkldnn(), own, bias).to_dense())
        return product


def _has_onednn(tensor: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
    )


class _Linear(torch.autograd.Function):
    """Keeps plain tensors, which memory policies can move; oneDNN's own derivative does not."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return Product(weight, bias)(inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        by_inputs = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_inputs = linear(grad, weight.T)
        if ctx.needs_input_grad[1]:
            # A derivative of the derivative goes through operations that have one.
            twice = torch.is_grad_enabled()
            by_weight = grad.T @ inputs if twice else weight_gradient(grad, inputs)
        if ctx.needs_input_grad[2]:
            by_bias = grad.sum(dim=0)
        return by_inputs, by_weight, by_bias
