"""`Summary`: what a run came to, as summary.json; the file that other programs read.

Every key of the contract is a field. Numbers that are not finite are written as null: JSON has no
other word. Refuses a file that is not JSON, lacks a key or has a wrong status, and names it.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from seqloom.errors import DataError
from seqloom.runs.files import json_value, write_atomic

STATUSES = ("running", "finished", "failed", "interrupted")

_PACKAGES = ("seqloom", "torch", "lightning", "hydra-core", "omegaconf", "numpy", "sacrebleu")


@dataclass
class Summary:
    """What a run came to.

    Attributes:
        status: running, finished, failed or interrupted.
        metrics: the last value of every logged metric, by `split/name`.
        best: the monitored metric, its value and step, and the other metrics there.
        steps, epochs: optimiser steps taken, epochs completed.
        seconds: wall time over all resumes.
        throughput: rates and padding over the training time alone.
        parameters: how many numbers the model learns.
        error: one line, when the status is failed.
        signatures: how scores were computed, by metric name (sacreBLEU's signature).
        fingerprints: SHA-256 of what the run was made from, by name.
        overrides: the settings of its first command line; [] where there was none.
    """

    task: str
    status: str = "running"
    metrics: dict[str, float | None] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    throughput: dict[str, float | None] = field(default_factory=dict)
    parameters: int = 0
    peak_memory_bytes: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    error: str | None = None
    signatures: dict[str, str] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Replaces `path`, atomically."""
        assert self.status in STATUSES
        plain = json_value(dataclasses.asdict(self))
        write_atomic(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Summary:
        """Raises DataError when the file is absent, not JSON, or not a summary."""
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(str(path), "there is no such file", "name a run folder") from None
        except ValueError as error:
            raise DataError(str(path), f"it is not JSON ({error})", "restore the file") from None
        names = {item.name for item in dataclasses.fields(cls)}
        if not isinstance(plain, dict) or not {"task", "status"} <= plain.keys() <= names:
            raise DataError(str(path), "it is not a run's summary", "name a run folder")
        if plain["status"] not in STATUSES:
            raise DataError(
                f"{path}: status={plain['status']}",
                "there is no such status",
                f"use one of {', '.join(STATUSES)}",
            )
        return cls(**plain)


def collect_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result, read without importing them."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # Run from a checkout, or an extra that is not installed.
    return versions
