"""The cross entropy of a linear layer, in chunks.

Logits of 1,000 tokens over 10,000 words are 40 MB and their softmax as much again; most of a
training step is spent on them. `LinearCrossEntropy` computes a chunk of rows at a time, and its
gradient in the same pass, so that logits never exist as a whole: products in the autocast dtype,
softmax and sums in float32. Price: no second derivative.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

ROWS_PER_PRODUCT = 1024
_ROWS_PER_SOFTMAX = 64
_ROW_MULTIPLE = 128


def cross_entropy(
    hidden: Tensor, linear: nn.Linear, targets: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Sums over rows of the smoothed and of the plain cross entropy, in float32; the latter has no
    gradient. Hidden [M, D], a linear layer D to V with bias, targets [M] int64; M may be 0."""
    weight: Tensor = linear.weight
    bias: Tensor = linear.bias
    if not torch.is_grad_enabled():  # a custom function does not see that by itself
        weight, bias = weight.detach(), bias.detach()
    return LinearCrossEntropy.apply(hidden, weight, bias, targets, smoothing)


def scores_layer(input_size: int, output_size: int) -> nn.Linear:
    """A linear layer whose rows start about 1 long, for inputs scaled by `scores_scale`."""
    linear = nn.Linear(input_size, output_size)
    nn.init.normal_(linear.weight, std=input_size**-0.5)
    nn.init.zeros_(linear.bias)
    return linear


def scores_scale(input_size: int) -> float:
    """By how much a readout is scaled before it is compared with words.

    A readout lies in -1..1 and a word's weight is about 1 long, so their products could only tell
    words apart after the weights have grown for a long time: half the root of the size (half: the
    best of 1, 4, 8 and 16 at 256 features on Multi30k).
    """
    return math.sqrt(input_size) / 2


class LinearCrossEntropy(torch.autograd.Function):
    """Sum over rows of the label-smoothed cross entropy of `hidden @ weight.T + bias`.

    With smoothing e the target distribution is (1 - e) on the right word and e / V on every word
    (Szegedy et al. 2016), so a row's loss is lse - (1 - e) * z_right - e * mean(z), its gradient
    by the logits softmax(z) - (1 - e) * onehot - e / V.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """Hidden [M, D], weight [V, D], bias [V], targets [M] -> the sums loss and nll."""
        needs_gradient = any(ctx.needs_input_grad[:3])
        dtype = product_dtype(hidden)
        product_weight, product_bias = weight.to(dtype), bias.to(dtype)
        sums = hidden.new_zeros(2, dtype=torch.float32)
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        grad_bias = torch.zeros_like(bias)
        for start in range(0, len(hidden), ROWS_PER_PRODUCT):
            rows = slice(start, start + ROWS_PER_PRODUCT)
            inputs = _rounded_up(hidden[rows], dtype)
            logits = torch.addmm(product_bias, inputs, product_weight.T)
            sums += _softmax_loss(
                logits, targets[rows], smoothing, grad_bias if needs_gradient else None
            )
            if needs_gradient:
                grad_hidden[rows] = (logits @ product_weight)[: len(targets[rows])].to(hidden.dtype)
                grad_weight += logits.T @ inputs
        if needs_gradient:
            ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        loss, nll = sums.unbind()
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    def backward(ctx: Any, *grad_sums: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by hidden, weight and bias, scaled by the loss's own; nll has none."""
        grad_loss = grad_sums[0]
        return (*(grad.mul_(grad_loss.to(grad.dtype)) for grad in ctx.saved_tensors), None, None)


def _rounded_up(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows [M, D] in `dtype`, with rows of zeros up to a multiple of _ROW_MULTIPLE.

    The number of real tokens is another one in every batch, and a kernel is compiled for each
    number of rows that a product has not had before.
    """
    count = len(rows)
    padded = rows.new_empty(count + -count % _ROW_MULTIPLE, rows.shape[1], dtype=dtype)
    padded[:count], padded[count:] = rows, 0
    return padded


def _softmax_loss(
    logits: Tensor, targets: Tensor, smoothing: float, grad_bias: Tensor | None
) -> Tensor:
    """The sums (loss, nll) of logits [M or more, V] and targets [M], in float32.

    With `grad_bias` [V], adds the loss's gradient by the bias to it, and writes the gradient by the
    logits over them, zero beyond row M. A few rows at a time, so that float32 stays in the cache.
    """
    num_words = logits.shape[1]
    sums = logits.new_zeros(2, dtype=torch.float32)
    for start in range(0, len(targets), _ROWS_PER_SOFTMAX):
        right = targets[start : start + _ROWS_PER_SOFTMAX].unsqueeze(1)
        part = logits[start : start + len(right)]
        log_probs = part.log_softmax(dim=1, dtype=torch.float32)
        nll = -log_probs.gather(1, right).sum()
        loss = nll
        if smoothing:
            loss = (1 - smoothing) * nll - smoothing / num_words * log_probs.sum()
        sums += torch.stack([loss, nll])
        if grad_bias is not None:
            grad = log_probs.exp_()
            if smoothing:
                grad.sub_(smoothing / num_words)
            grad.scatter_add_(1, right, grad.new_full(right.shape, smoothing - 1))
            grad_bias += grad.sum(dim=0)
            part.copy_(grad)
    if grad_bias is not None:
        logits[len(targets) :] = 0
    return sums


def product_dtype(hidden: Tensor) -> torch.dtype:
    """The dtype of products: autocast's where it is on (a custom function does not get it by
    itself)."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return hidden.dtype if hidden.dtype == torch.float64 else torch.float32
