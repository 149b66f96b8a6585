"""Schemas of the strategies: how a model is spread over devices."""

from __future__ import annotations

from dataclasses import dataclass

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


SCHEMAS: dict[str, dict[str, type]] = {"strategy": {"auto": Automatic, "ddp": DataParallel, "async_sgd": AsyncSgd}}
