"""Laws of `Padded`: reversal inside lengths, last steps, masks; against plain lists."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqloom.sequences import Padded


def ragged(lengths: list[int], features: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    return [torch.randn(length, features, generator=generator) for length in lengths]


lengths_lists = st.lists(st.integers(0, 6), min_size=1, max_size=5)


@given(lengths_lists)
def test_list_round_trip(lengths: list[int]) -> None:
    rows = ragged(lengths)
    padded = Padded.from_list(rows)
    assert padded.num_elements == sum(lengths)
    assert padded.is_full == (len(set(lengths)) == 1)
    for row, back in zip(rows, padded.to_list(), strict=True):
        assert torch.equal(row, back)


@given(lengths_lists)
def test_reversal_is_inside_each_length_and_its_own_inverse(lengths: list[int]) -> None:
    rows = ragged(lengths)
    padded = Padded.from_list(rows)
    for row, back in zip(rows, padded.reversed().to_list(), strict=True):
        assert torch.equal(row.flip(0), back)
    assert torch.equal(padded.reversed().reversed().values, padded.values)


@given(lengths_lists)
def test_last_step_or_initial_row(lengths: list[int]) -> None:
    rows = ragged(lengths)
    initial = torch.randn(len(rows), 3)
    last = Padded.from_list(rows).last(initial)
    for number, row in enumerate(rows):
        assert torch.equal(last[number], row[-1] if len(row) else initial[number])


@given(lengths_lists)
def test_mask_and_zeroed(lengths: list[int]) -> None:
    padded = Padded.from_list([row + 10 for row in ragged(lengths)], padding_value=7)
    mask = padded.mask()
    assert mask.sum(1).tolist() == lengths
    zeroed = padded.zeroed().values
    assert torch.equal(zeroed[mask], padded.values[mask])
    assert bool((zeroed[~mask] == 0).all())


def test_zeroed_is_what_torchs_packing_gives_back() -> None:
    padded = Padded(torch.randn(3, 6, 2), torch.tensor([2, 5, 1]))
    packed = pack_padded_sequence(
        padded.values, padded.lengths, batch_first=True, enforce_sorted=False
    )
    values, lengths = pad_packed_sequence(packed, batch_first=True, total_length=6)
    assert torch.equal(values, padded.zeroed().values)
    assert torch.equal(lengths, padded.lengths)


def test_select_repeats_and_orders() -> None:
    padded = Padded.from_list(ragged([1, 3, 2]))
    chosen = padded.select(torch.tensor([2, 0, 2]))
    assert chosen.lengths.tolist() == [2, 1, 2]
    assert torch.equal(chosen.values[0], padded.values[2])


@pytest.mark.parametrize("bad", [torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2)])
def test_lengths_are_one_int64_a_row(bad: torch.Tensor) -> None:
    with pytest.raises(AssertionError):
        Padded(torch.zeros(2, 3), bad)
