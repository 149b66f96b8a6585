"""Typed schemas: what each config group may hold, and of which type.

The YAML files hold the values and say what each one means; a schema holds the names and the types,
so that a misspelt key or a word where a number belongs is an error before any work is done. No
value stands in both: every field is required (OmegaConf's `???`) except links such as `${seed}`,
which the schema owns. The classes that these configs build check ranges; nothing is checked twice.
Free of torch.

`SCHEMAS` names the schema of every option; `LOGGERS` those that share the group `logger`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import II, MISSING


class Direction(StrEnum):
    """Whether a monitored metric is better when it falls (`min`) or rises (`max`)."""

    min = "min"
    max = "max"


class Normalization(StrEnum):
    """Unicode normalisation of text."""

    none = "none"
    nfc = "nfc"
    nfkc = "nfkc"


class TooLong(StrEnum):
    """What becomes of a pair that is longer than the limits."""

    drop = "drop"
    truncate = "truncate"
    error = "error"


class TokenizerKind(StrEnum):
    """What a token is."""

    bpe = "bpe"
    unigram = "unigram"
    word = "word"
    character = "character"


class Tie(StrEnum):
    """Which embeddings share one matrix."""

    none = "none"
    output = "output"
    all = "all"


class Bridge(StrEnum):
    """How the decoder's first state comes from the encoder's last."""

    zero = "zero"
    last = "last"
    projected = "projected"


class Wiring(StrEnum):
    """Where the attention sits in the decoder."""

    input_feeding = "input_feeding"
    late = "late"
    first_layer = "first_layer"


class LossNormalization(StrEnum):
    """What a loss is the mean over."""

    tokens = "tokens"
    sequences = "sequences"


class LengthPenaltyKind(StrEnum):
    """Whose formula the length penalty is."""

    gnmt = "gnmt"
    average = "average"


class PrecisionName(StrEnum):
    """What matrix products are computed in."""

    fp32 = "fp32"
    bf16 = "bf16"
    auto = "auto"


class StrategyName(StrEnum):
    """How training is spread over devices."""

    auto = "auto"
    ddp = "ddp"


class Averaged(StrEnum):
    """Which checkpoints are averaged."""

    last = "last"
    best = "best"


class WandbMode(StrEnum):
    """Where Weights & Biases writes; `auto` is online where an account is configured."""

    auto = "auto"
    online = "online"
    offline = "offline"
    disabled = "disabled"


@dataclass
class Target:
    """A part that `build` makes; the class or function is named by its import path."""

    _target_: str = MISSING


@dataclass
class Recipe(Target):
    """A part that is made later, by whoever knows its sizes."""

    _partial_: bool = MISSING


@dataclass
class Absent:
    """No part at all: `build` answers None."""

    _target_: str | None = MISSING


# Data


@dataclass
class TextPairs(Target):
    source_language: str = MISSING
    target_language: str = MISSING
    num_train: int | None = MISSING
    num_val: int | None = MISSING
    num_test: int | None = MISSING
    seed: int = II("seed")
    num_workers: int = MISSING
    lowercase: bool = MISSING
    normalization: Normalization = MISSING
    max_source_length: int | None = MISSING
    max_target_length: int | None = MISSING
    too_long: TooLong = MISSING
    cache_dir: str | None = MISSING


@dataclass
class CldrPhrases(TextPairs):
    pass


@dataclass
class ParallelText(TextPairs):
    root: str | None = MISSING
    train: str | None = MISSING
    val: str | None = MISSING
    test: str | None = MISSING
    preset: str | None = MISSING
    download: bool = MISSING


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


# Model


@dataclass
class LSTM(Recipe):
    forget_bias: float = MISSING


@dataclass
class Static(Target):
    num_steps: int = MISSING


@dataclass
class AdditiveAttention(Recipe):
    attention_size: int | None = MISSING
    bias: bool = MISSING


@dataclass
class MultiHeadAttention(Recipe):
    num_heads: int = MISSING


@dataclass
class EncoderDecoder(Recipe):
    embedding_size: int = MISSING
    hidden_size: int = MISSING
    num_encoder_layers: int = MISSING
    num_decoder_layers: int = MISSING
    bidirectional: bool = MISSING
    residual: bool = MISSING
    dropout: float = MISSING
    locked_dropout: bool = MISSING
    tie: Tie = MISSING
    bridge: Bridge = MISSING
    wiring: Wiring = MISSING
    cell: Any = II("cell")
    unrolling: Any = II("unrolling")
    attention: Any = II("attention")


# Learning


@dataclass
class EncoderDecoderLearner(Target):
    label_smoothing: float = MISSING
    scheduled_sampling: float = MISSING
    normalize: LossNormalization = MISSING


@dataclass
class Greedy(Target):
    max_length_ratio: float = MISSING
    max_length_offset: int = MISSING
    min_length_ratio: float = MISSING
    forbid_unknown: bool = MISSING


@dataclass
class Beam(Greedy):
    beam_size: int = MISSING
    length_penalty: float = MISSING
    length_penalty_kind: LengthPenaltyKind = MISSING
    coverage_penalty: float = MISSING


@dataclass
class Adam(Recipe):
    lr: float = MISSING
    betas: tuple[float, float] = MISSING
    eps: float = MISSING
    fused: bool = MISSING
    weight_decay: float = MISSING


@dataclass
class SGD(Recipe):
    lr: float = MISSING
    momentum: float = MISSING
    nesterov: bool = MISSING
    weight_decay: float = MISSING


@dataclass
class Schedule(Target):
    warmup_steps: int = MISSING


@dataclass
class Plateau(Schedule):
    monitor: str = II("task.monitor")
    mode: Direction = II("task.mode")
    decay: float = MISSING
    patience: int = MISSING


@dataclass
class Cosine(Schedule):
    final_factor: float = MISSING


# Training


@dataclass
class Task:
    name: str = MISSING
    title: str = MISSING
    topology: str = MISSING
    monitor: str = MISSING
    mode: Direction = MISSING


@dataclass
class Trainer:
    max_epochs: int | None = MISSING
    max_steps: int = MISSING
    max_time: str | None = MISSING
    accelerator: str = MISSING
    devices: int | str = MISSING
    num_nodes: int = MISSING
    gradient_clip_val: float | None = MISSING
    accumulate_grad_batches: int = MISSING
    check_val_every_n_epoch: int | None = MISSING
    val_check_interval: int | float | None = MISSING
    log_every_n_steps: int = MISSING
    limit_train_batches: int | float | None = MISSING
    limit_val_batches: int | float | None = MISSING
    limit_test_batches: int | float | None = MISSING


@dataclass
class Strategy:
    name: StrategyName = MISSING


@dataclass
class Precision:
    name: PrecisionName = MISSING


@dataclass
class AverageCheckpoints:
    count: int | None = MISSING
    of: Averaged = MISSING


@dataclass
class Callbacks:
    early_stopping_patience: int | None = MISSING
    checkpoint_every_s: float | None = MISSING
    checkpoint_every_n_steps: int | None = MISSING
    ema_decay: float | None = MISSING
    average_checkpoints: AverageCheckpoints = field(default_factory=AverageCheckpoints)
    num_examples: int = MISSING


@dataclass
class CsvLogger(Recipe):
    pass


@dataclass
class WandbLogger(Recipe):
    project: str = MISSING
    entity: str | None = MISSING
    group: str | None = MISSING
    mode: WandbMode = MISSING


@dataclass
class TensorboardLogger(Recipe):
    pass


@dataclass
class Experiment:
    """Everything that one run is made of; groups with several schemas are `Any` here."""

    seed: int = MISSING
    deterministic: bool = MISSING
    run_dir: str | None = MISSING
    resume: str | None = MISSING
    task: Task = field(default_factory=Task)
    data: Any = MISSING
    tokenizer: Any = MISSING
    batching: Any = MISSING
    model: Any = MISSING
    cell: Any = MISSING
    unrolling: Any = MISSING
    attention: Any = MISSING
    learner: Any = MISSING
    decoding: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    strategy: Strategy = field(default_factory=Strategy)
    precision: Precision = field(default_factory=Precision)
    logger: dict[str, Any] = field(default_factory=dict)
    callbacks: Callbacks = field(default_factory=Callbacks)


SCHEMAS: dict[str, dict[str, type]] = {
    "data": {"cldr": CldrPhrases, "parallel_text": ParallelText, "multi30k": ParallelText},
    "tokenizer": dict.fromkeys(("bpe", "unigram", "word", "character"), Tokenizer),
    "batching": {"bucketed": Bucketed, "padded": Batching, "sorted": Batching},
    "model": {"encoder_decoder": EncoderDecoder},
    "cell": {"lstm": LSTM, "gru": Recipe},
    "unrolling": {"auto": Target, "fused": Target, "dynamic": Target, "static": Static},
    "attention": {
        "none": Absent,
        "dot": Recipe,
        "general": Recipe,
        "concat": AdditiveAttention,
        "bahdanau": AdditiveAttention,
        "multihead": MultiHeadAttention,
    },
    "learner": {"encoder_decoder": EncoderDecoderLearner},
    "decoding": {"greedy": Greedy, "beam": Beam},
    "optimizer": {"adam": Adam, "adamw": Adam, "sgd": SGD},
    "scheduler": {
        "constant": Schedule,
        "plateau": Plateau,
        "cosine": Cosine,
        "inverse_sqrt": Schedule,
    },
}

LOGGERS: dict[str, type] = {
    "csv": CsvLogger,
    "wandb": WandbLogger,
    "tensorboard": TensorboardLogger,
}
