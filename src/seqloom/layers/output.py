"""The output layer over a vocabulary, and its loss in chunks.

Logits of 1,000 tokens over 10,000 words are 40 MB and their softmax as much again; most of a
training step is spent on them. `LinearCrossEntropy` computes a chunk of rows at a time, and its
gradient in the same pass, so that logits never exist as a whole: products in the autocast dtype,
softmax and sums in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_ROWS_PER_CHUNK = 1024


@dataclass(frozen=True)
class TokenLoss:
    """Sums over the tokens of a batch; a mean is a sum divided by `num_tokens`.

    Attributes:
        loss: the smoothed negative log likelihood, summed; what is trained.
        nll: the plain negative log likelihood in nats, summed, without gradient; what perplexity
            is made of.
        num_tokens: how many tokens were summed.
    """

    loss: Tensor
    nll: Tensor
    num_tokens: int


class LinearCrossEntropy(torch.autograd.Function):
    """Sum over rows of the label-smoothed cross entropy of `hidden @ weight.T + bias`.

    With smoothing e the target distribution is (1 - e) on the right word and e / V on every word
    (Szegedy et al. 2016), so a row's loss is lse - (1 - e) * z_right - e * mean(z), its gradient
    by the logits softmax(z) - (1 - e) * onehot - e / V.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        row_weights: Tensor | None,
        smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        """Hidden [M, D], weight [V, D], bias [V], targets [M], row weights [M] -> loss and nll."""
        needs_gradient = any(ctx.needs_input_grad[:3])
        dtype = _product_dtype(hidden)
        product_weight, product_bias = weight.to(dtype), bias.to(dtype)
        sums = hidden.new_zeros(2, dtype=torch.float32)
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        grad_bias = torch.zeros_like(bias)
        for start in range(0, len(hidden), _ROWS_PER_CHUNK):
            rows = slice(start, start + _ROWS_PER_CHUNK)
            inputs, scale = (
                hidden[rows].to(dtype),
                None if row_weights is None else row_weights[rows],
            )
            logits = torch.addmm(product_bias, inputs, product_weight.T)
            log_probs = logits.log_softmax(dim=1, dtype=torch.float32)
            sums += _smoothed_sums(log_probs, targets[rows], scale, smoothing)
            if needs_gradient:
                grad = _logits_gradient(log_probs, targets[rows], scale, smoothing)
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
        grads = ctx.saved_tensors
        return (*(grad * grad_loss.to(grad.dtype) for grad in grads), None, None, None)


def _smoothed_sums(
    log_probs: Tensor, targets: Tensor, scale: Tensor | None, smoothing: float
) -> Tensor:
    """The sums (loss, nll) of a chunk of log probabilities [M, V]."""
    row_nll = -log_probs.gather(1, targets.unsqueeze(1)).squeeze(1)
    row_loss = row_nll
    if smoothing:
        row_loss = (1 - smoothing) * row_nll - smoothing * log_probs.mean(dim=1)
    if scale is not None:
        row_loss = row_loss * scale
    return torch.stack([row_loss.sum(), row_nll.sum()])


def _logits_gradient(
    log_probs: Tensor, targets: Tensor, scale: Tensor | None, smoothing: float
) -> Tensor:
    """The loss's gradient by the logits, written over the log probabilities [M, V]."""
    grad = log_probs.exp_()
    if smoothing:
        grad.sub_(smoothing / grad.shape[1])
    right = targets.unsqueeze(1)
    grad.scatter_add_(1, right, grad.new_full(right.shape, smoothing - 1))
    return grad if scale is None else grad.mul_(scale.unsqueeze(1))


class TokenOutput(nn.Module):
    """Scores of every word, and their loss.

    Args:
        input_size: features of a step.
        vocab_size: V.
        embedding: shares its weight [V, input_size] (Press and Wolf 2017); None for a weight of
            its own.
    """

    def __init__(
        self, *, input_size: int, vocab_size: int, embedding: nn.Embedding | None = None
    ) -> None:
        super().__init__()
        self.projection = nn.Linear(input_size, vocab_size)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        if embedding is not None:
            self.projection.weight = embedding.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., input_size] -> [..., V] in float32."""
        return self.projection(hidden).float()

    def loss(
        self,
        hidden: Tensor,
        targets: Tensor,
        *,
        smoothing: float = 0.0,
        row_weights: Tensor | None = None,
    ) -> TokenLoss:
        """Sums over rows: hidden [M, input_size], targets [M] int64, optional weights [M] on the
        trained loss."""
        weight: Tensor = self.projection.weight
        bias: Tensor = self.projection.bias
        if not torch.is_grad_enabled():  # a custom function does not see that by itself
            weight, bias = weight.detach(), bias.detach()
        loss, nll = LinearCrossEntropy.apply(hidden, weight, bias, targets, row_weights, smoothing)
        return TokenLoss(loss, nll, len(targets))


def _product_dtype(hidden: Tensor) -> torch.dtype:
    """The dtype of products: autocast's where it is on (a custom function does not get it by
    itself)."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return hidden.dtype if hidden.dtype == torch.float64 else torch.float32
