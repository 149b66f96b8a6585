"""Schemas of the strategies: how a model is spread over devices."""

from __future__ import annotations

from dataclasses import dataclass

from seqloom.config.schemas.parts import Recipe


@dataclass
class Automatic(Recipe):
    pass


@dataclass
class DataParallel(Recipe):
    pass


SCHEMAS: dict[str, dict[str, type]] = {"strategy": {"auto": Automatic, "ddp": DataParallel}}
