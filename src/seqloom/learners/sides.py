"""A learner's view of the two sides of its data: sizes, lines of text to batches and back, and
whether an output layer fits.

An encoder reads text with the end symbol behind it, a language model reads a prompt as it stands.
A single value for each example is a sequence of one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from seqloom.data.batch import Batch, Values
from seqloom.data.spec import ClassSide, FeatureSide, Side, TokenSide, VideoSide
from seqloom.errors import ConfigError
from seqloom.layers.outputs import Output
from seqloom.sequences import EOS_ID, Padded


def has_ids(side: Side) -> bool:
    """Tokens or classes, not features or clips."""
    return isinstance(side, TokenSide | ClassSide)


def size_of(side: Side) -> int:
    """V of ids, F of features. Raises ConfigError for clips, which have neither."""
    if isinstance(side, VideoSide):
        raise ConfigError("learner", "it cannot read clips", "use the task's learner and model")
    return side.size if isinstance(side, FeatureSide) else side.vocab_size


def check_model(recipe: Callable[..., nn.Module], fitting: dict[str, type[nn.Module]]) -> None:
    """Raises ConfigError for the recipe of a model that the learner cannot train.

    Args:
        fitting: the classes that it can, by their options of `model`.
    """
    kind: object = recipe
    while isinstance(kind, functools.partial):
        kind = kind.func
    if isinstance(kind, type) and not issubclass(kind, tuple(fitting.values())):
        raise ConfigError(
            f"model._target_={kind.__name__}",
            "this task's learner cannot train it",
            f"use model={' or '.join(fitting)}",
        )


def check_output(
    output: nn.Module, side: Side, *, allowed: tuple[type[nn.Module], ...] = (Output,)
) -> None:
    """Raises ConfigError for an output layer that does not fit a target.

    Args:
        allowed: kinds of output layers that the learner can use.
    """
    needed = "ids" if has_ids(side) else "features"
    fitting = "categorical" if needed == "ids" else "squared, gaussian, quantile or bernoulli"
    why = None
    if getattr(output, "reads", None) != needed:
        why = f"it is not for targets that are {needed}"
    elif not isinstance(output, allowed):
        why = "it is for sequences that this task does not have"
    if why is not None:
        raise ConfigError(f"output._target_={type(output).__name__}", why, f"use output={fitting}")


def read(side: Side, texts: Sequence[str], *, with_end: bool) -> Padded:
    """Lines as a batch, ids [B, T] or features [B, T, F], on the CPU; at least one line.

    Args:
        with_end: rows of tokens end with the end symbol.

    Raises DataError for a line that the side cannot read.
    """
    rows = [side.parse(text) for text in texts]
    if with_end and isinstance(side, TokenSide):
        end = torch.tensor([EOS_ID])
        rows = [torch.cat([row, end]) for row in rows]
    return Padded.from_list(rows)


def as_sequences(values: Values, *, is_ids: bool) -> Padded:
    """One value for each example as a sequence of one; sequences as they are.

    Args:
        is_ids: a value is an id, so a plain tensor is [B]; else it is [B, F].
    """
    if isinstance(values, Padded):
        return values
    assert values.ndim == (1 if is_ids else 2)
    return Padded(values.unsqueeze(1), torch.ones(len(values), dtype=torch.int64))


def input_texts(side: Side, batch: Batch) -> Sequence[str]:
    """Each example's input as a person reads it."""
    return batch.source_text or _formatted(side, batch.source)


def target_texts(side: Side, batch: Batch) -> Sequence[str]:
    """Each example's target as a person reads it."""
    return batch.target_text or _formatted(side, batch.target)


def _formatted(side: Side, values: Values) -> list[str]:
    rows: Sequence[Tensor] = values.to_list() if isinstance(values, Padded) else list(values)
    return [side.format(row.cpu()) for row in rows]
