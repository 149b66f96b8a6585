"""Laws of sampling: it draws what the model believes, and the same in any company."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from decoding_fakes import MarkovModel, RecurrentModel, make_source, one_row, rescore
from torch import Tensor

from seqloom.decoding import GreedySearch, SampledSearch
from seqloom.errors import ConfigError
from seqloom.sequences import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Padded

LENGTHS = [3, 1, 7, 5, 2, 9, 4]


def test_frequencies_are_probabilities() -> None:
    model = MarkovModel.random(vocab_size=7, seed=1)
    source = make_source([3], seed=0)
    num_samples = 20_000
    search = SampledSearch(max_length=1, seed=5, forbid_unknown=False)
    (samples,) = search(model, source, num_best=num_samples)
    counts = Counter(sample.tokens[0] if sample.tokens else EOS_ID for sample in samples)
    logits = model.tables[model.start(source)[0], BOS_ID].clone()
    logits[[PAD_ID, BOS_ID]] = -torch.inf
    for token, probability in enumerate(logits.softmax(0).tolist()):
        deviation = (probability * (1 - probability) / num_samples) ** 0.5
        assert counts[token] / num_samples == pytest.approx(probability, abs=4 * deviation)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 1e-4}, {"top_k": 1}])
@pytest.mark.parametrize("model_seed", range(4))
def test_without_chance_it_is_greedy(options: dict[str, Any], model_seed: int) -> None:
    model = RecurrentModel(vocab_size=9, seed=model_seed, end_bias=1.0)
    source = make_source(LENGTHS, seed=2)
    search = SampledSearch(**options, max_length=12)
    greedy = GreedySearch(max_length_ratio=0, max_length_offset=12, forbid_unknown=True)
    found = search(model, source, with_attention=True)
    expected = greedy(model, source, with_attention=True)
    assert [[h.tokens for h in row] for row in found] == [
        [h.tokens for h in row] for row in expected
    ]
    for (one,), (other,) in zip(found, expected, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
        assert one.finished == other.finished
        torch.testing.assert_close(torch.tensor(one.attention), torch.tensor(other.attention))
    own = search.greedy()(model, source)
    assert [h.tokens for (h,) in own] == [h.tokens for (h,) in expected]


def test_a_row_gets_the_same_samples_alone_in_a_batch_and_again() -> None:
    model = RecurrentModel(vocab_size=30, seed=3)
    source = make_source(LENGTHS, seed=4, padding=2)
    search = SampledSearch(max_length=15)
    together = search(model, source, num_best=3)
    assert together == search(model, source, num_best=3)
    assert [row[:1] for row in together] == search(model, source)
    for row in range(len(LENGTHS)):
        (alone,) = search(model, one_row(source, row), num_best=3)
        assert [h.tokens for h in alone] == [h.tokens for h in together[row]]
    assert len({h.tokens for row in together for h in row}) > 2 * len(LENGTHS)
    other = SampledSearch(max_length=15, seed=1)(model, source, num_best=3)
    assert [[h.tokens for h in row] for row in other] != [
        [h.tokens for h in row] for row in together
    ]


def test_numbers_tell_equal_sources_apart() -> None:
    model = RecurrentModel(vocab_size=30, seed=3)
    one = make_source([4], seed=4)
    source = one.select(torch.zeros(3, dtype=torch.int64))
    search = SampledSearch(max_length=15)
    (many,) = search(model, one, num_best=6)
    assert len({h.tokens for (h,) in search(model, source)}) == 1
    numbered = search.numbered(torch.tensor([5, 0, 2]))
    assert [h.tokens for (h,) in numbered(model, source)] == [many[n].tokens for n in (5, 0, 2)]


def test_its_log_probability_is_the_models_own() -> None:
    model = RecurrentModel(vocab_size=9, seed=1)
    source = make_source([4, 2], seed=1)
    search = SampledSearch(temperature=0.7, top_k=5, top_p=0.9, max_length=9)
    for row, samples in enumerate(search(model, source, num_best=4)):
        for sample in samples:
            tokens = (*sample.tokens, EOS_ID) if sample.finished else sample.tokens
            expected, _ = rescore(model, one_row(source, row), tokens)
            assert sample.log_prob == pytest.approx(expected, abs=1e-4)
            assert sample.score == sample.log_prob
            assert not {PAD_ID, BOS_ID, UNK_ID} & set(sample.tokens)
            assert len(tokens) <= 9


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.8, 0.95, 1.0])
def test_the_nucleus_is_the_smallest_set(top_p: float) -> None:
    logits = torch.randn(50, 12, generator=torch.Generator().manual_seed(0)) * 2
    everything = SampledSearch(forbid_unknown=False).probabilities(logits)
    nucleus = SampledSearch(top_p=top_p, forbid_unknown=False).probabilities(logits)
    for whole, kept in zip(everything.tolist(), nucleus.tolist(), strict=True):
        inside = sorted((p for p in kept if p > 0), reverse=True)
        assert inside == [p for p in sorted(whole, reverse=True) if p > 0][: len(inside)]
        assert sum(inside) >= top_p - 1e-6
        assert sum(inside[:-1]) < top_p


def test_top_k_and_temperature_are_what_they_say() -> None:
    logits = torch.randn(20, 12, generator=torch.Generator().manual_seed(0))
    kept = SampledSearch(top_k=3, temperature=0.5).probabilities(logits)
    for row, probabilities in zip(logits, kept, strict=True):
        best = [i for i in row.argsort(descending=True).tolist() if i in (EOS_ID, *range(4, 12))][
            :3
        ]
        expected = torch.zeros(12)
        expected[best] = (row[best] / 0.5).softmax(0)
        torch.testing.assert_close(probabilities, expected)
    assert (SampledSearch(top_k=99).probabilities(logits)[:, UNK_ID + 1 :] > 0).all()


def test_what_is_no_number_ends_at_once() -> None:
    class Broken:
        def start(self, source: Padded) -> Tensor:
            return torch.zeros(source.batch_size)

        def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return torch.full((len(tokens), 6), torch.nan), torch.zeros(len(tokens), 0), state

        def select(self, state: Tensor, rows: Tensor) -> Tensor:
            return state[rows]

    ((found,),) = SampledSearch()(Broken(), make_source([2], seed=0))
    assert (found.tokens, found.log_prob) == ((), -torch.inf)


def test_nothing_in_nothing_out() -> None:
    model = MarkovModel.random(vocab_size=7, seed=1)
    empty = Padded(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert SampledSearch()(model, empty) == []
    no_steps = Padded(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    assert len(SampledSearch()(model, no_steps)) == 2


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}, {"max_length": 0}],
)
def test_what_cannot_be_is_said(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        SampledSearch(**options)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_best=0"):
        SampledSearch()(
            MarkovModel.random(vocab_size=7, seed=1), make_source([2], seed=0), num_best=0
        )
