"""`Snapshots`: the weights of several validations, averaged into one checkpoint when training ends.

The mean of the last or best checkpoints is often better than each (Junczys-Dowmunt et al. 2016).
A snapshot is a checkpoint for use, like best.ckpt, so what is averaged is what was validated. One
that is no longer wanted stays on disk until the next last.ckpt is written, since a resume might
still need it. Price: `count` files of the weights' size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqloom.errors import ConfigError
from seqloom.runs.files import partial_path, replace_synced


@dataclass(frozen=True)
class AverageOptions:
    """How many checkpoints to average, and which: the `last` or the `best` ones."""

    count: int
    of: str = "last"

    def __post_init__(self) -> None:
        if self.count < 1 or self.of not in ("last", "best"):
            raise ConfigError(
                f"average_checkpoints={{count: {self.count}, of: {self.of}}}",
                "there is no such average",
                "use a count of 1 or more, of last or best",
            )


class Snapshots:
    """The snapshots in `directory`, and which of them are wanted; `Checkpoint` writes them."""

    def __init__(self, directory: Path, mode: str, options: AverageOptions) -> None:
        self._directory, self._mode, self._options = directory, mode, options
        self._kept: list[tuple[int, float]] = []  # (step, score), the most wanted last.

    def add(self, step: int, score: float) -> Path | None:
        """Where to write the snapshot of this step; None if it is not among the wanted."""
        self._kept.append((step, score))
        if self._options.of == "best":
            sign = -1 if self._mode == "min" else 1
            self._kept.sort(key=lambda item: (sign * item[1], item[0]))
        self._kept = self._kept[-self._options.count :]
        return self._path(step) if (step, score) in self._kept else None

    def prune(self) -> None:
        """Deletes the files that are no longer wanted."""
        wanted = {self._path(step) for step, _ in self._kept}
        for path in self._directory.glob("snapshot_*.ckpt"):
            if path not in wanted:
                path.unlink()

    def write_average(self, like: Path, path: Path) -> None:
        """Writes the checkpoint `like` to `path`, with the mean of the kept weights for its own."""
        mean: dict[str, Tensor] = {}
        for number, (step, _) in enumerate(self._kept, start=1):
            weights = _load(self._path(step))["state_dict"]
            for name, value in weights.items():
                if number > 1 and value.is_floating_point():
                    mean[name].lerp_(value, 1 / number)
                else:
                    mean[name] = value
        if mean:
            partial = partial_path(path)
            torch.save({**_load(like), "state_dict": mean}, partial)
            replace_synced(partial, path)

    def state_dict(self) -> list[tuple[int, float]]:
        return list(self._kept)

    def load_state_dict(self, state: list[tuple[int, float]]) -> None:
        self._kept = [(step, score) for step, score in state]

    def _path(self, step: int) -> Path:
        return self._directory / f"snapshot_{step:09d}.ckpt"


def _load(path: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint
