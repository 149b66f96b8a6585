"""Data parallel training: a process for each device, each with the whole model and its own batches.

The idea: gradients of sums are averaged over processes, and the learner divides once by the tokens
of all of them (`learners.optimization`), so N processes follow the curve of one. Buffers are never
broadcast: no step of an evaluation waits for another process.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning.pytorch.strategies import DDPStrategy, Strategy

from seqloom.strategies.setting import Setting


@dataclass(frozen=True)
class Automatic:
    """One process as it is; several as data parallel, with its usual options."""

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        return "auto" if setting.num_processes == 1 else DataParallel().for_run(setting)


@dataclass(frozen=True)
class DataParallel:
    """Lightning's DDP: NCCL on GPUs, gloo elsewhere."""

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        return DDPStrategy(
            find_unused_parameters=setting.has_idle_parameters, broadcast_buffers=False
        )
