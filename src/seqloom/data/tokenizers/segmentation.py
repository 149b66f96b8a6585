"""BPE dropout (Provilkov et al. 2020) by table: what a word may be cut into is drawn once, then
only looked up.

For every distinct word of a corpus the table holds `num_segmentations` segmentations, each made
with randomly dropped merges; an epoch picks one of them for each occurrence, by numpy only. Every
choice is a hash of (seed, word, draw) or (seed, epoch, position), so it depends on nothing else and
can be had for any rows alone. The price: a word is seen in at most that many forms, and long words
without spaces take time to prepare.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from seqloom.data.tokenizers.base import Tokenizer
from seqloom.data.tokenizers.subwords import NUM_SPECIAL, BpeTokenizer
from seqloom.errors import ConfigError

NO_MERGE = np.iinfo(np.int32).max
MAX_CHUNK_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class SegmentationTable:
    """N rows of a corpus as numbers of words, and K segmentations for each of its W distinct words.

    Attributes:
        words: int32, the words of all rows, one after the other.
        row_offsets: [N + 1] int64, where in `words` each row begins.
        ids: int32, the ids of all segmentations.
        starts: [W, K] int64, where in `ids` a segmentation begins.
        lengths: [W, K] int32, how many ids it has.
    """

    words: np.ndarray
    row_offsets: np.ndarray
    ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def from_texts(
        cls,
        tokenizer: Tokenizer,
        texts: Iterable[str],
        *,
        dropout: float,
        seed: int,
        num_segmentations: int = 16,
    ) -> SegmentationTable:
        """Draws the segmentations. Without dropout there is one a word, that of `encode`.

        Args:
            dropout: the probability of dropping a possible merge at every step, in 0..1, 1
                excluded.
            seed: the same seed, texts and tokeniser give the same table.
        """
        if not isinstance(tokenizer, BpeTokenizer):
            raise ConfigError(
                f"tokenizer.bpe_dropout={dropout}",
                "only a bpe tokeniser has merges to drop",
                "write tokenizer=bpe or tokenizer.bpe_dropout=0",
            )
        if not 0 <= dropout < 1:
            raise ConfigError(
                f"tokenizer.bpe_dropout={dropout}", "a probability below 1 is needed", "write 0.1"
            )
        assert num_segmentations > 0
        numbers: dict[str, int] = {}
        words, row_offsets = array("i"), array("q", [0])
        for text in texts:
            words.extend(numbers.setdefault(word, len(numbers)) for word in tokenizer.words(text))
            row_offsets.append(len(words))
        sampler = _Sampler(tokenizer.merges, dropout, seed, num_segmentations if dropout else 1)
        rows = np.array(words, dtype=np.int32), np.array(row_offsets, dtype=np.int64)
        return cls(*rows, *sampler.sample([word.encode() for word in numbers]))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SegmentationTable:
        """Undoes `arrays`; memory-mapped arrays are welcome."""
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole table as plain arrays, by the names of its attributes."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.row_offsets) - 1

    def segment(
        self, seed: int, epoch: int, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """An epoch's ids of all rows, or of `rows` [R] in their order: what a row gets does not
        depend on R.

        Returns:
            ids (int32) and offsets ([R + 1], int64): row r has `ids[offsets[r]:offsets[r + 1]]`.
        """
        if rows is None:
            row_offsets, positions = self.row_offsets, np.arange(len(self.words))
        else:
            row_offsets, positions = _gather(
                self.row_offsets[rows], self.row_offsets[rows + 1] - self.row_offsets[rows]
            )
        draws = _hash(_hash(_hash(_as_hash(seed)) + _as_hash(epoch)) + positions.view(np.uint64))
        num_segmentations = self.starts.shape[1]
        choices = self.words[positions].astype(np.int64) * num_segmentations
        choices += (draws % np.uint64(num_segmentations)).view(np.int64)
        offsets, sources = _gather(
            self.starts.reshape(-1)[choices], self.lengths.reshape(-1)[choices]
        )
        return self.ids[sources], offsets[row_offsets]


def _gather(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets [R + 1] of R ranges laid end to end, and the index of every element in them, both
    int64.
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets, np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])


def _as_hash(number: int) -> np.ndarray:
    return np.array([number & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)


def _hash(values: np.ndarray) -> np.ndarray:
    """A well mixed uint64 of each uint64: the finaliser of SplitMix64 (Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class _Merges:
    """Ranks and results of pairs of ids, by binary search."""

    def __init__(self, merges: np.ndarray) -> None:
        self.results = merges[:, 2]
        self.padding = int(merges.max(initial=NUM_SPECIAL + 255)) + 1  # an id that no pair has
        keys = self._keys(merges[:, 0], merges[:, 1])
        order = np.argsort(keys)
        # A last key above all others, so that every search ends on a key.
        self._sorted = np.append(keys[order], np.iinfo(np.int64).max)
        self._ranks = np.append(order, NO_MERGE).astype(np.int32)

    def ranks(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """int32 ranks of the pairs, NO_MERGE where a pair is not merged."""
        keys = self._keys(left, right)
        found = np.searchsorted(self._sorted, keys)
        return np.where(self._sorted[found] == keys, self._ranks[found], NO_MERGE)

    def _keys(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return left.astype(np.int64) * (self.padding + 1) + right


class _Sampler:
    """The merge loop over many words at once, with dropped merges.

    At every step each possible merge of a word is dropped with probability `dropout`; of the others
    the first learnt is done, leftmost first; where none is left the word is finished (algorithm 1
    of the paper).
    """

    def __init__(self, merges: np.ndarray, dropout: float, seed: int, num_draws: int) -> None:
        self._merges = _Merges(merges)
        self._dropout = dropout
        self._seed = _hash(_as_hash(seed))
        self._num_draws = num_draws

    def sample(self, words: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`ids`, `starts` and `lengths` of the table."""
        shape = (len(words), self._num_draws)
        lengths = np.zeros(shape[0] * shape[1], dtype=np.int32)
        starts = np.zeros(len(lengths), dtype=np.int64)
        ids, size = [np.zeros(0, dtype=np.int32)], 0
        for numbers in _chunks(words, self._num_draws):
            for rows, row_lengths, row_ids in self._merge(words, numbers):
                lengths[rows] = row_lengths
                starts[rows] = size + np.cumsum(row_lengths) - row_lengths
                ids.append(row_ids)
                size += len(row_ids)
        return np.concatenate(ids), starts.reshape(shape), lengths.reshape(shape)

    def _merge(
        self, words: list[bytes], numbers: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rows (word times K plus draw) as they are finished, with their lengths and their ids."""
        ids = np.full((len(numbers), len(words[numbers[-1]])), self._merges.padding, np.int32)
        for row, number in enumerate(numbers):
            word = np.frombuffer(words[number], dtype=np.uint8)
            ids[row, : len(word)] = word
            ids[row, : len(word)] += NUM_SPECIAL
        draws = np.arange(self._num_draws)
        rows = (np.array(numbers)[:, None] * self._num_draws + draws).reshape(-1)
        ids = np.repeat(ids, self._num_draws, axis=0)
        seeds = _hash(self._seed + rows.view(np.uint64))
        ranks = self._merges.ranks(ids[:, :-1], ids[:, 1:])
        step = 0
        while len(rows):
            best, best_rank = self._choose(ranks, seeds, step)
            ready = best_rank == NO_MERGE
            if ready.any():
                finished = ids[ready]
                real = finished != self._merges.padding
                yield rows[ready], real.sum(axis=1), finished[real]
                ids, ranks, seeds, rows = ids[~ready], ranks[~ready], seeds[~ready], rows[~ready]
                best, best_rank = best[~ready], best_rank[~ready]
            if len(rows):
                ids, ranks = self._apply(ids, ranks, best, best_rank)
            step += 1

    def _choose(
        self, ranks: np.ndarray, seeds: np.ndarray, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each row the pair to merge and its rank, NO_MERGE where nothing is to be merged."""
        if ranks.shape[1] == 0:
            nothing = np.full(len(ranks), NO_MERGE, dtype=np.int32)
            return np.zeros(len(ranks), dtype=np.int64), nothing
        if self._dropout:
            step_seeds = _hash(seeds + _as_hash(step))
            row, pair = np.divmod(np.flatnonzero(ranks != NO_MERGE), ranks.shape[1])
            chances = _hash(step_seeds[row] + pair.view(np.uint64)) >> np.uint64(11)
            dropped = chances < np.uint64(self._dropout * 2**53)
            ranks = ranks.copy()
            ranks[row[dropped], pair[dropped]] = NO_MERGE
        best = ranks.argmin(axis=1)
        return best, ranks[np.arange(len(ranks)), best]

    def _apply(
        self, ids: np.ndarray, ranks: np.ndarray, best: np.ndarray, best_rank: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Every row one id shorter: the pair at `best` becomes one id."""
        height, width = ids.shape
        every, columns = np.arange(height), np.arange(width)
        ids[every, best] = self._merges.results[best_rank]
        ids = ids[columns != best[:, None] + 1].reshape(height, width - 1)
        ranks = ranks[columns[:-1] != best[:, None]].reshape(height, width - 2)
        for neighbour in (best - 1, best):
            inside = (neighbour >= 0) & (neighbour < ranks.shape[1])
            row, column = every[inside], neighbour[inside]
            ranks[row, column] = self._merges.ranks(ids[row, column], ids[row, column + 1])
        return ids, ranks


def _chunks(words: list[bytes], num_draws: int) -> Iterator[list[int]]:
    """Numbers of words of similar length, ascending, as many at a time as fit into the memory meant
    for them.
    """
    order = sorted(range(len(words)), key=lambda number: len(words[number]))
    first = 0
    while first < len(order):
        last = first + 1
        while (
            last < len(order)
            and (last + 1 - first) * num_draws * len(words[order[last]]) <= MAX_CHUNK_ELEMENTS
        ):
            last += 1
        yield order[first:last]
        first = last
