"""Output layers of numbers: frames of bits, and of real numbers by likelihood, mean or quantiles.

    Bernoulli   sum over features of binary cross entropies      nats a frame
    Gaussian    -log N(x; mean, scale), features independent      nats a frame
    Squared     (x - prediction)^2                                a number
    Quantile    max(q (x - prediction_q), (q - 1) (x - prediction_q)), mean over q (Koenker and
                Bassett 1978)                                     a number

What is counted stands on the right, so a mean of `Squared` is the mean squared error. Each is one
linear layer, computed in the precision of the run; losses are in float32. They refuse label
smoothing, and a weight shared with an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.errors import ConfigError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs.base import Output, TokenLoss, refuse_smoothing, refuse_tie

# The log of the smallest scale of a Gaussian, so that a likelihood cannot grow without end.
_MIN_LOG_SCALE = -7.0


class Features(Output):
    """What outputs of numbers share: a linear layer to `num_numbers` for each of F features.

    Args:
        input_size: D.
        output_size: F.
        embedding: must be None.
        num_numbers: numbers that describe a feature.
    """

    reads: ClassVar[str] = "features"

    def __init__(
        self,
        *,
        input_size: int,
        output_size: int,
        embedding: TokenEmbedding | None,
        num_numbers: int = 1,
    ) -> None:
        super().__init__()
        refuse_tie(embedding, "numbers have no embedding")
        self.num_numbers = num_numbers
        self.projection = nn.Linear(input_size, output_size * num_numbers)

    def numbers(self, hidden: Tensor) -> Tensor:
        """Readouts [..., D] -> [num_numbers, ..., F] in float32."""
        flat = self.projection(hidden).float()
        return flat.unflatten(-1, (self.num_numbers, -1)).movedim(-2, 0)


class Bernoulli(Features):
    """Frames of F bits, for example the keys of a piano roll; independent given the readout."""

    def __init__(
        self, *, input_size: int, output_size: int, embedding: TokenEmbedding | None = None
    ) -> None:
        super().__init__(input_size=input_size, output_size=output_size, embedding=embedding)

    def probabilities(self, hidden: Tensor) -> Tensor:
        """Readouts [..., D] -> [..., F], of each bit being 1."""
        return self.numbers(hidden)[0].sigmoid()

    def predict(self, hidden: Tensor) -> Tensor:
        """The likeliest frames: 0.0 or 1.0."""
        return (self.probabilities(hidden) > 0.5).float()

    def loss(self, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> TokenLoss:
        refuse_smoothing(smoothing, "bits are not labels")
        scores = self.numbers(hidden)[0]
        nll = F.binary_cross_entropy_with_logits(scores, targets.float(), reduction="sum")
        return TokenLoss(nll, nll.detach(), len(targets))


class Gaussian(Features):
    """F real numbers, each with a mean and, unless it is given, a scale (standard deviation).

    Args:
        input_size, output_size, embedding: see `Features`.
        scale: fixed scale of every feature; None: predicted, as its logarithm.
    """

    def __init__(
        self,
        *,
        input_size: int,
        output_size: int,
        embedding: TokenEmbedding | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(
            input_size=input_size,
            output_size=output_size,
            embedding=embedding,
            num_numbers=2 if scale is None else 1,
        )
        if scale is not None and scale <= 0:
            raise ConfigError(f"output.scale={scale}", "is no scale", "set a number above 0")
        self.scale = scale

    def distribution(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Readouts [..., D] -> mean and logarithm of the scale, each [..., F]."""
        numbers = self.numbers(hidden)
        if self.scale is not None:
            return numbers[0], torch.full_like(numbers[0], math.log(self.scale))
        # The identity far above the smallest scale, and never below it, with a gradient everywhere.
        return numbers[0], F.softplus(numbers[1] - _MIN_LOG_SCALE) + _MIN_LOG_SCALE

    def predict(self, hidden: Tensor) -> Tensor:
        """The means."""
        return self.distribution(hidden)[0]

    def loss(self, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> TokenLoss:
        refuse_smoothing(smoothing, "numbers are not labels")
        mean, log_scale = self.distribution(hidden)
        deviations = (targets.float() - mean) * (-log_scale).exp()
        nll = (deviations.square() / 2 + log_scale + math.log(2 * math.pi) / 2).sum()
        return TokenLoss(nll, nll.detach(), len(targets))


class Squared(Features):
    """F real numbers by least squares: regression."""

    def __init__(
        self, *, input_size: int, output_size: int, embedding: TokenEmbedding | None = None
    ) -> None:
        super().__init__(input_size=input_size, output_size=output_size, embedding=embedding)

    def predict(self, hidden: Tensor) -> Tensor:
        return self.numbers(hidden)[0]

    def loss(self, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> TokenLoss:
        refuse_smoothing(smoothing, "numbers are not labels")
        errors = (self.predict(hidden) - targets.float()).square().sum()
        return TokenLoss(errors, errors.detach(), targets.numel())


class Quantile(Features):
    """F real numbers by their quantiles: a forecast with its uncertainty.

    Args:
        input_size, output_size, embedding: see `Features`.
        quantiles: ascending, each in 0..1; `predict` gives the one in the middle.
    """

    quantiles: Tensor

    def __init__(
        self,
        *,
        input_size: int,
        output_size: int,
        embedding: TokenEmbedding | None = None,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    ) -> None:
        bounds = pairwise([0.0, *quantiles, 1.0])
        if not quantiles or any(low >= high for low, high in bounds):
            raise ConfigError(
                f"output.quantiles={list(quantiles)}",
                "are not ascending numbers between 0 and 1",
                "set for example [0.1, 0.5, 0.9]",
            )
        super().__init__(
            input_size=input_size,
            output_size=output_size,
            embedding=embedding,
            num_numbers=len(quantiles),
        )
        self.register_buffer("quantiles", torch.tensor(list(quantiles)), persistent=False)

    def predict(self, hidden: Tensor) -> Tensor:
        return self.numbers(hidden)[self.num_numbers // 2]

    def loss(self, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> TokenLoss:
        refuse_smoothing(smoothing, "numbers are not labels")
        errors = targets.float() - self.numbers(hidden)
        share = self.quantiles.reshape(-1, *[1] * targets.ndim)
        pinball = torch.maximum(share * errors, (share - 1) * errors).mean(dim=0).sum()
        return TokenLoss(pinball, pinball.detach(), targets.numel())
