"""What the tests of topologies build models from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqloom.cells import LSTM
from seqloom.layers.outputs import Categorical
from seqloom.layers.recurrent import StackOptions
from seqloom.sequences import Padded
from seqloom.unrolling import Auto

PARTS: dict[str, Any] = {
    "dropout": 0.0,
    "locked_dropout": False,
    "stack": StackOptions(),
    "cell": LSTM,
    "unrolling": Auto(),
    "output": Categorical,
}


def with_large_weights(model: nn.Module) -> Any:
    """In evaluation mode, with weights larger than at the start of training, so that differences
    show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.eval()


def ids(lengths: list[int], *, vocab_size: int, seed: int = 0, padding: int = 0) -> Padded:
    """Random ids from 4 on; `padding` more columns of noise behind the longest row."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths, default=0) + padding)
    values = torch.randint(4, vocab_size, shape, generator=generator)
    return Padded(values, torch.tensor(lengths, dtype=torch.int64))


def features(lengths: list[int], *, size: int, seed: int = 0, padding: int = 0) -> Padded:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths) + padding, size, generator=generator)
    return Padded(values, torch.tensor(lengths, dtype=torch.int64))


def one_row(batch: Padded, row: int) -> Padded:
    """A row alone, without its padding."""
    return Padded.from_list([batch.to_list()[row]])


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def unreached(model: nn.Module) -> list[str]:
    """Parameters that no gradient has reached."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.abs().sum() > 0)
    ]
