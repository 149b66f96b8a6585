"""What an output layer is: the end of a model, which knows the loss of what it gives.

The idea: a model ends in readouts, and everything that depends on the kind of target (ids or
features, independent steps or whole sequences) lies in one module with `loss` and `predict`. A
recipe from the config makes it, once its sizes are known. Losses are sums in float32 with a count
beside them, so that a mean over batches and processes is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor, nn

from seqloom.errors import ConfigError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.sequences import Padded


@dataclass(frozen=True)
class TokenLoss:
    """Sums over the elements of a batch; a mean is a sum divided by `num_tokens`.

    Attributes:
        loss: the (smoothed) loss, summed; what is trained. Float32.
        nll: the plain loss, summed, without gradient: the negative log likelihood in nats where
            the output is a distribution (what perplexity is made of).
        num_tokens: how many elements were summed: tokens, frames, or single numbers where the
            loss is one of numbers.
    """

    loss: Tensor
    nll: Tensor
    num_tokens: int


class Output(nn.Module, ABC):
    """An output layer whose steps are independent of each other, given the readouts.

    Attributes:
        reads: what its targets are: `ids` or `features`.
    """

    reads: ClassVar[str]

    @abstractmethod
    def loss(self, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> TokenLoss:
        """Sums over rows: readouts [M, D], targets [M] int64 or features [M, F]. M may be 0.

        Raises ConfigError for a `smoothing` other than 0 that it does not know.
        """

    @abstractmethod
    def predict(self, hidden: Tensor) -> Tensor:
        """Readouts [..., D] -> the likeliest ids [...], or features [..., F]."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Readouts [..., D] -> [..., V] in float32, whose softmax are the probabilities of all
        words. Raises ConfigError where there are no words."""
        raise ConfigError(
            f"output._target_={type(self).__name__}",
            "it gives numbers, which have no probabilities to search among",
            "choose output=categorical",
        )


class SequenceOutput(nn.Module, ABC):
    """An output layer over whole sequences, whose steps depend on each other.

    Attributes:
        reads: what its targets are: `ids`.
    """

    reads: ClassVar[str] = "ids"

    @abstractmethod
    def loss(self, hidden: Padded, targets: Padded, *, smoothing: float = 0.0) -> TokenLoss:
        """Sums over rows: readouts [B, T, D], targets [B, U] int64."""

    @abstractmethod
    def predict(self, hidden: Padded) -> Padded:
        """Readouts [B, T, D] -> ids [B, U], zero on padding."""


class OutputRecipe(Protocol):
    """What `output=` gives: an output layer that still lacks its sizes."""

    def __call__(
        self, *, input_size: int, output_size: int, embedding: TokenEmbedding | None
    ) -> Output:
        """Readouts of `input_size` features D to `output_size` words V or features F; the weight of
        `embedding` [V, D] is shared where it is given."""
        ...


def refuse_smoothing(smoothing: float, why: str) -> None:
    """Raises ConfigError unless `smoothing` is 0."""
    if smoothing:
        raise ConfigError(
            f"learner.label_smoothing={smoothing}", why, "set learner.label_smoothing=0.0"
        )


def refuse_tie(embedding: TokenEmbedding | None, why: str) -> None:
    """Raises ConfigError where an embedding should be shared."""
    if embedding is not None:
        raise ConfigError("model.tie", why, "use model.tie=none")
