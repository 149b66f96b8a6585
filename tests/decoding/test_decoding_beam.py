"""Laws of beam search: the optimum when it can see everything, the same answer in any company."""

from __future__ import annotations

import dataclasses
import logging
from itertools import zip_longest

import pytest
import torch
from decoding_fakes import (
    MarkovModel,
    RecurrentModel,
    brute_force,
    make_source,
    one_row,
    penalised,
    rescore,
)
from torch import Tensor

from seqloom.decoding import BeamSearch, GreedySearch, Hypothesis
from seqloom.errors import ConfigError
from seqloom.sequences import EOS_ID, UNK_ID, Padded

PENALTIES = [
    (0.0, "gnmt", 0.0),
    (0.6, "gnmt", 0.0),
    (1.0, "average", 0.0),
    (2.0, "average", 0.3),
    (0.0, "average", 0.5),
    (1.0, "gnmt", 0.2),
]
LENGTHS = [3, 1, 7, 5, 2, 9, 4]


def tokens_of(results: list[list[Hypothesis]]) -> list[list[tuple[int, ...]]]:
    return [[hypothesis.tokens for hypothesis in row] for row in results]


def with_end(hypothesis: Hypothesis) -> tuple[int, ...]:
    return (*hypothesis.tokens, EOS_ID) if hypothesis.finished else hypothesis.tokens


@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind_of_model", ["recurrent", "markov"])
def test_a_beam_that_holds_everything_finds_the_optimum(penalties, seed, kind_of_model) -> None:
    alpha, kind, beta = penalties
    vocab_size, max_length = 5 + seed % 2, 4 + (seed + 1) % 2
    if kind_of_model == "recurrent":
        model = RecurrentModel(vocab_size=vocab_size, seed=seed)
    else:
        model = MarkovModel.random(vocab_size=vocab_size, seed=seed)
    source = make_source([3, 1, 2], seed=seed)
    search = BeamSearch(
        beam_size=vocab_size**max_length,
        length_penalty=alpha,
        length_penalty_kind=kind,
        coverage_penalty=beta if kind_of_model == "recurrent" else 0.0,
        max_length_ratio=0,
        max_length_offset=max_length,
        min_length_ratio=1.0,
    )
    for row, found in enumerate(search(model, source, num_best=9)):
        finished, cut = brute_force(
            model,
            one_row(source, row),
            vocab_size=vocab_size,
            min_length=int(source.lengths[row]),
            max_length=max_length,
            alpha=alpha,
            kind=kind,
            beta=search.coverage_penalty,
        )
        expected = (finished + cut)[:9]
        scores = {best.tokens: best.score for best in finished + cut}
        # A Markov model has ties: the same transitions in another order.
        if kind_of_model == "recurrent":
            assert [with_end(hypothesis) for hypothesis in found] == [
                best.tokens for best in expected
            ]
        for hypothesis, best in zip(found, expected, strict=True):
            assert hypothesis.score == pytest.approx(best.score, abs=1e-4)
            assert hypothesis.score == pytest.approx(scores[with_end(hypothesis)], abs=1e-4)


def test_too_few_finished_are_filled_with_cut_ones() -> None:
    model = RecurrentModel(vocab_size=5, seed=4)
    source = make_source([2], seed=0)
    search = BeamSearch(beam_size=64, max_length_ratio=0, max_length_offset=2, length_penalty=0.0)
    finished, cut = brute_force(
        model, source, vocab_size=5, min_length=0, max_length=2, alpha=0, kind="gnmt", beta=0
    )
    assert len(finished) == 3
    found = search(model, source, num_best=6)[0]
    assert [with_end(hypothesis) for hypothesis in found] == [
        best.tokens for best in (finished + cut)[:6]
    ]
    assert [hypothesis.finished for hypothesis in found] == [True] * 3 + [False] * 3


@pytest.mark.parametrize("seed", range(20))
def test_beam_of_one_without_penalties_is_greedy(seed: int) -> None:
    model = RecurrentModel(vocab_size=40, seed=seed, end_bias=1.0)
    source = make_source(LENGTHS, seed=seed)
    limits = {"max_length_ratio": 1.5, "max_length_offset": 2, "min_length_ratio": 0.5}
    beam = BeamSearch(beam_size=1, length_penalty=0.0, **limits)
    greedy = GreedySearch(**limits)
    assert beam(model, source, with_attention=True) == greedy(model, source, with_attention=True)


