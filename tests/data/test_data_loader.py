"""Collation, and where a loader stands."""

import numpy as np
import pytest
import torch
from data_fakes import random_pairs, random_tokens, training_loader
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data.buffers import TextBuffer, TokenBuffer
from seqloom.data.loader import FixedTokens, PairDataset, ResegmentedTokens, padded
from seqloom.data.tokenizers import SegmentationTable, TokenizerOptions, train_tokenizer
from seqloom.errors import ConfigError
from seqloom.sequences import EOS_ID, PAD_ID


@given(st.lists(st.lists(st.integers(4, 99), max_size=9), min_size=1, max_size=9))
def test_collation_is_padding_row_by_row(rows):
    batch = padded(TokenBuffer.from_rows(rows))
    longest = max(map(len, rows)) + 1
    expected = [[*row, EOS_ID] + [PAD_ID] * (longest - len(row) - 1) for row in rows]
    assert batch.values.tolist() == expected
    assert batch.values.dtype == batch.lengths.dtype == torch.int64
    assert batch.lengths.tolist() == [len(row) + 1 for row in rows]


def test_an_item_is_a_batch_in_the_order_asked_for():
    source, target = random_tokens(9), random_tokens(9, seed=1)
    texts = [TextBuffer.from_lines(f"{side} {i}" for i in range(9)) for side in ("s", "t")]
    pairs = PairDataset(
        FixedTokens(source), FixedTokens(target), source_text=texts[0], target_text=texts[1]
    )
    batch = pairs[0, np.array([7, 2])]
    assert batch.index.tolist() == [7, 2]
    assert [row.tolist() for row in batch.target.to_list()] == [
        [*target[i], EOS_ID] for i in (7, 2)
    ]
    assert batch.source_text == ("s 7", "s 2")
    assert batch.target_text == ("t 7", "t 2")
    assert pairs.lengths(0).tolist() == [
        [len(s) + 1, len(t) + 1] for s, t in zip(source, target, strict=True)
    ]
    assert random_pairs(3)[0, np.array([1])].source_text == ()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_iterating_draws_nothing_from_the_generator_of_the_model(num_workers):
    before = torch.get_rng_state()
    assert len(list(training_loader(num_workers=num_workers))) == 7
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_prefetched_batches_are_not_consumed(num_workers):
    loader = training_loader(num_workers=num_workers)
    loader.set_epoch(2)
    batches = iter(loader)
    assert loader.state_dict()["batches_consumed"] == 0
    first = [next(batches).index.tolist() for _ in range(3)]
    state = loader.state_dict()
    assert state == {
        "epoch": 2,
        "batches_consumed": 3,
        "num_batches": 7,
        "world_size": 1,
        "fingerprint": "same",
    }
    rest = [batch.index.tolist() for batch in batches]
    resumed = training_loader(num_workers=num_workers)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert len(resumed) == 7
    assert [batch.index.tolist() for batch in resumed] == rest
    whole = [batch.index.tolist() for batch in resumed]
    assert whole == first + rest
    resumed.close()
    assert [batch.index.tolist() for batch in resumed] == whole


def test_an_iterator_made_before_the_epoch_is_set_follows_it():
    loader, other = training_loader(), training_loader()
    early = iter(loader)
    loader.set_epoch(1)
    other.set_epoch(1)
    assert [b.index.tolist() for b in early] == [b.index.tolist() for b in other]


def test_a_finished_epoch_gives_nothing_more_but_the_next_one_everything():
    loader = training_loader()
    list(loader)
    resumed = training_loader()
    resumed.load_state_dict(loader.state_dict())
    assert resumed.state_dict()["batches_consumed"] == 7
    assert list(resumed) == []
    resumed.load_state_dict(loader.state_dict())
    resumed.set_epoch(1)
    assert resumed.state_dict()["batches_consumed"] == 0
    assert len(list(resumed)) == 7


def test_another_number_of_processes_is_refused_in_mid_epoch_only():
    loader = training_loader()
    batches = iter(loader)
    next(batches)
    other = training_loader(rank=1, world_size=2)
    with pytest.raises(ConfigError, match=r"2 processes: .*after batch 1 of epoch 0 by 1"):
        other.load_state_dict(loader.state_dict())
    list(batches)
    other.load_state_dict(loader.state_dict())
    assert list(other) == []
    other.set_epoch(1)
    assert len(list(other)) == 3


def test_bpe_dropout_is_a_pure_function_of_the_epoch_within_its_limit():
    lines = ["the lower the lowest", "newer and newest", "wide wider widest lowest", ""] * 3
    options = TokenizerOptions(vocab_size=320, bpe_dropout=0.5)
    tokenizer = train_tokenizer(lines, options)
    usual = TokenBuffer.from_rows(tokenizer.encode_batch(lines))
    table = SegmentationTable.from_texts(tokenizer, lines, dropout=0.5, seed=1)
    most = 12  # Some cuts are longer, no usual row is.
    tokens = ResegmentedTokens(table, usual, seed=1, max_length=most + 1)
    rows = np.array([5, 0, 2, 11])
    seen = set()
    for epoch in range(6):
        cut = tokens.rows(epoch, rows)
        assert (cut.lengths == tokens.lengths(epoch)[rows]).all()
        assert cut.lengths.max() <= most
        alone = [tokens.rows(epoch, rows[i : i + 1])[0].tolist() for i in range(4)]
        assert [row.tolist() for row in cut] == alone
        assert [tokenizer.decode(row) for row in alone] == [lines[i] for i in rows]
        seen.add(str(alone))
    assert len(seen) > 1
