"""Schemas of `learner`, `decoding`, `optimizer` and `scheduler`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import II, MISSING

from seqloom.config.schemas.choices import (
    Direction,
    Features,
    LengthPenaltyKind,
    LossNormalization,
)
from seqloom.config.schemas.parts import Absent, Recipe, Target


@dataclass
class EncoderDecoderLearner(Target):
    label_smoothing: float = MISSING
    scheduled_sampling: float = MISSING
    normalize: LossNormalization = MISSING
    search: Any = II("decoding")


@dataclass
class SequenceToVectorLearner(Target):
    label_smoothing: float = MISSING


@dataclass
class SearchingLearner(SequenceToVectorLearner):
    search: Any = II("decoding")


@dataclass
class FrontTraining(Target):
    unfreeze_at_epoch: int | None = MISSING
    lr_factor: float = MISSING
    features: Features = MISSING


@dataclass
class VideoClassifierLearner(SequenceToVectorLearner):
    front: FrontTraining = field(default_factory=FrontTraining)


@dataclass
class VideoCaptionerLearner(EncoderDecoderLearner):
    frames: Any = II("frames")
    front: FrontTraining = field(default_factory=FrontTraining)


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
class Sample(Target):
    temperature: float = MISSING
    top_k: int | None = MISSING
    top_p: float = MISSING
    max_length: int = MISSING
    seed: int = II("seed")
    forbid_unknown: bool = MISSING


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


SCHEMAS: dict[str, dict[str, type]] = {
    "learner": {
        "encoder_decoder": EncoderDecoderLearner,
        "sequence_to_sequence": SearchingLearner,
        "sequence_to_vector": SequenceToVectorLearner,
        "vector_to_sequence": SearchingLearner,
        "video_classifier": VideoClassifierLearner,
        "video_captioner": VideoCaptionerLearner,
    },
    "decoding": {"none": Absent, "greedy": Greedy, "beam": Beam, "sample": Sample},
    "optimizer": {"adam": Adam, "adamw": Adam, "sgd": SGD},
    "scheduler": {
        "constant": Schedule,
        "plateau": Plateau,
        "cosine": Cosine,
        "inverse_sqrt": Schedule,
    },
}
