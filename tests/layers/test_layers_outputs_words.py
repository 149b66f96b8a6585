"""Softmaxes over words against torch's own losses: values, gradients, chunks, smoothing, weights,
and probabilities that sum to one."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seqloom.errors import ConfigError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs import Adaptive, Categorical, Mixture, Output
from seqloom.layers.outputs import cross_entropy as cross_entropy_module
from seqloom.layers.outputs import mixture as mixture_module

V, D = 11, 5
KINDS: dict[str, Any] = {
    "categorical": Categorical,
    "adaptive": partial(Adaptive, cutoffs=[3, 7], shrink=2.0),
    "mixture": partial(Mixture, num_mixtures=3),
}


def make(kind: str) -> Output:
    torch.manual_seed(0)
    layer: Output = KINDS[kind](input_size=D, output_size=V)
    for name, parameter in layer.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return layer


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy_module, "ROWS_PER_PRODUCT", 4)
    monkeypatch.setattr(cross_entropy_module, "_ROWS_PER_SOFTMAX", 3)
    monkeypatch.setattr(cross_entropy_module, "_ROW_MULTIPLE", 3)
    monkeypatch.setattr(mixture_module, "_ROWS_PER_CHUNK", 4)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("num_rows", [1, 4, 13])
@pytest.mark.parametrize(
    ("kind", "smoothing"),
    [
        ("categorical", 0.0),
        ("categorical", 0.1),
        ("adaptive", 0.0),
        ("mixture", 0.0),
        ("mixture", 0.1),
    ],
)
def test_the_loss_is_torchs_cross_entropy_of_the_logits(
    kind: str, smoothing: float, num_rows: int
) -> None:
    layer = make(kind)
    hidden = torch.randn(num_rows, D, requires_grad=True)
    targets = torch.randint(0, V, (num_rows,))
    ours = layer.loss(hidden, targets, smoothing=smoothing)
    logits = layer.logits(hidden)
    theirs = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(ours.loss, theirs)
    torch.testing.assert_close(ours.nll, F.cross_entropy(logits, targets, reduction="sum"))
    assert not ours.nll.requires_grad
    assert ours.num_tokens == num_rows
    sources = [hidden, *layer.parameters()]
    gradients = (
        torch.autograd.grad(3 * loss, sources, allow_unused=True, materialize_grads=True)
        for loss in (ours.loss, theirs)
    )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_sum_to_one_and_the_likeliest_is_predicted(kind: str) -> None:
    layer, hidden = make(kind), torch.randn(2, 3, D)
    logits = layer.logits(hidden)
    assert logits.shape == (2, 3, V)
    assert logits.dtype == torch.float32
    if kind != "categorical":
        torch.testing.assert_close(logits.exp().sum(-1), torch.ones(2, 3))
    assert torch.equal(layer.predict(hidden), logits.argmax(-1))


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_is_no_loss_and_reaches_every_parameter(kind: str) -> None:
    layer = make(kind)
    loss = layer.loss(torch.zeros(0, D, requires_grad=True), torch.zeros(0, dtype=torch.int64))
    assert loss.loss.item() == 0
    assert loss.nll.item() == 0
    loss.loss.backward()
    assert all(
        parameter.grad is not None and not parameter.grad.any() for parameter in layer.parameters()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_is_computed_where_none_is_wanted(kind: str) -> None:
    with torch.no_grad():
        loss = make(kind).loss(torch.randn(3, D), torch.tensor([1, 2, 8]))
    assert not loss.loss.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_products_follow_autocast_and_sums_stay_in_float32(kind: str) -> None:
    layer = make(kind)
    hidden, targets = torch.randn(50, D, requires_grad=True), torch.randint(0, V, (50,))
    exact = layer.loss(hidden, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer.loss(hidden, targets)
        rounded.loss.backward()
        assert layer.logits(hidden).dtype == torch.float32
    assert rounded.loss.dtype == torch.float32
    assert exact.loss.item() != rounded.loss.item()
    torch.testing.assert_close(exact.loss, rounded.loss, rtol=2e-2, atol=0.0)


@pytest.mark.parametrize("kind", ["categorical", "mixture"])
def test_a_tied_weight_is_one_parameter(kind: str) -> None:
    embedding = TokenEmbedding(vocab_size=V, size=D)
    layer = KINDS[kind](input_size=D, output_size=V, embedding=embedding)
    assert layer.projection.weight is embedding.weight


def test_adaptive_is_torchs_adaptive_softmax() -> None:
    ours = make("adaptive")
    assert isinstance(ours, Adaptive)
    theirs = nn.AdaptiveLogSoftmaxWithLoss(D, V, [3, 7], div_value=2.0, head_bias=True)
    with torch.no_grad():
        theirs.head.weight.copy_(ours.head.weight * ours.scale)
        theirs.head.bias.copy_(ours.head.bias)
        for (narrow, tail), wide, own in zip(theirs.tail, ours.narrow, ours.tails, strict=True):
            narrow.weight.copy_(wide.weight * ours.scale)
            tail.weight.copy_(own.weight)
            own.bias.zero_()
    hidden, targets = torch.randn(20, D), torch.randint(0, V, (20,))
    torch.testing.assert_close(ours.logits(hidden), theirs.log_prob(hidden))
    torch.testing.assert_close(ours.loss(hidden, targets).loss / 20, theirs(hidden, targets).loss)


def test_a_mixture_of_one_is_a_softmax_of_its_latent() -> None:
    layer = Mixture(input_size=D, output_size=V, num_mixtures=1)
    hidden = torch.randn(4, D)
    latent = torch.tanh(layer.latent(hidden)) * layer.scale
    torch.testing.assert_close(layer.logits(hidden), layer.projection(latent).log_softmax(-1))


def test_a_mixture_has_a_higher_rank_than_a_softmax() -> None:
    """Yang et al. 2018: log probabilities of one softmax have rank D + 2 at most."""
    torch.manual_seed(0)
    hidden = torch.randn(40, 2)
    ranks = [
        int(torch.linalg.matrix_rank(layer.logits(hidden).detach().double(), rtol=1e-5))
        for layer in (
            Mixture(input_size=2, output_size=30, num_mixtures=1),
            Mixture(input_size=2, output_size=30, num_mixtures=3),
        )
    ]
    assert ranks[0] <= 4 < ranks[1]


@pytest.mark.parametrize(
    ("recipe", "instead"),
    [
        (partial(Adaptive, cutoffs=[3, 3]), "ascending"),
        (partial(Adaptive, cutoffs=[11]), "1..10"),
        (partial(Adaptive, cutoffs=[]), "categorical"),
        (partial(Adaptive, cutoffs=[3], shrink=0.5), "1 or more"),
        (partial(Adaptive, embedding=TokenEmbedding(vocab_size=V, size=D)), "tie=none"),
        (partial(Mixture, num_mixtures=0), "1 or more"),
    ],
)
def test_what_cannot_be_is_said(recipe: Any, instead: str) -> None:
    with pytest.raises(ConfigError, match=instead):
        recipe(input_size=D, output_size=V)


def test_adaptive_refuses_smoothing() -> None:
    with pytest.raises(ConfigError, match=r"label_smoothing=0\.0"):
        make("adaptive").loss(torch.randn(2, D), torch.tensor([1, 2]), smoothing=0.1)


def test_adaptive_cuts_at_a_tenth_and_a_third_by_itself() -> None:
    layer = Adaptive(input_size=8, output_size=100)
    assert layer.bounds == [(10, 33), (33, 100)]
    assert [narrow.out_features for narrow in layer.narrow] == [2, 1]
