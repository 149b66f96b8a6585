"""Symbol problems of the literature: copy memory, reversal and parity, by their definitions.

The one idea: which split a sequence belongs to is a hash of what is drawn for it, so that splits
are disjoint, whatever their sizes and seeds: a sequence that is trained on is never tested. The
price: of ten sequences drawn for validation or test nine are thrown away.
Refuses a problem that has too few different sequences to fill a split.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seqloom.errors import ConfigError

SPLIT_TENTHS = {"train": range(8), "val": range(8, 9), "test": range(9, 10)}
MAX_ROUNDS = 200
Draws = tuple[np.ndarray, np.ndarray]
"""[N, L] int64 symbols from 0 on, zero behind each row's end, and lengths [N]."""


def random_sequences(
    num: int,
    rng: np.random.Generator,
    *,
    split: str,
    num_symbols: int,
    min_length: int,
    max_length: int,
) -> Draws:
    """`num` sequences of one split with lengths drawn evenly, each symbol alike likely."""

    def draw(count: int) -> Draws:
        symbols = rng.integers(num_symbols, size=(count, max_length))
        lengths = rng.integers(min_length, max_length + 1, size=count)
        symbols[np.arange(max_length) >= lengths[:, None]] = 0
        return symbols, lengths

    return _of_split(num, draw, split)


def split_of(symbols: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[N] the tenth, 0..9, that each sequence falls into; the same for any padding."""
    digest = lengths.astype(np.uint64)
    for column in symbols.T.astype(np.uint64):
        mixed = (digest ^ (digest >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
        # What lies behind the end must not count.
        digest = np.where(lengths > 0, mixed + column + np.uint64(1), digest)
        lengths = lengths - 1
    digest ^= digest >> np.uint64(29)
    return ((digest * np.uint64(0xBF58476D1CE4E5B9)) >> np.uint64(40)) % np.uint64(10)


def _of_split(num: int, draw: Callable[[int], Draws], split: str) -> Draws:
    """Draws until `num` sequences of the split were found."""
    found: list[Draws] = []
    missing = num
    for _ in range(MAX_ROUNDS):
        symbols, lengths = draw(2 * missing + 100)
        tenths = split_of(symbols, lengths)
        own = np.isin(tenths, SPLIT_TENTHS[split]).nonzero()[0][:missing]
        found.append((symbols[own], lengths[own]))
        missing -= len(own)
        if not missing:
            symbols, lengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
            return symbols, lengths
    raise ConfigError(
        f"data.num_{split}={num}",
        "there are too few different sequences to divide among the splits",
        "make the sequences longer",
    )


def copy_memory(symbols: np.ndarray, *, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The copying memory problem: hold symbols over a long time and then write them.

    Hochreiter & Schmidhuber 1997; the form of Arjovsky, Shah & Bengio 2016, section 5.1: the
    symbols, num_steps - 1 blanks, one delimiter and as many blanks as symbols; to write are
    num_steps + n blanks and then the symbols. (Bai et al. 2018 repeat the delimiter while the
    symbols are to be written.) Without a memory the best mean cross entropy over all positions is
    n ln(8) / (num_steps + 2 n).

    Args:
        symbols: [N, n] from 0 on.

    Returns:
        Inputs and outputs, [N, num_steps + 2 n]: blank 0, symbols from 1 on, and the delimiter,
        one more than the largest of 8 symbols.
    """
    num, length = symbols.shape
    inputs, outputs = np.zeros((2, num, num_steps + 2 * length), dtype=np.uint8)
    inputs[:, :length] = symbols + 1
    inputs[:, length + num_steps - 1] = COPY_SYMBOLS + 1
    outputs[:, length + num_steps :] = symbols + 1
    return inputs, outputs


COPY_SYMBOLS = 8


def reversal(
    symbols: np.ndarray, lengths: np.ndarray, *, num_symbols: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Reading n symbols, a delimiter and n blanks, writing n + 1 blanks and then the symbols from
    the last to the first.

    Args:
        symbols, lengths: see `random_sequences`.
        num_symbols: how many symbols there are.

    Returns:
        Input and output [2 n + 1] of each: blank 0, symbols from 1 on, delimiter num_symbols + 1.
    """
    examples = []
    for row, length in zip(symbols, lengths.tolist(), strict=True):
        inputs, outputs = np.zeros((2, 2 * length + 1), dtype=np.int16)
        inputs[:length] = row[:length] + 1
        inputs[length] = num_symbols + 1
        outputs[length + 1 :] = inputs[:length][::-1]
        examples.append((inputs, outputs))
    return examples


def parity(bits: np.ndarray) -> np.ndarray:
    """[N] 1 where the ones of `bits` [N, L] are odd in number."""
    return bits.sum(axis=1) % 2
