"""Loggers of a run, owned by one context manager: none is left open or ends with a wrong code.

CSV is the record of truth and the first; the others are told what it has. What a tracker does not
take at the end of a run (a full disk, a picture that cannot be drawn) is a warning: the run and its
folder are complete by then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from lightning.pytorch.loggers import Logger

from seqloom.errors import one_line
from seqloom.tracking.csv_logger import CsvLogger as CsvLogger
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.mlflow_logger import MlflowLogger as MlflowLogger
from seqloom.tracking.run_logger import RunLogger
from seqloom.tracking.tensorboard_logger import TensorboardLogger as TensorboardLogger
from seqloom.tracking.wandb_logger import WandbLogger as WandbLogger

_log = logging.getLogger(__name__)


class LoggerRecipe(Protocol):
    """What one entry of `logger=` gives: a logger that still lacks its run."""

    def __call__(self, *, run: LoggedRun) -> RunLogger: ...


@contextmanager
def open_loggers(recipes: Sequence[LoggerRecipe], run: LoggedRun) -> Iterator[list[Logger]]:
    """The loggers of `recipes`; on leaving they are told the outcome and closed.

    An exception closes them as failed, with the exit code that the process will have.
    """
    opened: list[RunLogger] = []
    exit_code = 1
    try:
        opened += [recipe(run=run) for recipe in recipes]
        yield list(opened)
        exit_code = 0
        for logger in opened:
            _log_outcome(logger)
    except (KeyboardInterrupt, SystemExit) as stopped:
        code = getattr(stopped, "code", 130)
        exit_code = code if isinstance(code, int) else 1
        raise
    finally:
        for logger in opened:
            logger.finish(exit_code)


def _log_outcome(logger: RunLogger) -> None:
    try:
        logger.log_outcome()
    except Exception as error:
        _log.warning("%s was not told the outcome: %s", logger.name, one_line(error))


@contextmanager
def log_file(path: Path, *, rank: int = 0) -> Iterator[None]:
    """Copies what is logged to the end of `path`, each line with its rank.

    That is all that the loggers let through (Seqloom's are set to INFO, that of `progress` to
    DEBUG); of further ranks, which do and say the same, only warnings and errors.
    """
    handler = logging.FileHandler(path, encoding="utf-8")
    line = f"%(asctime)s %(levelname)s rank {rank} %(name)s: %(message)s"
    handler.setFormatter(logging.Formatter(line))
    handler.setLevel(logging.WARNING if rank else logging.DEBUG)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
