"""`train`: one run from config to report, and the frame that leaves no half-written folder.

The one idea: the run folder tells the truth at every moment. It is locked before anything is
written, `summary.json` says "running" before any work is done, and whatever happens then (an
error, Ctrl-C, SIGTERM) is in it before the process ends; after a SIGKILL it still says "running"
and the dead owner's lock is taken over by a resume. Processes that Lightning starts for further
devices join the folder of the first by an environment variable, and write nothing. Torch is
imported inside, after the variables that it reads at import are set.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig, OmegaConf

from seqloom.commands.launchers import check_processes, global_rank, signal_number
from seqloom.commands.values import plain_values
from seqloom.config import trust_file_of
from seqloom.errors import ConfigError, one_line
from seqloom.runs import RunFolder, Summary, collect_versions, duration_s, read_metrics
from seqloom.runs.provenance import Session
from seqloom.runs.signals import handled
from seqloom.sweeps.jobs import PARENT_VARIABLE

JOIN_VARIABLE = "SEQLOOM_RUN_DIR"
SWEEP_PERIOD_S = 0.5  # between looks at whether the sweep is there


def train(cfg: DictConfig, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Trains, tests and reports as `cfg` says; goes on with a run where `cfg.resume` names one.

    Args:
        overrides: the command line that `cfg` comes from; a new run's summary keeps it.

    Returns the test metrics by name, for sweeps.

    Raises SeqloomError for what the user can mend and SystemExit (130, 143) when interrupted by
    Ctrl-C or SIGTERM; the summary then says failed or interrupted.
    """
    joined, rank = os.environ.get(JOIN_VARIABLE), int(os.environ.get("LOCAL_RANK", "0"))
    if joined is not None and rank != 0:
        from seqloom.commands.processes import told_to_first

        with told_to_first(Path(joined), rank):
            return _join(RunFolder.open(Path(joined)), rank)
    _end_with_sweep()
    check_processes(cfg)
    check_trainer(cfg)
    if global_rank():
        return _join_launched(cfg)
    with _opened(cfg) as folder:
        before = _summary_before(cfg, folder, overrides)
        with _kept_summary(cfg, folder, before, overrides) as (summary, started_s):
            os.environ[JOIN_VARIABLE] = str(folder.path.absolute())
            try:
                from seqloom.commands.fitting import Fitting

                return Fitting(cfg, folder, summary, started_s=started_s).run()
            finally:
                del os.environ[JOIN_VARIABLE]


def _end_with_sweep() -> None:
    """A job whose sweep is gone, killed, saves and ends, so that nobody has two at work."""
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(SWEEP_PERIOD_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="sweep").start()


def check_trainer(cfg: DictConfig) -> None:
    """Refuses what Lightning would take: weights that nothing trains, or that are trained away."""
    limits = cfg.trainer
    for key in ("max_epochs", "max_steps", "limit_train_batches", "accumulate_grad_batches"):
        if limits[key] == 0:
            raise ConfigError(f"trainer.{key}=0", "nothing would be trained", "set at least 1")
    if limits.gradient_clip_val is not None and limits.gradient_clip_val < 0:
        raise ConfigError(
            f"trainer.gradient_clip_val={limits.gradient_clip_val}",
            "no gradient has a norm below 0",
            "set a positive number, or null for no limit",
        )
    if limits.max_time is not None and not duration_s(limits.max_time):
        raise ConfigError(
            f"trainer.max_time={limits.max_time}",
            "is no duration",
            "write DD:HH:MM:SS, 00:00:10:00 for ten minutes",
        )


def _opened(cfg: DictConfig) -> RunFolder:
    """The run's folder, locked and with a config: from here on it can be resumed."""
    if cfg.resume is not None:
        return RunFolder.resume(Path(cfg.resume))
    folder = RunFolder.create(
        cfg.task.name, run_dir=None if cfg.run_dir is None else Path(cfg.run_dir)
    )
    folder.write_config(plain_values(cfg))
    return folder


