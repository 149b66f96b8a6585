"""Outputs of numbers against torch's distributions and losses, and scikit-learn's pinball loss."""

from functools import partial
from typing import Any

import pytest
import torch
from sklearn.metrics import mean_pinball_loss
from torch import distributions
from torch.nn import functional as F

from seqloom.errors import ConfigError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs import Bernoulli, Gaussian, Output, Quantile, Squared

KINDS: dict[str, Any] = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "gaussian_fixed": partial(Gaussian, scale=0.5),
    "squared": Squared,
    "quantile": partial(Quantile, quantiles=[0.1, 0.4, 0.9]),
}
M, D, FEATURES = 7, 5, 3


def make(kind: str) -> Any:
    torch.manual_seed(0)
    return KINDS[kind](input_size=D, output_size=FEATURES)


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(M, D, generator=generator),
        torch.randn(M, FEATURES, generator=generator),
    )


def test_bernoulli_is_the_likelihood_of_frames() -> None:
    layer, (hidden, numbers) = make("bernoulli"), rows()
    bits = (numbers > 0).float()
    loss = layer.loss(hidden, bits)
    expected = distributions.Bernoulli(probs=layer.probabilities(hidden)).log_prob(bits).sum()
    torch.testing.assert_close(loss.loss, -expected)
    assert loss.num_tokens == M
    assert torch.equal(layer.predict(hidden), (layer.probabilities(hidden) > 0.5).float())


@pytest.mark.parametrize("kind", ["gaussian", "gaussian_fixed"])
def test_gaussian_is_the_likelihood_of_numbers(kind: str) -> None:
    layer, (hidden, numbers) = make(kind), rows()
    loss = layer.loss(hidden, numbers)
    mean, log_scale = layer.distribution(hidden)
    expected = distributions.Normal(mean, log_scale.exp()).log_prob(numbers).sum()
    torch.testing.assert_close(loss.loss, -expected)
    assert loss.num_tokens == M
    assert torch.equal(layer.predict(hidden), mean)
    if kind == "gaussian_fixed":
        torch.testing.assert_close(log_scale.exp(), torch.full((M, FEATURES), 0.5))
    else:
        torch.testing.assert_close(log_scale, layer.numbers(hidden)[1], rtol=0.0, atol=0.01)


def test_a_gaussian_scale_has_a_floor_and_a_gradient_below_it() -> None:
    layer = make("gaussian")
    with torch.no_grad():
        layer.projection.bias.fill_(-9.0)
    hidden = torch.zeros(1, D)
    _, log_scale = layer.distribution(hidden)
    assert bool((log_scale > -7).all())
    (gradient,) = torch.autograd.grad(log_scale.sum(), layer.projection.bias)
    assert bool((gradient[FEATURES:] > 0.01).all())


def test_the_mean_of_squared_is_the_mean_squared_error() -> None:
    layer, (hidden, numbers) = make("squared"), rows()
    loss = layer.loss(hidden, numbers)
    expected = F.mse_loss(layer.projection(hidden), numbers)
    torch.testing.assert_close(loss.loss / loss.num_tokens, expected)


def test_quantile_is_the_pinball_loss() -> None:
    layer, (hidden, numbers) = make("quantile"), rows()
    loss = layer.loss(hidden, numbers)
    predicted = layer.numbers(hidden).detach()
    expected = sum(
        mean_pinball_loss(numbers.numpy(), predicted[number].numpy(), alpha=quantile)
        for number, quantile in enumerate([0.1, 0.4, 0.9])
    )
    assert loss.loss.item() / loss.num_tokens == pytest.approx(expected / 3, rel=1e-5)
    assert torch.equal(layer.predict(hidden), predicted[1])


def test_quantiles_are_found() -> None:
    """A constant input: what minimises the loss are the quantiles of the targets."""
    layer = Quantile(input_size=1, output_size=1, quantiles=[0.2, 0.8])
    targets = torch.rand(500, 1, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        layer.loss(torch.ones(500, 1), targets).loss.backward()
        optimizer.step()
    found = layer.numbers(torch.ones(1, 1)).flatten()
    expected = torch.quantile(targets.flatten(), torch.tensor([0.2, 0.8]))
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_no_loss_and_autocast_leaves_sums_in_float32(kind: str) -> None:
    layer: Output = make(kind)
    hidden, numbers = rows()
    nothing = layer.loss(hidden[:0], numbers[:0])
    assert nothing.loss.item() == nothing.nll.item() == nothing.num_tokens == 0
    nothing.loss.backward()
    with torch.autocast("cpu", torch.bfloat16):
        loss = layer.loss(hidden, numbers.clamp(0, 1))
        assert layer.predict(hidden).dtype == torch.float32
    assert loss.loss.dtype == loss.nll.dtype == torch.float32
    assert not loss.nll.requires_grad
    assert layer.predict(hidden.reshape(1, M, D)).shape == (1, M, FEATURES)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_is_said(kind: str) -> None:
    layer, (hidden, numbers) = make(kind), rows()
    with pytest.raises(ConfigError, match=r"label_smoothing=0\.0"):
        layer.loss(hidden, numbers, smoothing=0.1)
    with pytest.raises(ConfigError, match="categorical"):
        layer.logits(hidden)
    embedding = TokenEmbedding(vocab_size=3, size=D)
    with pytest.raises(ConfigError, match="tie=none"):
        KINDS[kind](input_size=D, output_size=3, embedding=embedding)


@pytest.mark.parametrize("quantiles", [[], [0.5, 0.5], [0.0], [0.9, 0.1], [1.2]])
def test_quantiles_ascend_between_0_and_1(quantiles: list[float]) -> None:
    with pytest.raises(ConfigError, match="ascending"):
        Quantile(input_size=D, output_size=1, quantiles=quantiles)


def test_a_scale_is_above_0() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        Gaussian(input_size=D, output_size=1, scale=0.0)
