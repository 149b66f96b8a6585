"""`hydra/launcher=seqloom`: the jobs of a foreign sweeper as processes, see `seqloom.sweeps`.

Sweeps of Seqloom's own do not come this way: this is for `hydra/sweeper=...` of other packages.
Only what Hydra knows is read here: the settings and the folder of each job.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from seqloom.runs import short_name
from seqloom.sweeps.grid import Grid
from seqloom.sweeps.jobs import Job
from seqloom.sweeps.resources import Slots
from seqloom.sweeps.runner import Runner, check_jobs
from seqloom.sweeps.table import LiveTable

ConfigStore.instance().store(
    group="hydra/launcher",
    name="seqloom",
    node={"_target_": f"{__name__}.SeqloomLauncher", "num_parallel": 1},
    provider="seqloom",
)


class SeqloomLauncher(Launcher):
    """Runs each job as a command of its own.

    Args:
        num_parallel: jobs at a time.
    """

    def __init__(self, num_parallel: int) -> None:
        self._num_parallel = num_parallel

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
        source = Grid(
            jobs,
            name=short_name(folder),
            command="",
            folder=folder,
            objectives={},
            apart=[job.overrides for job in jobs],
        )
        slots = Slots(self._num_parallel)
        with LiveTable(slots.count) as table:
            record = Runner(source, folder=folder, objectives=[], slots=slots, table=table).run()
        check_jobs(record, folder)
        done = JobReturn()
        done.status, done.return_value = JobStatus.COMPLETED, None
        return [done] * len(jobs)

    def _job(self, overrides: list[str], number: int) -> Job:
        config = self._loader.load_sweep_config(self._config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
        return Job(number, tuple(filter_overrides(overrides)), folder)
