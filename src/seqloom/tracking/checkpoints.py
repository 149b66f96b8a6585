"""`Checkpoint`: last.ckpt, from which a run goes on bit for bit, and best.ckpt, which is used.

last.ckpt is written every so many updates or seconds, after each epoch, when training stops, and on
Ctrl-C or SIGTERM, always at a moment that resumes exactly (`exact_resume`); best.ckpt, without the
optimiser's state, after a validation that improves `monitor`. Every file is whole or absent. Price:
a write (0.6 to 0.9 s for 14 million parameters with Adam). After any other exception nothing is
saved: the state in the middle of a step cannot be trusted. A learner must not change what training
depends on in its own `on_train_batch_end`, which runs after this one.
"""

from __future__ import annotations

import difflib
import logging
import math
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer, callbacks
from lightning.pytorch.trainer.states import TrainerFn

from seqloom.errors import ConfigError
from seqloom.runs.files import partial_path, replace_synced
from seqloom.tracking import exact_resume
from seqloom.tracking.averaging import AverageOptions, Snapshots
from seqloom.tracking.ema import WeightAverage
from seqloom.tracking.exact_resume import Moment
from seqloom.tracking.interruption import Interrupted, StopSignals
from seqloom.tracking.run_logger import RunLogger

_log = logging.getLogger(__name__)

_NOT_FOR_USE = (
    "callbacks",
    "loops",
    "optimizer_states",
    "lr_schedulers",
    "training_weights",
    "carried_state",
)


