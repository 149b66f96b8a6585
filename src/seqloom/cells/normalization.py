"""Layer normalisation inside a step (Ba, Kiros and Hinton 2016), with its derivative.

    y = (x - mean(x)) / sqrt(var(x) + eps) * gain + bias

over the features of a row, in the dtype of the state: a step's statistics must not be rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-5


def normalize(
    values: Tensor, gain: Tensor, bias: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """[..., K] -> [..., K], and what `normalize_backward` needs; gain and bias [K]."""
    normal, mean, scale = torch.native_layer_norm(values, values.shape[-1:], gain, bias, _EPSILON)
    return normal, (values, mean, scale)


def normalize_backward(
    grad: Tensor, saved: tuple[Tensor, ...], gain: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by the values [N, K], the gain [K] and a bias [K] (there or not)."""
    values, mean, scale = saved
    by_values, by_gain, by_bias = torch.ops.aten.native_layer_norm_backward(
        grad, values, values.shape[-1:], mean, scale, gain, bias, [True, True, bias is not None]
    )
    return by_values, by_gain, by_bias