def test_the_greedy_search_of_a_search_has_its_limits() -> None:
    limits = {"max_length_ratio": 1.5, "max_length_offset": 2, "min_length_ratio": 0.9}
    model = RecurrentModel(vocab_size=9, seed=2, end_bias=-1.0)
    model.bias[UNK_ID] = 4.0
    source = make_source(LENGTHS, seed=2)
    for forbid_unknown in (False, True):
        expected = GreedySearch(**limits, forbid_unknown=forbid_unknown)
        assert expected.greedy() is expected
        greedy = BeamSearch(beam_size=4, **limits, forbid_unknown=forbid_unknown).greedy()
        assert isinstance(greedy, GreedySearch)
        assert vars(greedy) == vars(expected)
        assert greedy(model, source) == expected(model, source)


@pytest.mark.parametrize("penalties", PENALTIES)
def test_best_of_five_is_best_of_one(penalties) -> None:
    alpha, kind, beta = penalties
    search = BeamSearch(
        beam_size=5, length_penalty=alpha, length_penalty_kind=kind, coverage_penalty=beta
    )
    for seed in range(8):
        model = RecurrentModel(vocab_size=30, seed=seed)
        source = make_source(LENGTHS, seed=seed)
        five = search(model, source, num_best=5)
        assert [row[:1] for row in five] == search(model, source, num_best=1)


@pytest.mark.parametrize(
    ("search", "num_best"), [(GreedySearch(), 1), (BeamSearch(coverage_penalty=0.2), 3)]
)
def test_a_sentence_alone_is_its_row_of_a_batch_of_64(search, num_best) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, 13, (64,), generator=generator).tolist()
    model = RecurrentModel(vocab_size=30, seed=11, end_bias=1.0)
    source = make_source(lengths, seed=3)
    together = search(model, source, num_best=num_best, with_attention=True)
    for row in range(64):
        single = one_row(source, row)
        alone = search(model, single, num_best=num_best, with_attention=True)[0]
        assert [hypothesis.tokens for hypothesis in alone] == tokens_of(together)[row]
        for left, right in zip(alone, together[row], strict=True):
            assert left.finished == right.finished
            assert left.score == pytest.approx(right.score, abs=1e-4)
            torch.testing.assert_close(torch.tensor(left.attention), torch.tensor(right.attention))


@pytest.mark.parametrize(
    ("search", "num_best"), [(GreedySearch(), 1), (BeamSearch(coverage_penalty=0.2), 5)]
)
def test_padding_changes_nothing(search, num_best) -> None:
    model = RecurrentModel(vocab_size=30, seed=5)
    source = make_source(LENGTHS, seed=3, padding=6)
    noise = Padded(torch.where(source.mask(), source.values, 49 - source.values), source.lengths)
    trimmed = Padded(source.values[:, : max(LENGTHS)], source.lengths)
    expected = tokens_of(search(model, source, num_best=num_best))
    for other in (noise, trimmed):
        assert tokens_of(search(model, other, num_best=num_best)) == expected


def test_scores_and_attention_are_the_models_own() -> None:
    model = RecurrentModel(vocab_size=30, seed=6)
    source = make_source(LENGTHS, seed=6)
    search = BeamSearch(length_penalty=0.8, length_penalty_kind="gnmt", coverage_penalty=0.3)
    for row, found in enumerate(search(model, source, num_best=5, with_attention=True)):
        for hypothesis in found:
            tokens = with_end(hypothesis)
            log_prob, attention = rescore(model, one_row(source, row), tokens)
            assert hypothesis.log_prob == pytest.approx(log_prob, abs=1e-4)
            expected = penalised(log_prob, attention, 0.8, "gnmt", 0.3)
            assert hypothesis.score == pytest.approx(expected, abs=1e-4)
            torch.testing.assert_close(torch.tensor(hypothesis.attention), torch.tensor(attention))


def test_outputs_are_different_sorted_and_repeatable() -> None:
    for seed in range(10):
        model = RecurrentModel(vocab_size=12, seed=seed)
        source = make_source(LENGTHS, seed=seed)
        results = BeamSearch(beam_size=6)(model, source, num_best=6)
        assert results == BeamSearch(beam_size=6)(model, source, num_best=6)
        for row in results:
            assert len({with_end(hypothesis) for hypothesis in row}) == len(row) == 6
            ranks = [(not hypothesis.finished, -hypothesis.score) for hypothesis in row]
            assert ranks == sorted(ranks)
            assert all(min(hypothesis.tokens, default=UNK_ID) >= UNK_ID for hypothesis in row)


