"""Schemas of `model` and of its parts: `frames`, `cell`, `unrolling`, `stack`, `attention`,
`output`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import II, MISSING

from seqloom.config.schemas.choices import (
    BidirectionalLayers,
    Bridge,
    Conditioning,
    Connection,
    FrontNorm,
    MemoryPolicy,
    Motion,
    Nonlinearity,
    Pooling,
    RecurrentInit,
    Tie,
    Wiring,
)
from seqloom.config.schemas.parts import Absent, Recipe, Target


@dataclass
class Remembering(Recipe):
    """A cell with a gate that keeps memory."""

    forget_bias: float = MISSING
    chrono_max_steps: int | None = II("task.memory_steps")


@dataclass
class Gated(Remembering):
    recurrent_init: RecurrentInit = MISSING


@dataclass
class ProjectedLSTM(Gated):
    projection_size: int | None = MISSING


@dataclass
class RNN(Recipe):
    nonlinearity: Nonlinearity = MISSING
    recurrent_init: RecurrentInit = MISSING


@dataclass
class QRNN(Remembering):
    window: int = MISSING


@dataclass
class SRU(Remembering):
    peephole: bool = MISSING
    highway_bias: float = MISSING


@dataclass
class LRU(Recipe):
    r_min: float = MISSING
    r_max: float = MISSING
    max_phase: float = MISSING
    memory_steps: int | None = II("task.memory_steps")
    gated: bool = MISSING


@dataclass
class IndRNN(Recipe):
    nonlinearity: Nonlinearity = MISSING
    recurrent_min: float = MISSING
    recurrent_max: float = MISSING
    memory_steps: int | None = II("task.memory_steps")


@dataclass
class Exponential(Recipe):
    """The cells of xLSTM."""

    num_heads: int = MISSING
    forget_bias_min: float = MISSING
    forget_bias_max: float = MISSING


@dataclass
class ConvGRU(Recipe):
    kernel_size: int = MISSING
    forget_bias: float = MISSING


@dataclass
class ConvLSTM(ConvGRU):
    peephole: bool = MISSING


@dataclass
class UserCell(Target):
    file: str = MISSING
    name: str = MISSING
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Unrolling(Target):
    memory: MemoryPolicy = MISSING
    num_segments: int | None = MISSING


@dataclass
class Static(Unrolling):
    num_steps: int = MISSING
    compile: bool = MISSING


@dataclass
class AdditiveAttention(Recipe):
    attention_size: int | None = MISSING
    bias: bool = MISSING


@dataclass
class MultiHeadAttention(Recipe):
    num_heads: int = MISSING


@dataclass
class Stack(Target):
    connection: Connection = MISSING
    residual_from: int = MISSING
    bidirectional_layers: BidirectionalLayers = MISSING
    layer_norm: bool = MISSING
    recurrent_dropout: float = MISSING
    zoneout: float = MISSING
    zoneout_memory: float = MISSING
    weight_drop: float = MISSING


@dataclass
class Adaptive(Recipe):
    cutoffs: list[int] | None = MISSING
    shrink: float = MISSING


@dataclass
class Mixture(Recipe):
    num_mixtures: int = MISSING


@dataclass
class Gaussian(Recipe):
    scale: float | None = MISSING


@dataclass
class Quantile(Recipe):
    quantiles: list[float] = MISSING


@dataclass
class CTC(Recipe):
    blank_id: int | None = MISSING


@dataclass
class EncoderDecoder(Recipe):
    embedding_size: int = MISSING
    hidden_size: int = MISSING
    num_encoder_layers: int = MISSING
    num_decoder_layers: int = MISSING
    bidirectional: bool = MISSING
    dropout: float = MISSING
    locked_dropout: bool = MISSING
    tie: Tie = MISSING
    bridge: Bridge = MISSING
    wiring: Wiring = MISSING
    cell: Any = II("cell")
    unrolling: Any = II("unrolling")
    stack: Any = II("stack")
    attention: Any = II("attention")
    output: Any = II("output")


@dataclass
class Stacked(Recipe):
    """What models of recurrent layers have in common."""

    embedding_size: int | None = MISSING
    hidden_size: int = MISSING
    num_layers: int = MISSING
    dropout: float = MISSING
    locked_dropout: bool = MISSING
    cell: Any = II("cell")
    unrolling: Any = II("unrolling")
    stack: Any = II("stack")
    output: Any = II("output")


@dataclass
class SequenceToSequence(Stacked):
    bidirectional: bool = MISSING
    tie: Tie = MISSING


@dataclass
class DelayedSequenceToSequence(Stacked):
    delay: int | None = MISSING
    tie: Tie = MISSING


@dataclass
class SequenceToVector(Stacked):
    bidirectional: bool = MISSING
    pooling: Pooling = MISSING


@dataclass
class VectorToSequence(Stacked):
    conditioning: Conditioning = MISSING
    tie: Tie = MISSING
    attention: Any = II("attention")


@dataclass
class VideoClassifier(Recipe):
    frames: Any = II("frames")
    feature_size: int = MISSING
    hidden_size: int = MISSING
    num_layers: int = MISSING
    bidirectional: bool = MISSING
    pooling: Pooling = MISSING
    dropout: float = MISSING
    locked_dropout: bool = MISSING
    cell: Any = II("cell")
    unrolling: Any = II("unrolling")
    stack: Any = II("stack")
    output: Any = II("output")


@dataclass
class FrameAverage(Recipe):
    frames: Any = II("frames")
    hidden_size: int = MISSING
    dropout: float = MISSING
    output: Any = II("output")


@dataclass
class Front(Recipe):
    """A convolutional front of clips."""

    grid: int = MISSING
    motion: Motion = MISSING
    max_frames: int = MISSING
    checkpointed: bool = MISSING


@dataclass
class SmallFront(Front):
    channels: list[int] = MISSING
    norm: FrontNorm = MISSING


@dataclass
class TorchvisionFront(Front):
    name: str = MISSING
    weights: str | None = MISSING


GATED = (
    "lstm",
    "gru",
    "reset_before_gru",
    "peephole_lstm",
    "coupled_lstm",
    "layer_norm_lstm",
    "layer_norm_gru",
    "li_gru",
)

SCHEMAS: dict[str, dict[str, type]] = {
    "model": {
        "encoder_decoder": EncoderDecoder,
        "plain": DelayedSequenceToSequence,
        "sequence_to_sequence": SequenceToSequence,
        "sequence_to_vector": SequenceToVector,
        "vector_to_sequence": VectorToSequence,
        "video_classifier": VideoClassifier,
        "frame_average": FrameAverage,
    },
    "frames": {
        "none": Absent,
        "small_cnn": SmallFront,
        "small_3d": SmallFront,
        "torchvision": TorchvisionFront,
        "torchvision_3d": TorchvisionFront,
    },
    "cell": {
        **dict.fromkeys(GATED, Gated),
        "projected_lstm": ProjectedLSTM,
        "rnn": RNN,
        "min_gru": Remembering,
        "min_lstm": Remembering,
        "qrnn": QRNN,
        "sru": SRU,
        "lru": LRU,
        "indrnn": IndRNN,
        "slstm": Exponential,
        "mlstm": Exponential,
        "conv_gru": ConvGRU,
        "conv_lstm": ConvLSTM,
        "user": UserCell,
    },
    "stack": dict.fromkeys(("plain", "residual", "highway", "gnmt"), Stack),
    "output": {
        **dict.fromkeys(("categorical", "bernoulli", "squared", "crf"), Recipe),
        "adaptive": Adaptive,
        "mixture": Mixture,
        "gaussian": Gaussian,
        "quantile": Quantile,
        "ctc": CTC,
    },
    "unrolling": {
        **dict.fromkeys(("auto", "fused", "dynamic", "scan"), Unrolling),
        "static": Static,
    },
    "attention": {
        "none": Absent,
        "dot": Recipe,
        "general": Recipe,
        "concat": AdditiveAttention,
        "bahdanau": AdditiveAttention,
        "multihead": MultiHeadAttention,
    },
}
