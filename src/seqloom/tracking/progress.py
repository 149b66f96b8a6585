"""`Progress`: what a person sees while a model learns.

On a terminal a live bar with epoch, step, loss, tokens a second, padding and the time left;
elsewhere a line of the same every `log_every_n_steps` updates. After each validation a line of
scores and a few examples. All lines are logged: as INFO, or as DEBUG where the bar shows them
already, so that train.log has them in any case. The time left follows whichever limit comes first:
steps, epochs or `max_time`.
"""

from __future__ import annotations

import logging
import math
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from rich import progress
from rich.console import Console
from rich.markup import escape

from seqloom.metrics.prediction import Prediction
from seqloom.tracking.exact_resume import is_update

_log = logging.getLogger(__name__)
_log.setLevel(logging.DEBUG)

_SHOWN = {
    "train/loss": "loss {:.3f}",
    "train/target_tokens_per_s": "{:,.0f} tokens/s",
}
_MAX_CHARACTERS = 160
_PADDING = ("train/source_padding", "train/target_padding")


class Progress(Callback):
    """Shows training on rank 0.

    Args:
        num_examples: predictions shown after a validation, spread evenly over the split (over
            this rank's share of it) and the same each time.
        console: where to; the standard error stream by default.
    """

    def __init__(self, *, num_examples: int, console: Console | None = None) -> None:
        self.num_examples = num_examples
        self._console = console or Console(stderr=True)
        self._bar: progress.Progress | None = None
        self._task = progress.TaskID(0)
        self._predictions: list[Prediction] = []
        self._begun = (0, 0.0)  # Step and time when this process began to train.

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = (trainer.global_step, time.monotonic())
        if not trainer.is_global_zero or not self._console.is_terminal:
            return
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[text]}"),
            console=self._console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("epoch 1", total=num_steps(trainer), text="")
        self._bar.start()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if not trainer.is_global_zero or not is_update(trainer):
            return
        step, interval = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        is_logged = interval > 0 and step % interval == 0
        if self._bar is not None and (is_logged or step % 5 == 0):
            description = f"epoch {trainer.current_epoch + 1}"
            self._bar.update(
                self._task, completed=step, description=description, text=self._text(trainer)
            )
        if is_logged:
            level = logging.DEBUG if self._bar is not None else logging.INFO
            _log.log(level, "epoch %d  %s", trainer.current_epoch + 1, self._text(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._predictions = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.is_global_zero and self.num_examples:
            self._predictions += (outputs or {}).get("predictions", [])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        scores = [
            f"{name.removeprefix('val/')} {float(value):.4g}"
            for name, value in sorted(trainer.callback_metrics.items())
            if name.startswith("val/")
        ]
        self._say(f"step {trainer.global_step}  validation  {'  '.join(scores)}")
        for example in self._examples():
            self._say(f"  input       {one_line(example.input)}")
            self._say(f"  target      {one_line(example.target)}")
            self._say(f"  prediction  {one_line(example.prediction)}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _examples(self) -> list[Prediction]:
        """By position in the split: batches are ordered by length, the longest ones first."""
        ordered = sorted(self._predictions, key=lambda prediction: prediction.index)
        stride = max(len(ordered) // max(self.num_examples, 1), 1)
        return ordered[::stride][: self.num_examples]

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, line: str) -> None:
        """To the terminal above the bar, and to the log; without a bar, to the log alone."""
        if self._bar is not None:
            self._bar.console.print(escape(line), highlight=False)
        _log.log(logging.DEBUG if self._bar is not None else logging.INFO, "%s", line)

    def _text(self, trainer: Trainer) -> str:
        total = num_steps(trainer)
        of = f"/{total}" if total else ""
        parts = [f"step {trainer.global_step}{of}"]
        metrics = trainer.callback_metrics
        parts += [
            text.format(float(metrics[name])) for name, text in _SHOWN.items() if name in metrics
        ]
        padding = [f"{float(metrics[name]):.1%}" for name in _PADDING if name in metrics]
        if padding:
            parts.append(f"padding {'/'.join(padding)}")
        left_s = self._seconds_left(trainer)
        if left_s is not None:
            parts.append(f"{timedelta(seconds=round(left_s))} left")
        return "  ".join(parts)

    def _seconds_left(self, trainer: Trainer) -> float | None:
        """By steps or by `max_time`, whichever ends first; None while neither is known."""
        left = []
        step, started = self._begun
        done, total = trainer.global_step - step, num_steps(trainer)
        if total is not None and done:
            left.append((total - trainer.global_step) * (time.monotonic() - started) / done)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and callback.time_remaining() is not None:
                left.append(callback.time_remaining() or 0.0)
        return max(min(left), 0.0) if left else None


def one_line(text: str) -> str:
    """`text` in one line for the console; what is too long for it loses its middle."""
    line, half = " ".join(text.split()), _MAX_CHARACTERS // 2
    return line if len(line) <= 2 * half else f"{line[:half]} ... {line[-half:]}"


def num_steps(trainer: Trainer) -> int | None:
    """Updates in the whole training by its limits on steps and epochs; None when it has neither."""
    limits = [trainer.max_steps] if trainer.max_steps > 0 else []
    batches, epochs = trainer.num_training_batches, trainer.max_epochs
    if epochs is not None and epochs > 0 and math.isfinite(batches):
        limits.append(math.ceil(batches / trainer.accumulate_grad_batches) * epochs)
    return min(limits) if limits else None
