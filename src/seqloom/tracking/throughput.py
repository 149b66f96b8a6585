"""`Throughput`: tokens and examples a second, and how much of the work was padding.

Time is that of training alone: from one batch's end to the next one's, so waiting for data counts,
while validation and checkpoints stop the clock. Totals go on over a resume. Counts come from the
learner's `count_batch`: names that end in `_tokens` and `_positions` (tokens with padding), and
`examples`. On a GPU the clock sees when work was queued, which over many steps is the same.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from seqloom.data.ranks import data_rank
from seqloom.tracking.exact_resume import is_update


class Throughput(Callback):
    """Logs rates and padding every `log_every_n_steps` updates, since the time before."""

    def __init__(self) -> None:
        self._total: Counter[str] = Counter()
        self._window: Counter[str] = Counter()
        self._total_s = self._window_s = 0.0
        self._started: float | None = None

    def summary(self) -> dict[str, float | None]:
        """Rates and padding of the whole run; {} before training."""
        return dict(_rates(self._total, self._total_s))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._started is None:
            self._started = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.monotonic()
        assert self._started is not None
        self._window_s += now - self._started
        self._started = now
        self._window.update(pl_module.count_batch(batch))  # type: ignore[operator]
        interval = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if is_update(trainer) and interval and trainer.global_step % interval == 0:
            counts, seconds = self._add_window(trainer)
            rates = _rates(counts, seconds)
            pl_module.log_dict(rates, on_step=True, on_epoch=False, batch_size=1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._add_window(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._started = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "total": dict(self._total),
            "window": dict(self._window),
            "total_s": self._total_s,
            "window_s": self._window_s,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._total, self._window = Counter(state_dict["total"]), Counter(state_dict["window"])
        self._total_s, self._window_s = state_dict["total_s"], state_dict["window_s"]

    def _add_window(self, trainer: Trainer) -> tuple[Counter[str], float]:
        """Moves the window, summed over ranks, to the totals."""
        counts, seconds = self._window, self._window_s
        if trainer.world_size > 1:
            names = sorted(counts)
            own = torch.tensor([counts[name] for name in names], dtype=torch.float64)
            summed = trainer.strategy.reduce(own.to(trainer.strategy.root_device), reduce_op="sum")
            assert isinstance(summed, Tensor)
            summed /= data_rank(trainer).num_holders
            counts = Counter(dict(zip(names, map(int, summed.tolist()), strict=True)))
        self._total.update(counts)
        self._total_s += seconds
        self._window, self._window_s = Counter(), 0.0
        return counts, seconds


def peak_memory_bytes() -> int:
    """The most memory the process has held; on a GPU, the most that torch has held there."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _rates(counts: Counter[str], seconds: float) -> dict[str, float]:
    if not seconds:
        return {}
    rates: dict[str, float] = {}
    tokens = {name for name in counts if name.endswith("_tokens")}
    for name in (*sorted(tokens), "examples"):
        rates[f"train/{name}_per_s"] = counts[name] / seconds
    positions = {name: name.replace("_tokens", "_positions") for name in tokens}
    for name, padded in positions.items():
        rates[f"train/{name.removesuffix('_tokens')}_padding"] = _share(counts, [name], [padded])
    rates["train/padding_fraction"] = _share(counts, [*positions], [*positions.values()])
    return rates


def _share(counts: Counter[str], real: list[str], padded: list[str]) -> float:
    total = sum(counts[name] for name in padded)
    return 1 - sum(counts[name] for name in real) / total if total else 0.0
