"""Products by oneDNN against torch's own, around the sizes where the way changes."""

import pytest
import torch
from torch.nn import functional as F

from seqloom.cells.products import Product, linear, weight_gradient

ROWS = [0, 1, 7, 8, 511, 512, 513, 1100]


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("num_rows", ROWS)
@pytest.mark.parametrize("has_bias", [True, False])
def test_linear_is_torchs(num_rows: int, has_bias: bool) -> None:
    torch.manual_seed(0)
    # Views with strides, as a slice of a batch or the transpose of a weight have them.
    inputs = torch.randn(num_rows, 2, 10)[..., :5].requires_grad_()
    weight = torch.randn(5, 6).T.requires_grad_()
    bias = torch.randn(6, requires_grad=True) if has_bias else None
    sources = [source for source in (inputs, weight, bias) if source is not None]
    ours, theirs = linear(inputs, weight, bias), F.linear(inputs, weight, bias)
    assert_same(ours, theirs)
    grad = torch.randn_like(theirs)
    for one, other in zip(
        torch.autograd.grad(ours, sources, grad),
        torch.autograd.grad(theirs, sources, grad),
        strict=True,
    ):
        assert_same(one, other)


@pytest.mark.parametrize("num_rows", ROWS)
def test_a_weights_gradient(num_rows: int) -> None:
    torch.manual_seed(0)
    grad, inputs = torch.randn(num_rows, 6), torch.randn(5, num_rows).T
    assert_same(weight_gradient(grad, inputs), grad.T @ inputs)


@pytest.mark.parametrize("num_rows", ROWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_product_for_many_calls(num_rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(6, 5).to(dtype), torch.randn(6).to(dtype)
    rows = torch.randn(num_rows, 5)
    product = Product(weight, bias)
    for _ in range(2):
        assert_same(product(rows), F.linear(rows.to(dtype), weight, bias))


def test_a_second_derivative() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(9, 5, requires_grad=True)
    weight = torch.randn(6, 5, requires_grad=True)
    seconds = []
    for product in (linear, F.linear):
        outputs = product(inputs, weight).tanh().square().sum()
        first = torch.autograd.grad(outputs, [inputs, weight], create_graph=True)
        loss = sum(grad.square().sum() for grad in first)
        assert isinstance(loss, torch.Tensor)
        seconds.append(torch.autograd.grad(loss, [inputs, weight]))
    for one, other in zip(*seconds, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_precision_follows_autocast() -> None:
    inputs, weight = torch.randn(9, 5), torch.randn(6, 5, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = linear(inputs, weight)
    assert outputs.dtype == torch.bfloat16
    outputs.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_only_what_is_needed_gets_a_gradient() -> None:
    inputs, weight = torch.randn(9, 5, requires_grad=True), torch.randn(6, 5)
    linear(inputs, weight).sum().backward()
    assert inputs.grad is not None
    assert weight.grad is None
    assert not linear(inputs.detach(), weight).requires_grad
