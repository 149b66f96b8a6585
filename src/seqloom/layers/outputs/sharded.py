"""The softmax over a vocabulary whose words are dealt to several processes.

The idea: each process compares readouts with its own words, and only three numbers a row travel:
the largest score, the sum of exponentials, and the right word's score, which its owner has (a
fourth, the sum of scores, under label smoothing). Logits of all words exist nowhere in training.
Chunks of rows as in `cross_entropy`, softmax and sums in float32 (float64 where readouts are).
Price: two small all-reduces for 1,024 rows, and one of the gradient by the readouts. For a search
the scores of all words are gathered.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, autograd

from seqloom.layers.outputs.base import TokenLoss
from seqloom.layers.outputs.categorical import Categorical
from seqloom.layers.outputs.cross_entropy import ROWS_PER_PRODUCT, product_dtype
from seqloom.layers.sharded_embedding import RowShard


class ShardedCategorical(Categorical):
    """One of V words, of which this process keeps some; its projection has as many rows.

    Not made as it is: `strategies.vocabulary` turns a `Categorical` into one. All of the group call
    its methods with the same arguments.
    """

    shard: RowShard

    def logits(self, hidden: Tensor) -> Tensor:
        """Of all words, the same on every process."""
        part = super().logits(self.shard.share(hidden))
        return self.shard.join(part, dim=part.ndim - 1)

    def loss(self, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> TokenLoss:
        """The sums over all rows, the same on every process."""
        weight: Tensor = self.projection.weight
        bias: Tensor = self.projection.bias
        if not torch.is_grad_enabled():  # a custom function does not see that by itself
            weight, bias = weight.detach(), bias.detach()
        scaled = self.shard.share(hidden * self.scale)
        loss, nll = ShardedCrossEntropy.apply(scaled, weight, bias, targets, smoothing, self.shard)
        return TokenLoss(loss, nll, len(targets))


class ShardedCrossEntropy(autograd.Function):
    """`cross_entropy.LinearCrossEntropy` of which each process has some columns.

    The gradient by `hidden` is this process's share: `RowShard.share` adds those of all.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
        shard: RowShard,
    ) -> tuple[Tensor, Tensor]:
        """Hidden [M, D], weight [rows, D], bias [rows], targets [M] in 0..V-1 -> the sums loss and
        nll over all V words."""
        needs_gradient = any(ctx.needs_input_grad[:3])
        dtype = product_dtype(hidden)
        product_weight, product_bias = weight.to(dtype), bias.to(dtype)
        sums = hidden.new_zeros(2, dtype=_sum_dtype(hidden))
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        grad_bias = torch.zeros_like(bias)
        for start in range(0, len(hidden), ROWS_PER_PRODUCT):
            rows = slice(start, start + ROWS_PER_PRODUCT)
            inputs = hidden[rows].to(dtype)
            scores = torch.addmm(product_bias, inputs, product_weight.T).to(sums.dtype)
            part, grad = _softmax_loss(scores, targets[rows], smoothing, shard)
            sums += part
            if needs_gradient:
                grad_bias += grad.sum(dim=0)
                grad = grad.to(dtype)
                grad_hidden[rows] = (grad @ product_weight).to(hidden.dtype)
                grad_weight += grad.T @ inputs
        if needs_gradient:
            ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        loss, nll = sums.unbind()
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    def backward(ctx: Any, *grad_sums: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by hidden, weight and bias, scaled by the loss's own; nll has none."""
        grad_loss = grad_sums[0]
        grads = (grad.mul_(grad_loss.to(grad.dtype)) for grad in ctx.saved_tensors)
        return (*grads, None, None, None)


def _softmax_loss(
    scores: Tensor, targets: Tensor, smoothing: float, shard: RowShard
) -> tuple[Tensor, Tensor]:
    """The sums (loss, nll), and the loss's gradient by these scores, which it takes the place of.

    Scores [M, rows] and targets [M] in 0..V-1.
    """
    group = shard.mesh.get_group()
    highest = scores.new_full((len(scores),), -torch.inf)
    if scores.shape[1]:
        highest = scores.amax(dim=1)
    dist.all_reduce(highest, op=dist.ReduceOp.MAX, group=group)
    places, here = shard.find(targets)
    right = scores.new_zeros(len(scores))
    if scores.shape[1]:
        right = scores.gather(1, places.unsqueeze(1)).squeeze(1) * here
    total = scores.sum(dim=1)
    odds = scores.sub_(highest.unsqueeze(1)).exp_()
    sums = torch.stack([odds.sum(dim=1), right, total])
    dist.all_reduce(sums, group=group)
    normaliser, right, total = sums
    log_sum = highest + normaliser.log()
    nll = (log_sum - right).sum()
    loss = (log_sum - (1 - smoothing) * right - smoothing / shard.num_rows * total).sum()
    grad = odds.div_(normaliser.unsqueeze(1)).sub_(smoothing / shard.num_rows)
    rows = here.nonzero().squeeze(1)
    grad[rows, places[rows]] -= 1 - smoothing
    return torch.stack([loss, nll]), grad


def _sum_dtype(hidden: Tensor) -> torch.dtype:
    return hidden.dtype if hidden.dtype == torch.float64 else torch.float32
