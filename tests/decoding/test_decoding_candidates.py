"""Candidates, limits and penalties against plain references."""

from __future__ import annotations

import pytest
import torch

from seqloom.decoding.candidates import next_tokens, top_k
from seqloom.decoding.limits import LengthLimits
from seqloom.decoding.penalties import LengthPenalty
from seqloom.sequences import EOS_ID


@pytest.mark.parametrize("width", [1, 5, 63, 64, 65, 640, 1000, 10_000])
@pytest.mark.parametrize("k", [1, 5, 12])
@pytest.mark.parametrize("distinct_values", [2, 30, None])
def test_top_k_is_a_stable_sort(width: int, k: int, distinct_values: int | None) -> None:
    generator = torch.Generator().manual_seed(width + k)
    if distinct_values is None:
        values = torch.randn(7, width, generator=generator)
    else:
        values = torch.randint(distinct_values, (7, width), generator=generator) - 1.0
        values[:, ::3] *= -1  # with negative zeros
        values[0] = -torch.inf
    k = min(k, width)
    expected, order = (values + 0.0).sort(dim=1, descending=True, stable=True)
    best, indices = top_k(values, k)
    assert torch.equal(indices, order[:, :k])
    assert torch.equal(best, expected[:, :k])


@pytest.mark.parametrize("forbid_unknown", [False, True])
def test_next_tokens_are_the_end_symbol_and_the_best_words(forbid_unknown: bool) -> None:
    logits = torch.randn(6, 500, generator=torch.Generator().manual_seed(0)) * 3
    logits[:, :4] += 9
    log_probs, ids = next_tokens(logits, 4, forbid_unknown)
    everything = logits.log_softmax(1)
    torch.testing.assert_close(log_probs, everything.gather(1, ids))
    first = 4 if forbid_unknown else 3
    assert (ids[:, 0] == EOS_ID).all()
    assert torch.equal(ids[:, 1:], everything[:, first:].topk(4, dim=1).indices + first)


def test_limits_round_as_a_person_would() -> None:
    limits = LengthLimits(max_length_ratio=1.1, max_length_offset=0, min_length_ratio=0.1)
    shortest, longest = limits.of(torch.tensor([0, 1, 10, 30]))
    assert shortest.tolist() == [0, 1, 1, 3]
    assert longest.tolist() == [1, 1, 11, 33]
    crossed = LengthLimits(max_length_ratio=1.0, max_length_offset=0, min_length_ratio=2.0)
    shortest, longest = crossed.of(torch.tensor([3]))
    assert shortest.tolist() == longest.tolist() == [3]


def test_length_penalties() -> None:
    lengths = torch.tensor([1, 7, 13])
    gnmt = LengthPenalty(alpha=2.0, kind="gnmt")(lengths)
    assert gnmt.tolist() == [1.0, 4.0, 9.0]
    assert LengthPenalty(alpha=1.0, kind="average")(lengths).tolist() == [1.0, 7.0, 13.0]
    assert LengthPenalty(alpha=0.0, kind="average")(lengths).tolist() == [1.0, 1.0, 1.0]
