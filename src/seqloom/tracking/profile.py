"""`Profile`: where the time of an update goes, measured while a run trains as usual.

The idea: Lightning tells its profiler when it fetches, moves, steps and calls back; the parts of
the model, forward and backward, are found by a rule (`profile_hooks`). All of it goes to one
`Stopwatch`, so rows add up to the update. After the timed updates a few are recorded by torch's
own profiler, for a trace and for the largest operators. The price: some microseconds a call, and
on an accelerator no overlap (`stopwatch`); validation is left out. Of several processes the first
is timed: where it waits for others counts as its own. Without the callback nothing of this is
there.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import Profiler
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from seqloom.errors import ConfigError
from seqloom.runs.files import partial_path, replace_synced
from seqloom.tracking.exact_resume import is_update
from seqloom.tracking.profile_hooks import VALIDATION, Actions, follow_backward, parts
from seqloom.tracking.profile_table import Operator, ProfileResult
from seqloom.tracking.stopwatch import Lap, Stopwatch, unwatch, watch

WARM_UP = 10
NUM_TRACED = 3
NUM_OPERATORS = 10
PROFILING = "profiling"


class Profile(Callback):
    """Times `num_updates` updates after a warm-up, records a few more, then stops the training.

    Args:
        num_updates: at least 1.
        trace: a path that ends in .json.gz, for Chrome's about:tracing and Perfetto.

    Attributes:
        result: of the first process, once it is there; None before, and where training ended
            within the warm-up.
        shortfall: a sentence where training ended before all updates were timed; None elsewhere.
    """

    def __init__(self, *, num_updates: int, trace: Path) -> None:
        if num_updates < 1:
            raise ConfigError(
                f"callbacks.profile_updates={num_updates}", "nothing is timed", "use 1 or more"
            )
        self.num_updates, self.trace = num_updates, trace
        self.result: ProfileResult | None = None
        self._num_done = 0
        self._laps: list[Lap] = []
        self._counts: Counter[str] = Counter()
        self._stopwatch: Stopwatch | None = None
        self._watched: list[object] = []
        self._before: Profiler | None = None
        self._recorder: profile | None = None
        self._operators: list[Operator] = []

    @property
    def shortfall(self) -> str | None:
        wanted = WARM_UP + self.num_updates
        if self._num_done >= wanted:
            return None
        timed = f"{len(self._laps)} of {self.num_updates} updates were timed"
        return f"profile: {timed}: training ended after {self._num_done}, it takes {wanted}"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        device = trainer.strategy.root_device
        wait = None if device.type == "cpu" else getattr(torch, device.type).synchronize
        self._stopwatch = Stopwatch(wait)
        self._before = trainer.profiler  # type: ignore[attr-defined]
        trainer.profiler = Actions(trainer, self._stopwatch)  # type: ignore[attr-defined]
        watched: dict[str, object] = dict(parts(pl_module.model, "model"))  # type: ignore[arg-type]
        watched["logging"] = trainer._logger_connector
        for name, each in watched.items():
            watch(each, name, self._stopwatch)
            self._watched.append(each)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        if self._stopwatch is not None:
            self._stopwatch.enter(PROFILING)
            follow_backward(loss, self._stopwatch)
            self._stopwatch.leave()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        last = WARM_UP + self.num_updates
        if WARM_UP <= self._num_done < last:
            self._counts.update(pl_module.count_batch(batch))  # type: ignore[operator]
        if not is_update(trainer):
            return
        self._num_done += 1
        if self._stopwatch is not None:
            lap = self._stopwatch.lap()
            if WARM_UP < self._num_done <= last:
                self._laps.append(lap)
            if self._num_done == last:
                self._record(trainer)
        if self._num_done >= last + NUM_TRACED:
            self._end(trainer)
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._let_go(trainer)

    def _record(self, trainer: Trainer) -> None:
        """Begins a trace, in which the rows of the table are ranges."""
        assert self._stopwatch is not None
        activities = [ProfilerActivity.CPU]
        if trainer.strategy.root_device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._recorder = profile(activities=activities)
        self._recorder.start()
        self._stopwatch.annotate = record_function

    def _end(self, trainer: Trainer) -> None:
        """Keeps what was measured, once."""
        if self._stopwatch is None:
            return
        rows = {name for lap in self._laps for name in lap.seconds}
        recorder, device = self._recorder, trainer.strategy.root_device.type
        num_recorded = self._num_done - WARM_UP - self.num_updates
        self._let_go(trainer)
        if recorder is not None and num_recorded > 0:
            self._operators = _largest(recorder, rows, num_recorded)
            partial_file = partial_path(self.trace).with_suffix(".json.gz")
            recorder.export_chrome_trace(str(partial_file))
            replace_synced(partial_file, self.trace)
        if not self._laps:
            return
        self.result = ProfileResult.of(
            self._laps,
            device=device,
            counts=dict(self._counts),
            operators=self._operators,
            left_out=(VALIDATION,),
        )

    def _let_go(self, trainer: Trainer) -> None:
        """Takes away all that was put in."""
        if self._stopwatch is None:
            return
        self._stopwatch.annotate, self._stopwatch.is_on = None, False
        self._stopwatch = None
        for each in reversed(self._watched):
            unwatch(each)
        self._watched.clear()
        trainer.profiler = self._before  # type: ignore[attr-defined]
        if self._recorder is not None:
            self._recorder.stop()
            self._recorder = None


def _largest(recorder: profile, rows: set[str], num_updates: int) -> list[Operator]:
    """The operators with the most time of their own, on the device where there is one."""
    events = [e for e in recorder.key_averages() if not e.is_user_annotation and e.key not in rows]
    times = [(max(e.self_device_time_total, 0.0), e) for e in events]
    if not any(time for time, _ in times):
        times = [(e.self_cpu_time_total, e) for e in events]
    total = sum(time for time, _ in times) or 1.0
    times.sort(key=lambda pair: -pair[0])
    return [
        Operator(
            name=event.key,
            ms=time / 1000 / num_updates,
            share=time / total,
            calls=event.count / num_updates,
        )
        for time, event in times[:NUM_OPERATORS]
    ]
