"""Schemas of the strategies: how a model is spread over devices."""

from __future__ import annotations

from dataclasses import dataclass

from seqloom.config.schemas.parts import Target


@dataclass
class Automatic(Target):
    pass


@dataclass
class DataParallel(Target):
    pass


SCHEMAS: dict[str, dict[str, type]] = {"strategy": {"auto": Automatic, "ddp": DataParallel}}