@pytest.mark.parametrize("search", [GreedySearch, BeamSearch])
def test_a_model_that_never_ends_is_cut_at_its_maximum(search) -> None:
    model = RecurrentModel(vocab_size=9, seed=1, end_bias=-1e9)
    source = make_source([4, 0, 7], seed=1)
    results = search(max_length_ratio=1.5, max_length_offset=2)(model, source, with_attention=True)
    assert [len(row[0].tokens) for row in results] == [8, 2, 12]
    assert [len(row[0].attention) for row in results] == [8, 0, 12] or results[1][0].attention == (
        (),
        (),
    )
    assert not any(row[0].finished for row in results)


@pytest.mark.parametrize("search", [GreedySearch, BeamSearch])
def test_minimum_length_counts_the_end_symbol(search) -> None:
    model = RecurrentModel(vocab_size=9, seed=1, end_bias=50.0)
    source = make_source([4, 0, 7, 1], seed=1)
    free = search()(model, source)
    assert [row[0].tokens for row in free] == [()] * 4
    results = search(min_length_ratio=0.5)(model, source)
    assert [len(row[0].tokens) + 1 for row in results] == [2, 1, 4, 1]
    assert all(row[0].finished for row in results)


@pytest.mark.parametrize(
    ("search", "num_best"), [(GreedySearch(), 1), (BeamSearch(coverage_penalty=0.2), 2)]
)
def test_empty_sources_and_empty_batches(search, num_best) -> None:
    model = RecurrentModel(vocab_size=9, seed=2)
    nothing = Padded(torch.zeros(3, 0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    results = search(model, nothing, num_best=num_best, with_attention=True)
    assert len(results) == 3
    assert all(results)
    no_rows = Padded(torch.zeros(0, 4, dtype=torch.int64), nothing.lengths[:0])
    assert search(model, no_rows, num_best=num_best) == []


def test_the_unknown_symbol_can_be_forbidden() -> None:
    model = RecurrentModel(vocab_size=9, seed=2, end_bias=-3.0)
    model.bias[UNK_ID] = 4.0
    source = make_source(LENGTHS, seed=2)
    for search in (GreedySearch, BeamSearch):
        assert any(UNK_ID in row[0].tokens for row in search()(model, source))
        results = search(forbid_unknown=True)(model, source)
        assert not any(UNK_ID in row[0].tokens for row in results)


def chain_model(end_first: float, word_first: float, word_later: float) -> MarkovModel:
    """Ends at once with `end_first`, or goes 4, 5, 6, 7 with `word_later` a step and then ends."""
    table = torch.full((8, 8), 1e-4)
    table[1, EOS_ID], table[1, 4] = end_first, word_first
    for word in (4, 5, 6):
        table[word, word + 1] = word_later
    table[7, EOS_ID] = word_later
    rest = 1 - table.sum(1)
    table[:, 0] += rest  # never emitted
    return MarkovModel(table.log().unsqueeze(0))


def test_it_does_not_stop_at_the_first_finished_when_a_longer_one_scores_higher() -> None:
    model = chain_model(end_first=0.5, word_first=0.45, word_later=0.95)
    source = make_source([3], seed=0)
    long = BeamSearch(beam_size=2, length_penalty=1.0, length_penalty_kind="average")
    short = BeamSearch(beam_size=2, length_penalty=0.0)
    assert long(model, source)[0][0].tokens == (4, 5, 6, 7)
    assert short(model, source)[0][0].tokens == ()


class CountingMarkov(MarkovModel):
    """Counts its rows."""

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ROWS.append(len(tokens))
        return super().step(tokens, state)


ROWS: list[int] = []


def test_it_stops_as_soon_as_no_live_hypothesis_can_overtake() -> None:
    model = CountingMarkov(chain_model(end_first=0.5, word_first=0.45, word_later=0.95).tables)
    source = make_source([3], seed=0)
    ROWS.clear()
    BeamSearch(beam_size=2, length_penalty=0.0)(model, source)
    assert ROWS == [1]
    # Asked for 2, it goes on, with the one hypothesis that can still beat the second.
    ROWS.clear()
    found = BeamSearch(beam_size=2, length_penalty=0.0)(model, source, num_best=2)[0]
    assert [hypothesis.tokens for hypothesis in found] == [(), (4, 5, 6, 7)]
    assert ROWS == [1, 2, 1, 1, 1]


@pytest.mark.parametrize("search", [GreedySearch(), BeamSearch(beam_size=3)])
def test_finished_sentences_leave_the_batch(search) -> None:
    source = make_source(LENGTHS, seed=1)
    together = RecurrentModel(vocab_size=30, seed=3, end_bias=2.0)
    search(together, source)
    widths: list[list[int]] = []
    for row in range(len(LENGTHS)):
        alone = RecurrentModel(vocab_size=30, seed=3, end_bias=2.0)
        search(alone, one_row(source, row))
        widths.append(alone.rows_seen)
    steps = zip_longest(*widths, fillvalue=0)
    expected = [max(step) * sum(width > 0 for width in step) for step in steps]
    assert together.rows_seen == expected
    assert expected[-1] < max(expected)


def test_hypotheses_that_cannot_win_leave_and_change_nothing() -> None:
    """Three outputs keep more alive than one, five more than three; their best are the same."""
    source = make_source(LENGTHS, seed=1)
    search = BeamSearch(length_penalty=0.6, length_penalty_kind="gnmt")
    rows_seen, results = [], []
    for num_best in (1, 3, 5):
        model = RecurrentModel(vocab_size=30, seed=3, end_bias=2.0)
        results.append(search(model, source, num_best=num_best))
        rows_seen.append(sum(model.rows_seen))
    assert rows_seen[0] < rows_seen[1] < rows_seen[2]
    assert results[0] == [row[:1] for row in results[2]]
    assert results[1] == [row[:3] for row in results[2]]


@pytest.mark.parametrize(
    "search", [GreedySearch(max_length_offset=3), BeamSearch(max_length_offset=3)]
)
def test_logits_that_are_not_numbers_still_get_an_answer(search) -> None:
    model = RecurrentModel(vocab_size=9, seed=2)
    model.bias[:] = torch.nan
    results = search(model, make_source([2, 3], seed=1))
    assert [len(row) for row in results] == [1, 1]
    assert results[0][0].log_prob == -torch.inf


def test_state_is_passed_not_kept() -> None:
    """The state that `start` gave is unchanged after a search, and logits are not written to."""
    model = MarkovModel.random(vocab_size=9, seed=0)
    before = dataclasses.replace(model, tables=model.tables.clone())
    source = make_source(LENGTHS, seed=0)
    BeamSearch(min_length_ratio=0.5)(model, source)
    GreedySearch(min_length_ratio=0.5)(model, source)
    assert torch.equal(before.tables, model.tables)


def test_coverage_without_attention_is_said_once(caplog) -> None:
    model = RecurrentModel(vocab_size=9, seed=2, attention=False)
    source = make_source([2, 3], seed=1)
    search = BeamSearch(coverage_penalty=0.2)
    with caplog.at_level(logging.WARNING, logger="seqloom.decoding.beam"):
        first = search(model, source)
        search(model, source)
    assert len(caplog.records) == 1
    assert first == BeamSearch()(model, source)


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam_size": 0},
        {"length_penalty": -1.0},
        {"length_penalty_kind": "wu"},
        {"coverage_penalty": -0.1},
        {"max_length_ratio": -1.0},
        {"max_length_ratio": 0.0, "max_length_offset": 0},
    ],
)
def test_wrong_settings_are_named(wrong) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        BeamSearch(**wrong)


@pytest.mark.parametrize("num_best", [0, 6])
def test_a_beam_gives_between_one_output_and_its_size(num_best: int) -> None:
    model = RecurrentModel(vocab_size=9, seed=0)
    with pytest.raises(ConfigError, match=f"num_best={num_best}"):
        BeamSearch(beam_size=5)(model, make_source([1], seed=0), num_best=num_best)


def test_greedy_refuses_an_n_best_list() -> None:
    with pytest.raises(ConfigError, match="num_best=2"):
        GreedySearch()(RecurrentModel(vocab_size=9, seed=0), make_source([1], seed=0), num_best=2)
