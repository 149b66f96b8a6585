"""Laws of BPE dropout by table: exact without dropout, reproducible, drawn as in the paper."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seqloom.data.tokenizers import SegmentationTable, TokenizerOptions, train_tokenizer
from seqloom.data.tokenizers.base import Tokenizer
from seqloom.data.tokenizers.subwords import BpeTokenizer
from seqloom.errors import ConfigError

WORDS = (
    *("lower", "lowest", "newer", "newest", "wider", "widest"),
    *("bananas", "Stra\u00dfe", "\u6771\u4eac\u90fd", "aaaaaaa"),
)


def corpus(num_lines: int = 300) -> list[str]:
    generator = random.Random(3)
    lines = [
        " ".join(generator.choices(WORDS, k=generator.randint(1, 8))) for _ in range(num_lines)
    ]
    return [*lines, "", " ", "  a  ", "x\ty", "unseen \U0001f600 12.5", ""]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(corpus()[:-6], TokenizerOptions(vocab_size=300))


def rows_of(segmented: tuple[np.ndarray, np.ndarray]) -> list[list[int]]:
    ids, offsets = segmented
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64
    assert offsets[-1] == len(ids)
    return [ids[a:b].tolist() for a, b in pairwise(offsets)]


def test_without_dropout_it_is_encode(tokenizer: Tokenizer) -> None:
    table = SegmentationTable.from_texts(tokenizer, corpus(), dropout=0, seed=1)
    assert len(table) == len(corpus())
    assert rows_of(table.segment(1, 0)) == tokenizer.encode_batch(corpus())


def test_without_dropout_real_words_are_what_the_library_makes(shared_data: Path) -> None:
    with gzip.open(shared_data / "multi30k" / "train.de.gz", "rt", encoding="utf-8") as file:
        texts = [line.rstrip("\n") for line in file]
    tokenizer = train_tokenizer(texts, TokenizerOptions(vocab_size=4000))
    table = SegmentationTable.from_texts(tokenizer, texts, dropout=0, seed=1)
    assert rows_of(table.segment(1, 0)) == tokenizer.encode_batch(texts)


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.99])
def test_with_dropout_the_text_comes_back(tokenizer: Tokenizer, dropout: float) -> None:
    table = SegmentationTable.from_texts(tokenizer, corpus(), dropout=dropout, seed=1)
    rows = rows_of(table.segment(1, 0))
    assert [tokenizer.decode(row) for row in rows] == corpus()
    assert min(index for row in rows for index in row) >= 4


def test_an_epoch_is_the_same_again_and_another_epoch_is_not(tokenizer: Tokenizer) -> None:
    first, second = (
        SegmentationTable.from_texts(tokenizer, corpus(), dropout=0.3, seed=1) for _ in range(2)
    )
    assert rows_of(first.segment(7, 2)) == rows_of(second.segment(7, 2))
    assert rows_of(first.segment(7, 2)) != rows_of(first.segment(7, 3))
    assert rows_of(first.segment(7, 2)) != rows_of(first.segment(8, 2))
    other = SegmentationTable.from_texts(tokenizer, corpus(), dropout=0.3, seed=2)
    assert rows_of(first.segment(7, 2)) != rows_of(other.segment(7, 2))


def test_a_row_does_not_depend_on_the_rows_around_it(tokenizer: Tokenizer) -> None:
    table = SegmentationTable.from_texts(tokenizer, corpus(), dropout=0.3, seed=1)
    everything = rows_of(table.segment(7, 2))
    chosen = np.random.default_rng(0).integers(0, len(table), 50)
    assert rows_of(table.segment(7, 2, chosen)) == [everything[row] for row in chosen]
    assert rows_of(table.segment(7, 2, chosen[:0])) == []


def test_arrays_hold_the_whole_table(tokenizer: Tokenizer, tmp_path: Path) -> None:
    table = SegmentationTable.from_texts(tokenizer, corpus(), dropout=0.3, seed=1)
    for name, values in table.arrays().items():
        np.save(tmp_path / f"{name}.npy", values, allow_pickle=False)
    loaded = SegmentationTable.from_arrays(
        {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in table.arrays()}
    )
    assert rows_of(loaded.segment(7, 2)) == rows_of(table.segment(7, 2))


def test_more_dropout_leaves_fewer_words_whole(tokenizer: Tokenizer) -> None:
    texts = corpus()[:-6]
    whole = tokenizer.encode_batch(texts)
    shares = []
    for dropout in (0, 0.05, 0.2, 0.5, 0.9):
        table = SegmentationTable.from_texts(tokenizer, texts, dropout=dropout, seed=1)
        rows = rows_of(table.segment(1, 0))
        shares.append(np.mean([row == other for row, other in zip(rows, whole, strict=True)]))
    assert shares[0] == 1
    assert all(more > less for more, less in pairwise(shares))


def one_segmentation(
    word: bytes, merges: np.ndarray, dropout: float, generator: random.Random
) -> tuple[int, ...]:
    """Algorithm 1 of Provilkov et al. 2020, as plainly as it can be written."""
    ranks = {(left, right): rank for rank, (left, right, _) in enumerate(merges.tolist())}
    ids = [4 + byte for byte in word]
    while True:
        possible = [
            (ranks[pair], place)
            for place, pair in enumerate(pairwise(ids))
            if pair in ranks and generator.random() >= dropout
        ]
        if not possible:
            return tuple(ids)
        rank, place = min(possible)
        ids[place : place + 2] = [int(merges[rank, 2])]


@pytest.mark.parametrize("word", ["lower", "bananas", "aaaaaaa"])
def test_segmentations_are_distributed_as_in_the_paper(tokenizer: Tokenizer, word: str) -> None:
    assert isinstance(tokenizer, BpeTokenizer)
    num_draws, dropout = 20_000, 0.4
    table = SegmentationTable.from_texts(
        tokenizer, [word], dropout=dropout, seed=1, num_segmentations=num_draws
    )
    starts, lengths = table.starts[0].tolist(), table.lengths[0].tolist()
    ours = Counter(
        tuple(table.ids[start : start + length].tolist())
        for start, length in zip(starts, lengths, strict=True)
    )
    generator = random.Random(0)
    marked = b" " + word.encode()
    reference = Counter(
        one_segmentation(marked, tokenizer.merges, dropout, generator) for _ in range(num_draws)
    )
    assert len(reference) > 5
    for segmentation in ours | reference:
        # Five standard deviations of the difference of two counts.
        bound = 5 * (ours[segmentation] + reference[segmentation] + 1) ** 0.5
        assert abs(ours[segmentation] - reference[segmentation]) < bound


def test_all_segmentations_of_a_word_are_picked_about_equally_often(tokenizer: Tokenizer) -> None:
    texts = ["lower " * 1000] * 16
    table = SegmentationTable.from_texts(tokenizer, texts, dropout=0.5, seed=1)
    # Number the segmentations of every word instead of writing their ids: each is then its own id.
    num_words, num_draws = table.starts.shape
    ids = np.arange(num_words * num_draws, dtype=np.int32)
    starts = np.arange(num_words * num_draws, dtype=np.int64).reshape(num_words, num_draws)
    numbered = SegmentationTable(
        table.words, table.row_offsets, ids, starts, np.ones_like(starts, dtype=np.int32)
    )
    picked, _ = numbered.segment(3, 4)
    counts = np.bincount(picked)[:num_draws]
    assert num_draws == 16
    assert np.abs(counts - counts.mean()).max() < 5 * counts.mean() ** 0.5


def test_an_empty_corpus_has_no_rows(tokenizer: Tokenizer) -> None:
    for texts in ([], ["", ""]):
        table = SegmentationTable.from_texts(tokenizer, texts, dropout=0.1, seed=1)
        assert rows_of(table.segment(1, 0)) == [[]] * len(texts)


def test_only_bpe_has_merges_to_drop() -> None:
    words = train_tokenizer(["a b"], TokenizerOptions(kind="word"))
    with pytest.raises(ConfigError, match="only a bpe tokeniser"):
        SegmentationTable.from_texts(words, ["a"], dropout=0.1, seed=1)
    bpe = train_tokenizer(["a b"], TokenizerOptions())
    with pytest.raises(ConfigError, match="a probability below 1"):
        SegmentationTable.from_texts(bpe, ["a"], dropout=1.0, seed=1)
