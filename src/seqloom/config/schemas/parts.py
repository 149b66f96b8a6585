"""What every config node that becomes an object has in common."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


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
