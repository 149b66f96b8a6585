"""`CsvLogger`: what Lightning logs, in metrics.csv as it happens. Only rank 0 writes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqloom.runs import MetricsFile
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.run_logger import RunLogger


class CsvLogger(RunLogger):
    """Writes `run.folder.metrics`, and is the first of a run's loggers: others read the file."""

    def __init__(self, *, run: LoggedRun) -> None:
        super().__init__()
        self._path = run.folder.metrics
        self._file: MetricsFile | None = None

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        self._open().append(step, metrics)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any) -> None:
        """Nothing: config.yaml holds them."""

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Drops what was logged at later steps, which will be repeated."""
        self._open().truncate_after(step)

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> MetricsFile:
        if self._file is None:
            self._file = MetricsFile(self._path)
        return self._file
