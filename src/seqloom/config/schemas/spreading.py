"""Schemas of the strategies: how a model is spread over devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from seqloom.config.schemas.parts import Target


@dataclass
class Automatic(Target):
    pass


@dataclass
class DataParallel(Target):
    communication: str = MISSING
    powersgd_rank: int = MISSING
    start_step: int = MISSING
    average_every_n_steps: int = MISSING
    bucket_size_mib: float = MISSING
    static_graph: bool = MISSING
    sparse_embeddings: bool = MISSING
    timeout_s: float = MISSING


@dataclass
class AsyncSgd(Target):
    timeout_s: float = MISSING


@dataclass
class Pipeline(Target):
    schedule: str = MISSING
    num_micro_batches: int = MISSING
    cut: Any = MISSING
    timeout_s: float = MISSING


@dataclass
class Placement(Target):
    placement: Any = MISSING  # auto, or a device for each path
    devices: list[str] | None = MISSING
    num_chunks: int = MISSING
    num_micro_batches: int = MISSING


@dataclass
class FullySharded(Target):
    timeout_s: float = MISSING


@dataclass
class ModelParallel(Target):
    tensor_parallel_size: Any = MISSING  # auto, or a number
    timeout_s: float = MISSING


SCHEMAS: dict[str, dict[str, type]] = {
    "strategy": {
        "fsdp": FullySharded,
        "model_parallel": ModelParallel,
        "auto": Automatic,
        "placement": Placement,
        "ddp": DataParallel,
        "pipeline": Pipeline,
        "async_sgd": AsyncSgd,
    }
}