def _join(folder: RunFolder, rank: int) -> dict[str, float]:
    """What a further process of a run does: the same, by the same config, without writing."""
    from seqloom.commands.fitting import Fitting

    cfg = OmegaConf.create(folder.read_config())
    trust_file_of(cfg)  # the first process, which wrote it, had it from the command line
    summary, started_s = folder.read_summary(), time.monotonic()
    return Fitting(cfg, folder, summary, started_s=started_s, rank=rank).run()


def _join_launched(cfg: DictConfig) -> dict[str, float]:
    """The same for a process that torchrun or srun started: it has the command line itself."""
    from seqloom.commands.fitting import Fitting

    folder = RunFolder(Path(cfg.resume or cfg.run_dir))
    folder.path.mkdir(parents=True, exist_ok=True)  # The first process may not be so far.
    if cfg.resume is not None and folder.last.is_file():
        _summary_before(cfg, folder, ())  # Refuses what the first process refuses.
    summary, started_s = Summary(task=cfg.task.name), time.monotonic()
    with _stop_as_exit(cfg.callbacks.preemption_signal):
        return Fitting(cfg, folder, summary, started_s=started_s, rank=global_rank() or 0).run()


def _summary_before(cfg: DictConfig, folder: RunFolder, overrides: Sequence[str]) -> Summary:
    """What the run has come to, after a look at whether it can go on as `cfg` asks."""
    if cfg.resume is None:
        return Summary(task=cfg.task.name, overrides=list(overrides))
    before = folder.read_summary()
    if folder.last.is_file():
        from seqloom.commands.resuming import check_resume

        check_resume(cfg, folder, before)
    # A killed session could not write its seconds into the summary.
    last_row = (read_metrics(folder.metrics) or [{}])[-1]
    return dataclasses.replace(before, seconds=max(before.seconds, last_row.get("seconds", 0.0)))


@contextmanager
def _kept_summary(
    cfg: DictConfig, folder: RunFolder, before: Summary, overrides: Sequence[str]
) -> Iterator[tuple[Summary, float]]:
    """A summary on disk from the first moment, whose status is true when the block is left.

    A wrong resume that has saved nothing leaves summary, config and the record of sessions as they
    were. Beside the summary comes the time of `time.monotonic` at which the run would have begun
    without its breaks.
    """
    summary = dataclasses.replace(
        before, status="running", error=None, seed=cfg.seed, versions=collect_versions()
    )
    folder.write_summary(summary)
    session = Session(folder.path, overrides)
    config, saved = folder.read_config(), _saved_ns(folder)
    started_s = time.monotonic() - before.seconds
    try:
        with _stop_as_exit(cfg.callbacks.preemption_signal):
            yield summary, started_s
        summary.status = "finished"
    except (KeyboardInterrupt, SystemExit) as error:
        code = 143 if isinstance(error, SystemExit) and error.code == 143 else 130
        summary.status = "interrupted"
        raise SystemExit(code) from None
    except BaseException as error:
        summary.status, summary.error = "failed", one_line(error)
        is_refused = isinstance(error, ConfigError) and cfg.resume is not None
        if is_refused and _saved_ns(folder) == saved:
            summary = before
            folder.write_config(config)
            session.withdraw()
        raise
    finally:
        session.wait()
        summary.seconds = time.monotonic() - started_s
        folder.write_summary(summary)


def _saved_ns(folder: RunFolder) -> int | None:
    """When last.ckpt was written; a summary's steps do not tell, for a kill leaves older ones."""
    return folder.last.stat().st_mtime_ns if folder.last.is_file() else None


@contextmanager
def _stop_as_exit(preemption: str | None) -> Iterator[None]:
    """SIGTERM, and the signal named `preemption`, end the block by SystemExit(143), so that what it
    opened is closed."""

    def leave(signum: int, frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)

    with handled(leave, [signal.SIGTERM, *([signal_number(preemption)] if preemption else [])]):
        yield
