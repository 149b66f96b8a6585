"""Schemas of `data`, `tokenizer` and `batching`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import II, MISSING

from seqloom.config.schemas.choices import Normalization, Steps, TokenizerKind, TooLong
from seqloom.config.schemas.parts import Absent, Target


@dataclass
class Examples(Target):
    """What all data has in common."""

    num_train: int | None = MISSING
    num_val: int | None = MISSING
    num_test: int | None = MISSING
    seed: int = II("seed")
    num_workers: int = MISSING
    batching: Any = II("batching")


@dataclass
class Text(Examples):
    """Data that is cut into tokens."""

    cache_dir: str | None = MISSING
    tokenizer: Any = II("tokenizer")


@dataclass
class TextPairs(Text):
    source_language: str = MISSING
    target_language: str = MISSING
    lowercase: bool = MISSING
    normalization: Normalization = MISSING
    max_source_length: int | None = MISSING
    max_target_length: int | None = MISSING
    too_long: TooLong = MISSING


@dataclass
class ParallelText(TextPairs):
    root: str | None = MISSING
    train: str | None = MISSING
    val: str | None = MISSING
    test: str | None = MISSING
    preset: str | None = MISSING
    download: bool = MISSING


@dataclass
class Adding(Examples):
    num_steps: int = MISSING


@dataclass
class CopyMemory(Examples):
    num_steps: int = MISSING
    num_symbols: int = MISSING


@dataclass
class Reverse(Examples):
    min_length: int = MISSING
    max_length: int = MISSING
    num_symbols: int = MISSING


@dataclass
class Parity(Examples):
    min_length: int = MISSING
    max_length: int = MISSING
    test_max_length: int | None = MISSING


@dataclass
class Digits(Examples):
    steps: Steps = MISSING
    permuted: bool = MISSING


@dataclass
class Mnist(Digits):
    root: str | None = MISSING


@dataclass
class TextFile(Text):
    root: str | None = MISSING
    path: str | None = MISSING
    train: str | None = MISSING
    val: str | None = MISSING
    test: str | None = MISSING


@dataclass
class PlaceNames(Examples):
    languages: list[str] = MISSING
    tokenizer: Any = II("tokenizer")


@dataclass
class Tokenizer(Target):
    kind: TokenizerKind = MISSING
    vocab_size: int = MISSING
    min_frequency: int = MISSING
    shared: bool = MISSING
    bpe_dropout: float = MISSING


@dataclass
class Batching(Target):
    batch_size: int | None = MISSING
    max_tokens: int | None = MISSING
    max_rows: int | None = MISSING
    longest_first: bool = MISSING


@dataclass
class Bucketed(Batching):
    pool_size: int | None = MISSING


@dataclass
class Stream(Target):
    batch_size: int = MISSING
    window: int = MISSING
    shift: bool = MISSING


@dataclass
class Windows(Target):
    batch_size: int = MISSING
    window: int = MISSING
    windows_per_epoch: int | None = MISSING
    carry: bool = MISSING


SCHEMAS: dict[str, dict[str, type]] = {
    "data": {
        "cldr": TextPairs,
        "parallel_text": ParallelText,
        "multi30k": ParallelText,
        "adding": Adding,
        "copy_memory": CopyMemory,
        "reverse": Reverse,
        "parity": Parity,
        "digits": Digits,
        "mnist": Mnist,
        "python_library": Text,
        "text_file": TextFile,
        "place_names": PlaceNames,
    },
    "tokenizer": {
        "none": Absent,
        **dict.fromkeys(("bpe", "unigram", "word", "whitespace", "character"), Tokenizer),
    },
    "batching": {
        "bucketed": Bucketed,
        "padded": Batching,
        "sorted": Batching,
        "stream": Stream,
        "windows": Windows,
    },
}
