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


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_running_is_the_pooling_of_every_beginning(kind: str, size: int) -> None:
    torch.manual_seed(0)
    pooling, row = Pooling(kind=kind, size=6), torch.randn(10, 6)
    before, found = None, []
    for chunk in row.split(size):
        pooled, before = pooling.running(chunk, before)
        assert pooled.dtype == row.dtype
        assert len(before) == 1, "what is handed on does not grow"
        found.append(pooled)
    expected = [
        pooling(Padded(row[None, :end], torch.tensor([end])), row[end - 1 : end])[0]
        for end in range(1, 11)
    ]
    torch.testing.assert_close(torch.cat(found), torch.stack(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_running_stays_exact_over_many_steps(kind: str) -> None:
    torch.manual_seed(0)
    pooling = Pooling(kind=kind, size=3)
    row = torch.randn(20_000, 3) + 100.0
    before = None
    with torch.no_grad():
        for chunk in row.split(2):
            pooled, before = pooling.running(chunk, before)
    whole = pooling.double()(Padded(row[None].double(), torch.tensor([len(row)])), row[-1:])
    torch.testing.assert_close(pooled[-1].double(), whole[0].detach(), rtol=3e-7, atol=0.0)


def test_running_attention_does_not_overflow() -> None:
    pooling = Pooling(kind="attention", size=6)
    with torch.no_grad():
        pooling.energy.weight.fill_(20.0)  # energies up to 120: their exponentials leave float32
        pooling.hidden.weight.copy_(torch.eye(6) * 100)
    row = torch.linspace(-1, 1, 30).reshape(5, 6)
    pooled, _ = pooling.running(row, None)
    expected = pooling(Padded(row[None], torch.tensor([5])), row[-1:])
    torch.testing.assert_close(pooled[-1:], expected)