class Checkpoint(callbacks.Checkpoint):
    """Keeps the checkpoints of a run.

    Args:
        directory: the run's checkpoint folder.
        monitor, mode: the metric that decides what is best, and whether "min" or "max" is better.
        every_n_steps, every_s: updates and seconds between two writes of last.ckpt; None: write
            it only after epochs.
        preemption_signal: the number of a signal that is obeyed like SIGTERM; None: no other is.
        average: average the weights of several validations into average.ckpt when training ends.

    Attributes:
        best_score, best_step, best_metrics: of the best validation so far; None, 0, {} before it.
    """

    def __init__(
        self,
        *,
        directory: Path,
        monitor: str,
        mode: str,
        every_n_steps: int | None = None,
        every_s: float | None = None,
        average: AverageOptions | None = None,
        preemption_signal: int | None = None,
    ) -> None:
        if mode not in ("min", "max"):
            raise ConfigError(f"task.mode={mode}", "it is unknown", "use min or max")
        self.directory, self.monitor, self.mode = directory, monitor, mode
        self.every_n_steps, self.every_s = every_n_steps, every_s
        self.best_score: float | None = None
        self.best_step = 0
        self.best_metrics: dict[str, float] = {}
        self._snapshots = Snapshots(directory, mode, average) if average else None
        self._signals = StopSignals(preemption_signal)
        self._saved_step = 0
        self._saved_s = time.monotonic()
        self._moment: Moment | None = None  # None while what is written is for use.
        self._resumed: tuple[Moment, list[dict[str, Any]], dict[str, float]] | None = None
        self._metrics: dict[str, float] = {}

    @property
    def best_path(self) -> Path:
        return self.directory / "best.ckpt"

    @property
    def last_path(self) -> Path:
        return self.directory / "last.ckpt"

    @property
    def average_path(self) -> Path:
        return self.directory / "average.ckpt"

    @property
    def test_path(self) -> Path:
        """The checkpoint to test and use: the average, else the best, else the last."""
        paths = [self.best_path] if self.best_path.exists() else [self.last_path]
        if self._snapshots and self.average_path.exists():
            paths = [self.average_path]
        return paths[0]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != TrainerFn.FITTING:
            return
        names = getattr(pl_module, "metric_names", None)
        if names is not None:
            self._require_monitor(name for name in names if not name.startswith("test/"))
        if trainer.is_global_zero:
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(".*.partial"):
                leftover.unlink()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The average of an earlier fit tells nothing about the one that begins.
        if trainer.is_global_zero:
            self.average_path.unlink(missing_ok=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step, self._saved_s = trainer.global_step, time.monotonic()
        self._signals.install()
        if self._resumed is not None:
            exact_resume.restore(trainer, *self._resumed)
            self._resumed = None
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.truncate_after(trainer.global_step - 1)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if (
            exact_resume.is_update(trainer)
            and not exact_resume.is_epoch_complete(trainer)
            and (trainer.should_stop or not exact_resume.is_validation_next(trainer))
        ):
            self._reach(trainer, Moment.batch_end)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._judge(trainer)
        if (
            exact_resume.is_update(trainer)
            and not exact_resume.is_epoch_complete(trainer)
            and not exact_resume.waits_for_plateau(trainer)
        ):
            self._reach(trainer, Moment.validation_end)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > self._saved_step:
            self._save_last(trainer, Moment.epoch_end)
            self._stop_if_asked(trainer, Moment.epoch_end)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._signals.restore()
        if trainer.global_step > self._saved_step and exact_resume.is_epoch_complete(trainer):
            self._save_last(trainer, Moment.epoch_end)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._snapshots and self.best_path.exists() and trainer.is_global_zero:
            self._snapshots.write_average(self.best_path, self.average_path)
        trainer.strategy.barrier()  # From here on every rank finds the same `test_path`.

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._signals.restore()

    def state_dict(self) -> dict[str, Any]:
        return {
            "moment": str(self._moment),
            "best_score": self.best_score,
            "best_step": self.best_step,
            "best_metrics": self.best_metrics,
            "metrics": self._metrics,
            "snapshots": self._snapshots.state_dict() if self._snapshots else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]
        self.best_step = state_dict["best_step"]
        self.best_metrics = state_dict["best_metrics"]
        if self._snapshots:
            self._snapshots.load_state_dict(state_dict["snapshots"])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._moment is not None:
            exact_resume.describe(checkpoint["loops"], self._moment)
            return
        for key in _NOT_FOR_USE:
            checkpoint.pop(key, None)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        has_average = any(isinstance(each, WeightAverage) for each in trainer.callbacks)  # type: ignore[attr-defined]
        if "training_weights" in checkpoint and not has_average:
            raise ConfigError(
                "callbacks.ema_decay=null", "the run was started with one", "resume with it"
            )
        own = checkpoint["callbacks"][self.state_key]
        loaders = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])
        self._resumed = (Moment(own["moment"]), loaders, own["metrics"])

    def _reach(self, trainer: Trainer, moment: Moment) -> None:
        """A moment that resumes exactly: saves when it is time to, and leaves when asked to."""
        steps, seconds = trainer.global_step - self._saved_step, time.monotonic() - self._saved_s
        is_due = (self.every_n_steps is not None and steps >= self.every_n_steps) or (
            self.every_s is not None and seconds >= self.every_s
        )
        is_final = trainer.should_stop or trainer.global_step == trainer.max_steps
        # Clocks and signals differ between ranks; a write needs all of them.
        if is_final or _any_rank(trainer, is_due or self._signals.received is not None):
            self._save_last(trainer, moment)
            self._stop_if_asked(trainer, moment)

    def _stop_if_asked(self, trainer: Trainer, moment: Moment) -> None:
        if _any_rank(trainer, self._signals.received is not None):
            if moment is Moment.batch_end:
                exact_resume.log_update(trainer)
            raise Interrupted(self._signals.received or signal.SIGTERM)

    def _judge(self, trainer: Trainer) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._require_monitor(metrics)
        score = metrics[self.monitor]
        if math.isnan(score):
            _log.warning("%s is not a number after step %d", self.monitor, trainer.global_step)
            return
        if self._is_better(score):
            self.best_score, self.best_step = score, trainer.global_step
            self.best_metrics = metrics
            self._save(trainer, self.best_path, None)
        if self._snapshots and (path := self._snapshots.add(trainer.global_step, score)):
            self._save(trainer, path, None)

    def _require_monitor(self, names: Iterable[str]) -> None:
        """Refuses to wait for a score that is not among `names`."""
        known = sorted(names)
        if self.monitor not in known:
            near = difflib.get_close_matches(self.monitor, known, n=1, cutoff=0) or ["another"]
            raise ConfigError(
                f"task.monitor={self.monitor}", "it is not logged", f"did you mean {near[0]}"
            )

    def _is_better(self, score: float) -> bool:
        if self.best_score is None:
            return True
        return score < self.best_score if self.mode == "min" else score > self.best_score

    def _save_last(self, trainer: Trainer, moment: Moment) -> None:
        self._save(trainer, self.last_path, moment)
        self._saved_step, self._saved_s = trainer.global_step, time.monotonic()
        if self._snapshots and trainer.is_global_zero:
            self._snapshots.prune()

    def _save(self, trainer: Trainer, path: Path, moment: Moment | None) -> None:
        """Writes the whole state as of `moment`, or what is for use; called on all ranks."""
        self._moment = moment
        self._metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        partial = partial_path(path)
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            replace_synced(partial, path)


def _any_rank(trainer: Trainer, decision: bool) -> bool:
    return trainer.strategy.reduce_boolean_decision(decision, all=False)
