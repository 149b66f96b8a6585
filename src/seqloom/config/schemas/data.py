"""Schemas of `data`, `tokenizer` and `batching`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import II, MISSING

from seqloom.config.schemas.choices import (
    FrameChoice,
    NamedBy,
    Normalization,
    OfficialSplits,
    OnError,
    Resize,
    Steps,
    TokenizerKind,
    TooLong,
)
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
class FrameSampling(Target):
    by: FrameChoice = MISSING
    num_frames: int = MISSING
    fps: float = MISSING
    stride: int = MISSING
    max_frames: int | None = MISSING


@dataclass
class ClipTransform(Target):
    height: int = MISSING
    width: int = MISSING
    resize: Resize = MISSING
    crop_scale: list[float] | None = MISSING
    flip: float = MISSING
    invert: float = MISSING
    brightness: float = MISSING
    contrast: float = MISSING
    saturation: float = MISSING
    grayscale: bool = MISSING


@dataclass
class Video(Examples):
    """Data that is made of clips."""

    cache_dir: str | None = MISSING
    on_error: OnError = MISSING
    sampling: FrameSampling = field(default_factory=FrameSampling)
    transform: ClipTransform = field(default_factory=ClipTransform)


@dataclass
class VideoFolder(Video):
    root: str | None = MISSING
    splits: OfficialSplits | None = MISSING
    split_files: str | None = MISSING
    split_number: int = MISSING
    val_share: float = MISSING


@dataclass
class VideoCsv(Video):
    path: str | None = MISSING
    root: str | None = MISSING
    train: str | None = MISSING
    val: str | None = MISSING
    test: str | None = MISSING
    input_column: str = MISSING
    target_column: str = MISSING
    split_column: str | None = MISSING
    train_groups: list[str] | None = MISSING
    val_groups: list[str] | None = MISSING
    test_groups: list[str] | None = MISSING
    val_share: float = MISSING


@dataclass
class VideoCaptions(VideoCsv):
    tokenizer: Any = II("tokenizer")


@dataclass
class Grid(Video):
    root: str | None = MISSING
    tokenizer: Any = II("tokenizer")


@dataclass
class MovingDigits(Video):
    size: int = MISSING


@dataclass
class MovingCaptions(MovingDigits):
    named_by: NamedBy = MISSING
    max_digits: int = MISSING
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
        "video_folder": VideoFolder,
        "video_csv": VideoCsv,
        "video_captions": VideoCaptions,
        "grid": Grid,
        "moving_digits": MovingDigits,
        "moving_captions": MovingCaptions,
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
