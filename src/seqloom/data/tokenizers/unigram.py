"""Learns the pieces of a unigram tokeniser (Kudo 2018, section 3.2): EM, and pruning of what is
least missed.

Ours, because the library's trainer visits words in a random order, so that no two of its results
are equal. All segmentations of all words are one lattice of flat arrays, swept by numpy a position
at a time. The price is memory, about 100 bytes an edge, so that only the `MAX_WORDS` most frequent
words are learnt from.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seqloom.data.tokenizers.options import NUM_BYTES, TokenizerOptions
from seqloom.data.tokenizers.subwords import NUM_SPECIAL, SINGLE_BYTES, UnigramTokenizer
from seqloom.data.tokenizers.text import split_words
from seqloom.errors import ConfigError

MAX_WORDS = 100_000
MAX_PIECE_CHARACTERS = 16
MAX_PIECE_BYTES = 4 * MAX_PIECE_CHARACTERS
SEEDS_PER_PIECE = 5
KEPT_SHARE = 0.75
EM_STEPS = 2
LEAST_COUNT = 1e-3  # so that a byte that was never seen has a score too


def train_unigram(texts: Iterable[str], options: TokenizerOptions) -> UnigramTokenizer:
    """The same texts give the same pieces and scores, in whatever order they come.

    Args:
        texts: normalised and marked.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split_words(text))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_WORDS]
    words = {word: count for word, count in ranked if count >= options.min_frequency}
    if not words:
        raise ConfigError(
            f"tokenizer.min_frequency={options.min_frequency}",
            "no word of the training texts is that frequent",
            f"write at most {ranked[0][1]}",
        )
    num_longer = options.vocab_size - NUM_SPECIAL - NUM_BYTES
    pieces, scores = _learn(words, num_longer)
    order = sorted(range(NUM_BYTES, len(pieces)), key=lambda piece: (-scores[piece], pieces[piece]))
    return UnigramTokenizer(
        options=options,
        pieces=[pieces[piece] for piece in order],
        scores=[*scores[:NUM_BYTES].tolist(), *scores[order].tolist()],
    )


def _learn(words: Mapping[str, int], num_longer: int) -> tuple[list[bytes], np.ndarray]:
    """The 256 bytes and at most `num_longer` longer pieces, with their log probabilities."""
    frequencies = np.array(list(words.values()), dtype=np.float64)
    strings = [word.encode() for word in words]
    seeds = _seeds(words, SEEDS_PER_PIECE * num_longer)
    pieces = [*SINGLE_BYTES, *seeds]
    ids = {piece: number for number, piece in enumerate(pieces)}
    scores = _log_shares(_initial_counts(strings, frequencies, seeds))
    lattice = _Lattice.of(strings, ids, whole=True)
    inner = _Lattice.of(pieces[NUM_BYTES:], ids, whole=False)
    while True:
        for _ in range(EM_STEPS):
            expected = lattice.expected_counts(scores, frequencies)
            scores = _log_shares(expected)
        num_kept = max(num_longer, int(KEPT_SHARE * (len(pieces) - NUM_BYTES)))
        if len(pieces) - NUM_BYTES <= num_longer:
            return pieces, scores
        # What the likelihood loses when a piece is written with the others instead.
        losses = expected[NUM_BYTES:] * (scores[NUM_BYTES:] - inner.best_scores(scores))
        best = np.argsort(-losses, kind="stable")[:num_kept]
        kept = np.ones(len(pieces), dtype=bool)
        kept[NUM_BYTES:] = False
        kept[NUM_BYTES + best] = True
        pieces = [piece for piece, keep in zip(pieces, kept, strict=True) if keep]
        scores = scores[kept]
        lattice = lattice.kept(kept, np.ones(len(strings), dtype=bool))
        inner = inner.kept(kept, kept[NUM_BYTES:])


def _log_shares(counts: np.ndarray) -> np.ndarray:
    counts = np.maximum(counts, LEAST_COUNT)
    return np.log(counts) - np.log(counts.sum())


