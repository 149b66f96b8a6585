"""`TensorboardLogger`: TensorBoard files in the run folder's `tensorboard/`, each step once.

A run that goes on writes a further file, which begins by telling TensorBoard to forget the steps
that are repeated.
"""

from __future__ import annotations

from lightning.pytorch import loggers
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqloom.errors import ConfigError
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.run_logger import RunLogger


class TensorboardLogger(RunLogger, loggers.TensorBoardLogger):
    """TensorBoard; refuses to start where it is not installed."""

    def __init__(self, *, run: LoggedRun) -> None:
        try:
            super().__init__(save_dir=str(run.folder.path), name="", version="tensorboard")
        except ModuleNotFoundError:
            raise ConfigError(
                "logger=tensorboard",
                "TensorBoard is not installed",
                "pip install 'seqloom[tensorboard]'",
            ) from None

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        if self._experiment is not None:
            self._experiment.close()
            self._experiment = None
        self._kwargs["purge_step"] = step + 1

    def finish(self, exit_code: int) -> None:
        self.finalize("failed" if exit_code else "success")
