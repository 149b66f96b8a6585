"""The synthetic problems `data=adding`, `copy_memory`, `reverse` and `parity`, made on the spot.

Each is what its generator in `embedded` says, `num_train`, `num_val` and `num_test` examples of it,
drawn by `seed` and split. Refuses lengths for which a problem has no meaning.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqloom.data.batching import Batching
from seqloom.data.embedded import symbols
from seqloom.data.embedded.adding import adding
from seqloom.data.examples import ExampleData, Examples, Ragged
from seqloom.data.module import SPLITS
from seqloom.data.spec import ClassSide, DataSpec, FeatureSide
from seqloom.errors import ConfigError

BLANK, DELIMITER = "_", ":"


class Adding(ExampleData):
    """The adding problem (`embedded.adding`): sequences of 2 features, one number to answer.

    Args:
        num_steps: T, at least 2.

    The others are those of `SequenceData`.
    """

    def __init__(
        self,
        *,
        batching: Batching,
        num_steps: int,
        num_train: int,
        num_val: int,
        num_test: int,
        seed: int = 1,
        num_workers: int = 0,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            vocabulary_dir=vocabulary_dir,
        )
        _check_least("num_steps", num_steps, 2)
        self.num_steps = num_steps

    def sides(self) -> DataSpec:
        """See `ExampleData.sides`."""
        return DataSpec(source=FeatureSide(2), target=FeatureSide(1))

    def make(self, split: str, spec: DataSpec) -> Examples:
        """See `ExampleData.make`."""
        number, rng = _drawn_by(self, split)
        sequences, sums = adding(number, rng, num_steps=self.num_steps)
        return Examples(Ragged.from_block(sequences), sums)

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """See `ExampleData.fingerprint_parts`."""
        return {"seed": self.seed, "steps": self.num_steps}


class CopyMemory(ExampleData):
    """The copying memory problem (`embedded.symbols.copy_memory`), aligned sequences.

    Args:
        num_steps: T, over which symbols are held, at least 1.
        num_symbols: how many are held, at least 1.

    The others are those of `SequenceData`.
    """

    def __init__(
        self,
        *,
        batching: Batching,
        num_steps: int,
        num_symbols: int,
        num_train: int,
        num_val: int,
        num_test: int,
        seed: int = 1,
        num_workers: int = 0,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            vocabulary_dir=vocabulary_dir,
        )
        _check_least("num_steps", num_steps, 1)
        _check_least("num_symbols", num_symbols, 1)
        self.num_steps, self.num_symbols = num_steps, num_symbols

    def sides(self) -> DataSpec:
        """See `ExampleData.sides`."""
        side = _symbol_side(symbols.COPY_SYMBOLS)
        return DataSpec(source=side, target=side)

    def make(self, split: str, spec: DataSpec) -> Examples:
        """See `ExampleData.make`."""
        number, rng = _drawn_by(self, split)
        drawn, _ = symbols.random_sequences(
            number,
            rng,
            split=split,
            num_symbols=symbols.COPY_SYMBOLS,
            min_length=self.num_symbols,
            max_length=self.num_symbols,
        )
        inputs, outputs = symbols.copy_memory(drawn, num_steps=self.num_steps)
        return Examples(Ragged.from_block(inputs), Ragged.from_block(outputs))

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """See `ExampleData.fingerprint_parts`."""
        return {"seed": self.seed, "steps": self.num_steps, "symbols": self.num_symbols}


class Reverse(ExampleData):
    """Reversal (`embedded.symbols.reversal`), aligned sequences.

    Args:
        min_length, max_length: symbols to reverse.
        num_symbols: how many different ones there are, at least 2.

    The others are those of `SequenceData`.
    """

    def __init__(
        self,
        *,
        batching: Batching,
        min_length: int,
        max_length: int,
        num_symbols: int,
        num_train: int,
        num_val: int,
        num_test: int,
        seed: int = 1,
        num_workers: int = 0,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            vocabulary_dir=vocabulary_dir,
        )
        _check_least("min_length", min_length, 1)
        _check_least("max_length", max_length, min_length)
        _check_least("num_symbols", num_symbols, 2)
        self.lengths, self.num_symbols = (min_length, max_length), num_symbols

    def sides(self) -> DataSpec:
        """See `ExampleData.sides`."""
        side = _symbol_side(self.num_symbols)
        return DataSpec(source=side, target=side)

    def make(self, split: str, spec: DataSpec) -> Examples:
        """See `ExampleData.make`."""
        number, rng = _drawn_by(self, split)
        drawn, lengths = symbols.random_sequences(
            number,
            rng,
            split=split,
            num_symbols=self.num_symbols,
            min_length=self.lengths[0],
            max_length=self.lengths[1],
        )
        rows = symbols.reversal(drawn, lengths, num_symbols=self.num_symbols)
        inputs, outputs = zip(*rows, strict=True)
        return Examples(Ragged.from_rows(inputs), Ragged.from_rows(outputs))

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """See `ExampleData.fingerprint_parts`."""
        return {"seed": self.seed, "lengths": self.lengths, "symbols": self.num_symbols}


class Parity(ExampleData):
    """Bits to `even` or `odd`, by the number of ones (Minsky & Papert 1969, as a sequence).

    Args:
        min_length, max_length: bits of a sequence.
        test_max_length: bits of a test sequence, at most; None: `max_length`. More shows whether
            the rule was learnt or the lengths were.

    The others are those of `SequenceData`.
    """

    def __init__(
        self,
        *,
        batching: Batching,
        min_length: int,
        max_length: int,
        test_max_length: int | None,
        num_train: int,
        num_val: int,
        num_test: int,
        seed: int = 1,
        num_workers: int = 0,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            vocabulary_dir=vocabulary_dir,
        )
        longest = max_length if test_max_length is None else test_max_length
        _check_least("min_length", min_length, 1)
        _check_least("max_length", max_length, min_length)
        _check_least("test_max_length", longest, min_length)
        self.min_length = min_length
        self.max_lengths = {"train": max_length, "val": max_length, "test": longest}

    def sides(self) -> DataSpec:
        """See `ExampleData.sides`."""
        return DataSpec(source=ClassSide(("0", "1")), target=ClassSide(("even", "odd")))

    def make(self, split: str, spec: DataSpec) -> Examples:
        """See `ExampleData.make`."""
        number, rng = _drawn_by(self, split)
        bits, lengths = symbols.random_sequences(
            number,
            rng,
            split=split,
            num_symbols=2,
            min_length=self.min_length,
            max_length=self.max_lengths[split],
        )
        is_real = np.arange(bits.shape[1]) < lengths[:, None]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Examples(Ragged(bits[is_real].astype(np.uint8), offsets), symbols.parity(bits))

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """See `ExampleData.fingerprint_parts`."""
        return {"seed": self.seed, "lengths": [self.min_length, self.max_lengths[split]]}


def _symbol_side(num_symbols: int) -> ClassSide:
    numbers = map(str, range(1, num_symbols + 1))
    return ClassSide((BLANK, *numbers, DELIMITER))


def _drawn_by(data: ExampleData, split: str) -> tuple[int, np.random.Generator]:
    """How many examples of `split`, and what they are drawn by."""
    number = data.num_examples[split]
    if number is None:
        raise ConfigError(
            f"data.num_{split}=null", "the problem has no natural end", "write a number"
        )
    return number, np.random.default_rng([data.seed, SPLITS.index(split)])


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"data.{name}={value}", "is too few", f"write {least} or more")
