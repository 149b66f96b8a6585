"""What tests of sweeps share: how a sweep of stand-ins is started, and what its jobs were told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Started = Callable[..., int]


def jobs_told() -> list[list[str]]:
    """The settings of each job that was started, in that order."""
    path = Path("told.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line)[0] for line in lines]
