"""What an offline part of W&B holds, as W&B's own command reads it; apart from `wandb_parts`."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any


def inspect(part: Path) -> list[dict[str, Any]]:
    """The records of a part, in order, by `wandb leet inspect`."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(part)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in answer.stdout.splitlines()]


def rows_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The logged values of each row, in order."""
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def exit_codes_of(records: list[dict[str, Any]]) -> list[int]:
    return [record["exit"]["exit_code"] for record in records if record["type"] == "exit"]


def offline_parts(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*"))


def assert_same_rows(logged: list[dict[str, Any]], csv: list[dict[str, float]]) -> None:
    """Every row of metrics.csv once, in order, with its values and its epoch, and no other."""
    assert [row["_step"] for row in logged] == [row["step"] for row in csv]
    for row, true in zip(logged, csv, strict=True):
        metrics = {name: value for name, value in true.items() if name not in ("step", "seconds")}
        told = {name: _number(row[name]) for name in metrics}
        assert told == metrics
        pictures = ("_", "examples", "attention", "confusion")
        assert {name for name in row if not name.startswith(pictures)} == set(metrics)


def _number(value: Any) -> float:
    number = float(value)
    return number if math.isfinite(number) else math.inf
