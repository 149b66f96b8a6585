"""The chunked loss against torch's cross entropy: values, gradients, chunks, smoothing, weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seqloom.layers import output as output_module
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.output import TokenOutput


def make(vocab_size: int = 11) -> TokenOutput:
    torch.manual_seed(0)
    layer = TokenOutput(input_size=5, vocab_size=vocab_size)
    nn.init.normal_(layer.projection.bias)
    return layer


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("num_rows", [1, 4, 13])
def test_equals_torch(monkeypatch: pytest.MonkeyPatch, smoothing: float, num_rows: int) -> None:
    monkeypatch.setattr(output_module, "_ROWS_PER_PRODUCT", 4)
    monkeypatch.setattr(output_module, "_ROWS_PER_SOFTMAX", 3)
    monkeypatch.setattr(output_module, "_ROW_MULTIPLE", 3)
    layer = make()
    hidden = torch.randn(num_rows, 5, requires_grad=True)
    targets = torch.randint(0, 11, (num_rows,))
    ours = layer.loss(hidden, targets, smoothing=smoothing)
    sources = [hidden, layer.projection.weight, layer.projection.bias]
    theirs = F.cross_entropy(
        layer.projection(hidden * layer.scale), targets, label_smoothing=smoothing, reduction="sum"
    )
    torch.testing.assert_close(ours.loss, theirs)
    torch.testing.assert_close(
        ours.nll, F.cross_entropy(layer.projection(hidden * layer.scale), targets, reduction="sum")
    )
    assert ours.num_tokens == num_rows
    for one, other in zip(
        torch.autograd.grad(3 * ours.loss, sources),
        torch.autograd.grad(3 * theirs, sources),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_no_rows_is_no_loss() -> None:
    loss = make().loss(torch.zeros(0, 5, requires_grad=True), torch.zeros(0, dtype=torch.int64))
    assert loss.loss.item() == 0
    loss.loss.backward()


def test_no_gradient_is_computed_where_none_is_wanted() -> None:
    with torch.no_grad():
        loss = make().loss(torch.randn(3, 5), torch.tensor([1, 2, 3]))
    assert not loss.loss.requires_grad


def test_products_follow_autocast_and_sums_stay_in_float32() -> None:
    layer = make()
    hidden, targets = torch.randn(50, 5, requires_grad=True), torch.randint(0, 11, (50,))
    exact = layer.loss(hidden, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer.loss(hidden, targets)
    assert rounded.loss.dtype == torch.float32
    assert exact.loss.item() != rounded.loss.item()
    torch.testing.assert_close(exact.loss, rounded.loss, rtol=2e-2, atol=0.0)


def test_a_tied_weight_is_one_parameter() -> None:
    embedding = TokenEmbedding(vocab_size=11, size=5)
    layer = TokenOutput(input_size=5, vocab_size=11, embedding=embedding)
    assert layer.projection.weight is embedding.weight
