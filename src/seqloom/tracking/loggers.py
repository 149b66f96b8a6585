"""Loggers of a run, owned by one context manager: none is left open or ends with a wrong code.

CSV is the record of truth. Weights & Biases writes into the run folder, offline unless an account
is configured or WANDB_MODE says otherwise. Online, a resumed run continues under its id
(`wandb_id.txt`); offline that would overwrite the first part when synced, so a resumed run becomes
a new one in the same group whose config says `resumed_from`.
"""

from __future__ import annotations

import logging
import os
import secrets
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch import loggers
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqloom.errors import ConfigError
from seqloom.runs import write_atomic
from seqloom.tracking.csv_logger import CsvLogger
from seqloom.tracking.logged_run import LoggedRun


class LoggerRecipe(Protocol):
    """What one entry of `logger=` gives: a logger that still lacks its run."""

    def __call__(self, *, run: LoggedRun) -> loggers.Logger: ...


class WandbLogger(loggers.WandbLogger):
    """Weights & Biases, quiet on the console.

    Args:
        project, entity, group: as W&B names them; without a group, the run folder's name.
        mode: auto, online, offline or disabled; the variable WANDB_MODE wins over it.
        run: the run to log.
    """

    def __init__(
        self,
        *,
        project: str = "seqloom",
        entity: str | None = None,
        group: str | None = None,
        mode: str = "auto",
        run: LoggedRun,
    ) -> None:
        import wandb

        settings = wandb.Settings(silent=True, console="off")
        mode = os.environ.get("WANDB_MODE") or mode
        if mode == "auto":
            mode = "online" if _has_account() else "offline"
        identity, resumed_from = _identity(run, is_online=mode == "online")
        config = {**run.config, "resumed_from": resumed_from} if resumed_from else run.config
        super().__init__(
            project=project,
            name=run.folder.name,
            save_dir=str(run.folder.path),
            id=identity,
            entity=entity,
            group=group or run.folder.name.replace("/", "-"),
            job_type="train",
            mode=mode,
            config=config,
            settings=settings,
        )
        self._wandb_init.pop("anonymous", None)  # Lightning's, which W&B warns about.

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Nothing: W&B has the config since the run began."""

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """Ends the run, if one was begun, as finished (0) or failed."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=exit_code)
            self._experiment = None


class TensorboardLogger(loggers.TensorBoardLogger):
    """TensorBoard files in the run folder's `tensorboard/`."""

    def __init__(self, *, run: LoggedRun) -> None:
        try:
            super().__init__(save_dir=str(run.folder.path), name="", version="tensorboard")
        except ModuleNotFoundError:
            raise ConfigError(
                "logger=tensorboard",
                "TensorBoard is not installed",
                "pip install 'seqloom[tensorboard]'",
            ) from None


@contextmanager
def open_loggers(recipes: Sequence[LoggerRecipe], run: LoggedRun) -> Iterator[list[loggers.Logger]]:
    """The loggers of `recipes`; closed on leaving, as failed when an exception leaves."""
    opened: list[loggers.Logger] = []
    exit_code = 1
    try:
        opened += [recipe(run=run) for recipe in recipes]
        yield opened
        exit_code = 0
    finally:
        for logger in opened:
            if isinstance(logger, WandbLogger):
                logger.finish(exit_code)
            elif isinstance(logger, CsvLogger):
                logger.close()
            else:
                logger.finalize("failed" if exit_code else "success")


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


def _identity(run: LoggedRun, *, is_online: bool) -> tuple[str, str | None]:
    """The run's id, and the one it goes on from where that must be another."""
    path = run.folder.wandb_id
    first = path.read_text(encoding="utf-8").strip() if path.exists() else None
    if run.is_resumed and first and is_online:
        return first, None
    identity = secrets.token_hex(4)
    rank_zero_only(write_atomic)(path, identity + "\n")
    return identity, first if run.is_resumed else None


def _has_account() -> bool:
    import wandb

    return bool(wandb.login(prompt=False, verify=False))
