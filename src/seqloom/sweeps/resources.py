"""`Slots`: cores and GPUs shared out among the jobs that run side by side.

Processes that each take all cores disturb one another more than they gain, so every job is told how
many threads to use; each gets GPUs of its own as far as there are enough. What the user has set
(OMP_NUM_THREADS, CUDA_VISIBLE_DEVICES) is respected.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from seqloom.errors import ConfigError
from seqloom.runs.surroundings import num_cores


class Slots:
    """Places for `num_parallel` jobs.

    Args:
        cores_per_job: threads of each; None: the cores of this process, shared out.
        gpus_per_job: None: all GPUs, shared out; 0: none.

    Raises ConfigError where less than one job, core or GPU is asked for, or more GPUs than are
    there.
    """

    def __init__(
        self,
        num_parallel: int,
        *,
        cores_per_job: int | None = None,
        gpus_per_job: int | None = None,
    ) -> None:
        for name, value, least in (
            ("num_parallel", num_parallel, 1),
            ("cores_per_job", cores_per_job, 1),
            ("gpus_per_job", gpus_per_job, 0),
        ):
            if value is not None and value < least:
                raise ConfigError(
                    f"launcher.{name}={value}", "is too few", f"write {least} or more"
                )
        self.count = num_parallel
        self._free = list(range(num_parallel))
        cores = cores_per_job or max(1, num_cores() // num_parallel)
        self._threads = os.environ.get("OMP_NUM_THREADS") if cores_per_job is None else None
        self._threads = self._threads or str(cores)
        self._gpus = _shares(visible_gpus(), num_parallel, gpus_per_job)

    def take(self) -> int | None:
        """A free place, which is not free any more; None where there is none."""
        return self._free.pop(0) if self._free else None

    def give_back(self, slot: int) -> None:
        self._free = sorted([*self._free, slot])

    def environment(self, slot: int) -> Mapping[str, str]:
        """Variables for the job in that place."""
        gpus = {"CUDA_VISIBLE_DEVICES": ",".join(self._gpus[slot])} if self._gpus else {}
        return {"OMP_NUM_THREADS": self._threads or "1", **gpus}


def visible_gpus() -> list[str]:
    """Names of the GPUs as CUDA_VISIBLE_DEVICES takes them, without importing torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    num = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return [str(number) for number in range(num)]


def _shares(gpus: list[str], num_parallel: int, per_job: int | None) -> list[list[str]]:
    """For each place its GPUs; [] where there are none to share. Where there are fewer than places,
    several jobs share one."""
    if per_job == 0:
        return [[] for _ in range(num_parallel)]
    if per_job is not None and per_job * num_parallel > len(gpus):
        raise ConfigError(
            f"launcher.gpus_per_job={per_job}",
            f"{num_parallel} jobs need {per_job * num_parallel}, and {len(gpus)} are there",
            "lower it, or launcher.num_parallel",
        )
    if not gpus:
        return []
    size = per_job or max(1, len(gpus) // num_parallel)
    return [
        [gpus[(slot * size + number) % len(gpus)] for number in range(size)]
        for slot in range(num_parallel)
    ]
