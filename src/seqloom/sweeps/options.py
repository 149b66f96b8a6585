"""`SweepOptions`: what the config groups `sweep` and `launcher` say, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqloom.runs import short_name
from seqloom.sweeps.space import Space

SEVERAL = "several"


@dataclass(frozen=True)
class SweepOptions:
    """A sweep as its user asked for it.

    Attributes:
        folder: of the sweep; its jobs go to `folder`/NUMBER.
        command: what the user typed, without passwords.
        settings: all settings of the command line that belong to the jobs, in order, as they were
            typed (`cell=lstm,gru`, `optimizer.lr=interval(0.001,0.1)`).
        task: its name, or SEVERAL.
        monitor, mode: the metric that names the best checkpoint, and min or max.
        sweep: the config group `sweep`, resolved.
        space: what is searched; None for a list of jobs.
        num_parallel: jobs at a time.
        cores_per_job, gpus_per_job: None shares out what is there.
    """

    folder: Path
    command: str
    settings: tuple[str, ...]
    task: str
    monitor: str
    mode: str
    sweep: Mapping[str, Any]
    space: Space | None = None
    num_parallel: int = 1
    cores_per_job: int | None = None
    gpus_per_job: int | None = None

    @property
    def objectives(self) -> dict[str, str]:
        """Metrics by which jobs are judged, with min or max; {} where several tasks have their
        own."""
        given = {str(name): str(mode) for name, mode in self.sweep["objectives"].items()}
        return given or ({} if self.task == SEVERAL else {self.monitor: self.mode})

    @property
    def name(self) -> str:
        """TASK/DATE_TIME, as people name the sweep."""
        return short_name(self.folder)
