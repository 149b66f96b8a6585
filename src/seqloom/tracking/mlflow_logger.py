"""`MlflowLogger`: MLflow, in the run folder's `mlruns/` or wherever `tracking_uri` says.

The run's id lies in the folder (`mlflow_id.txt`), so a run that goes on is the same run. MLflow
keeps every value it is ever told; what a resumed run repeats is equal, and is not told again.
The price: the file store of a run is a file a metric, and one look at the history of each metric
after a resume.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqloom.errors import ConfigError
from seqloom.runs import write_atomic
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.run_logger import RunLogger

_STATUSES = {0: "FINISHED", 130: "KILLED", 143: "KILLED"}


class MlflowLogger(RunLogger, loggers.MLFlowLogger):
    """MLflow; refuses to start where it is not installed.

    Args:
        experiment: as MLflow names what collects runs.
        tracking_uri: where it writes; None: as MLFLOW_TRACKING_URI says, else into the run folder.
        run: the run to log.
    """

    def __init__(
        self, *, experiment: str = "seqloom", tracking_uri: str | None = None, run: LoggedRun
    ) -> None:
        self._run, self._id_path = run, run.folder.path / "mlflow_id.txt"
        self._is_new = not self._id_path.is_file()
        self._last_steps: dict[str, int] = {}
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        store = run.folder.path.absolute() / "mlruns"
        if uri is None:  # MLflow 3 asks who still wants plain files; a run folder does.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        task = run.config.get("task", {})
        try:
            super().__init__(
                experiment_name=experiment,
                run_name=run.folder.name,
                tracking_uri=uri or store.as_uri(),
                tags={"task": task["name"]} if "name" in task else {},
                run_id=None if self._is_new else self._id_path.read_text("utf-8").strip(),
            )
        except ModuleNotFoundError:
            raise ConfigError(
                "logger=mlflow", "MLflow is not installed", "pip install 'seqloom[mlflow]'"
            ) from None

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Nothing: MLflow has the config since training began."""

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        if self._is_new:
            super().log_hyperparams(self._run.config)
            write_atomic(self._id_path, f"{self.run_id}\n")
        else:
            self.experiment.update_run(self.run_id, status="RUNNING")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        new = {name: value for name, value in metrics.items() if step > self._last_step(name)}
        if new:
            super().log_metrics(new, step)

    def finish(self, exit_code: int) -> None:
        self.finalize(_STATUSES.get(exit_code, "FAILED"))

    def _last_step(self, name: str) -> int:
        """The last step of a metric that MLflow has from before this session; -1: none."""
        if self._is_new:
            return -1
        if name not in self._last_steps:
            history = self.experiment.get_metric_history(self.run_id, name)
            self._last_steps[name] = max((entry.step for entry in history), default=-1)
        return self._last_steps[name]
