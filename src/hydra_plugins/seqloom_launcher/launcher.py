"""`hydra/launcher=seqloom`: a sweep's jobs as processes, see `seqloom.sweeps`.

Only what Hydra knows is read here: the settings and the folder of each job.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from seqloom.sweeps.jobs import Job, check_jobs, run_jobs

ConfigStore.instance().store(
    group="hydra/launcher",
    name="seqloom",
    node={"_target_": f"{__name__}.SeqloomLauncher"},
    provider="seqloom",
)


class SeqloomLauncher(Launcher):
    """Runs each job as a command of its own."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self._loader, self._config = hydra_context.config_loader, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """See `Launcher.launch`. Raises JobError after all jobs, where some failed."""
        folder = Path(str(self._config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [
            self._job(list(overrides), number)
            for number, overrides in enumerate(job_overrides, start=initial_job_idx)
        ]
        check_jobs(jobs, run_jobs(jobs, lambda line: sys.stderr.write(f"{line}\n")))
        done = JobReturn()
        done.status, done.return_value = JobStatus.COMPLETED, None
        return [done] * len(jobs)

    def _job(self, overrides: list[str], number: int) -> Job:
        config = self._loader.load_sweep_config(self._config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
        return Job(tuple(filter_overrides(overrides)), folder)