def _seeds(words: Mapping[str, int], limit: int) -> dict[bytes, int]:
    """The substrings of the words that cover most text, with their counts, at most `limit`."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for end in range(start + 1, min(start + MAX_PIECE_CHARACTERS, len(word)) + 1):
                counts[word[start:end]] += count
    # A substring that is always part of the same longer one would only compete with it.
    parts = {
        part
        for piece, count in counts.items()
        for part in (piece[:-1], piece[1:])
        if counts.get(part) == count
    }
    repeated = (
        (piece.encode(), count)
        for piece, count in counts.items()
        if count > 1 and piece not in parts
    )
    seeds = [(piece, count) for piece, count in repeated if len(piece) > 1]
    seeds.sort(key=lambda seed: (-seed[1] * len(seed[0]), seed[0]))
    return dict(seeds[:limit])


def _initial_counts(
    strings: Sequence[bytes], frequencies: np.ndarray, seeds: Mapping[bytes, int]
) -> np.ndarray:
    lengths = [len(string) for string in strings]
    text = np.frombuffer(b"".join(strings), dtype=np.uint8)
    of_bytes = np.bincount(text, weights=np.repeat(frequencies, lengths), minlength=NUM_BYTES)
    return np.concatenate([of_bytes, np.array(list(seeds.values()), dtype=np.float64)])


@dataclass(frozen=True)
class _Sweep:
    """Edges in an order in which every edge comes after all that lead to its source.

    Attributes:
        order: [E] the edges, by depth and then by target.
        groups: [G] where in `order` another target begins.
        slices: (edges from, to, groups from, to), one a depth.
    """

    order: np.ndarray
    groups: np.ndarray
    slices: list[tuple[int, int, int, int]]

    @classmethod
    def of(cls, depths: np.ndarray, targets: np.ndarray) -> _Sweep:
        order = np.lexsort((targets, depths))
        groups = np.flatnonzero(np.diff(targets[order], prepend=-1))
        edges = np.append(np.flatnonzero(np.diff(depths[order], prepend=0)), len(order))
        bounds = np.searchsorted(groups, edges)
        slices = zip(edges[:-1], edges[1:], bounds[:-1], bounds[1:], strict=True)
        return cls(order, groups, [(int(a), int(b), int(c), int(d)) for a, b, c, d in slices])

    def run(
        self,
        values: np.ndarray,
        sources: np.ndarray,
        targets: np.ndarray,
        scores: np.ndarray,
        soft: bool,
    ) -> None:
        """Fills `values` of every target: the log of the sum over all paths, or its best path (not
        soft).
        """
        sources, targets, scores = sources[self.order], targets[self.order], scores[self.order]
        for first, last, first_group, last_group in self.slices:
            paths = values[sources[first:last]] + scores[first:last]
            groups = self.groups[first_group:last_group]
            result = np.maximum.reduceat(paths, groups - first)
            if soft:
                sizes = np.diff(groups, append=last)
                shares = np.exp(paths - np.repeat(result, sizes))
                result = result + np.log(np.add.reduceat(shares, groups - first))
            values[targets[groups]] = result


@dataclass(frozen=True)
class _Lattice:
    """Every way to write N strings with pieces: nodes are positions in the strings, edges are
    pieces.

    Attributes:
        first, last: [N] int64, the node at the beginning and at the end of each string.
        starts, ends, pieces, strings: [E] int64: an edge's nodes, its piece and its string.
    """

    first: np.ndarray
    last: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    pieces: np.ndarray
    strings: np.ndarray

    @classmethod
    def of(cls, strings: Sequence[bytes], ids: Mapping[bytes, int], *, whole: bool) -> _Lattice:
        """Without `whole` the edge that is all of a string is left out."""
        edges = [array("q") for _ in range(4)]
        starts, ends, pieces, owners = edges
        node = 0
        bounds = array("q", [0])
        for number, string in enumerate(strings):
            size = len(string)
            for start in range(size):
                for end in range(start + 1, min(start + MAX_PIECE_BYTES, size) + 1):
                    piece = ids.get(string[start:end])
                    if piece is not None and (whole or end - start < size):
                        starts.append(node + start)
                        ends.append(node + end)
                        pieces.append(piece)
                        owners.append(number)
            node += size + 1
            bounds.append(node)
        nodes = np.array(bounds)
        return cls(nodes[:-1], nodes[1:] - 1, *[np.array(edge, dtype=np.int64) for edge in edges])

    def kept(self, pieces: np.ndarray, strings: np.ndarray) -> _Lattice:
        """Without the pieces and the strings whose mask ([P], [N]) is False; both are numbered
        anew.
        """
        edges = pieces[self.pieces] & strings[self.strings]
        return _Lattice(
            self.first[strings],
            self.last[strings],
            self.starts[edges],
            self.ends[edges],
            (np.cumsum(pieces) - 1)[self.pieces[edges]],
            (np.cumsum(strings) - 1)[self.strings[edges]],
        )

    def best_scores(self, scores: np.ndarray) -> np.ndarray:
        """[N]: the log probability of each string's best segmentation."""
        return self._forward(scores[self.pieces], soft=False)[self.last]

    def expected_counts(self, scores: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """[P]: how often each piece is used over all segmentations, strings counted `frequencies`
        times.
        """
        edge_scores = scores[self.pieces]
        before = self._forward(edge_scores, soft=True)
        after = self._nodes(self.last)
        backward = _Sweep.of(self.last[self.strings] - self.starts, self.starts)
        backward.run(after, self.ends, self.starts, edge_scores, True)
        total = before[self.last][self.strings]
        shares = np.exp(before[self.starts] + edge_scores + after[self.ends] - total)
        weights = shares * frequencies[self.strings]
        return np.bincount(self.pieces, weights=weights, minlength=len(scores))

    def _forward(self, edge_scores: np.ndarray, soft: bool) -> np.ndarray:
        values = self._nodes(self.first)
        sweep = _Sweep.of(self.ends - self.first[self.strings], self.ends)
        sweep.run(values, self.starts, self.ends, edge_scores, soft)
        return values

    def _nodes(self, reached: np.ndarray) -> np.ndarray:
        values = np.full(int(self.last[-1]) + 1 if len(self.last) else 0, -np.inf)
        values[reached] = 0
        return values
