"""Pooling against rows taken one by one; padding and empty rows."""

import pytest
import torch

from seqloom.errors import ConfigError
from seqloom.layers.pooling import POOLINGS, Pooling
from seqloom.sequences import Padded

LENGTHS = [4, 0, 1, 3]


def outputs() -> Padded:
    values = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)
    return Padded(values.masked_fill(~mask.unsqueeze(2), 1e6), torch.tensor(LENGTHS))


def by_hand(pooling: Pooling, row: torch.Tensor) -> torch.Tensor:
    if pooling.kind == "mean":
        return row.mean(0)
    if pooling.kind == "max":
        return row.max(0).values
    scores = pooling.energy(torch.tanh(pooling.hidden(row)))
    return (torch.softmax(scores, dim=0) * row).sum(0)


@pytest.mark.parametrize("kind", ["mean", "max", "attention"])
def test_rows_are_pooled_one_by_one(kind: str) -> None:
    torch.manual_seed(0)
    pooling, batch = Pooling(kind=kind, size=6), outputs()
    pooled = pooling(batch, torch.full((4, 6), 9.0))
    for row, length, result in zip(batch.values, LENGTHS, pooled, strict=True):
        expected = by_hand(pooling, row[:length]) if length else torch.zeros(6)
        torch.testing.assert_close(result, expected)


def test_last_is_what_it_is_given() -> None:
    final = torch.randn(4, 6)
    assert Pooling(kind="last", size=6)(outputs(), final) is final


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("shape", [(2, 0, 6), (0, 3, 6)])
def test_nothing_is_zero(kind: str, shape: tuple[int, ...]) -> None:
    batch = Padded(torch.zeros(shape), torch.zeros(shape[0], dtype=torch.int64))
    pooled = Pooling(kind=kind, size=6)(batch, torch.zeros(shape[0], 6))
    assert torch.equal(pooled, torch.zeros(shape[0], 6))


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ConfigError, match="last, mean, max, attention"):
        Pooling(kind="median", size=6)
