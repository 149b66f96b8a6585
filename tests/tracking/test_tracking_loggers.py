from __future__ import annotations

import importlib.util
import logging
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from seqloom.errors import ConfigError
from seqloom.runs import RunFolder, read_metrics
from seqloom.tracking import CsvLogger, MlflowLogger, TensorboardLogger, WandbLogger
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.loggers import log_file, open_loggers
from seqloom.tracking.run_logger import RunLogger
from seqloom.tracking.wandb_logger import chosen_mode


def test_csv_and_tensorboard_write_into_the_run_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with open_loggers([CsvLogger, TensorboardLogger], LoggedRun(RunFolder(tmp_path), {})) as opened:
        for logger in opened:
            logger.log_metrics({"train/loss": 1.5}, step=3)
    assert read_metrics(tmp_path / "metrics.csv")[0]["train/loss"] == 1.5
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_tensorboard_has_every_step_once_after_a_resume(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = LoggedRun(RunFolder(tmp_path), {})
    for first, last in ((0, 5), (3, 8)):  # The second session repeats the steps 3 and 4.
        with open_loggers([TensorboardLogger], run) as (logger,):
            _ = logger.experiment  # type: ignore[attr-defined]  # As Lightning's Trainer does.
            assert isinstance(logger, RunLogger)
            logger.truncate_after(first - 1)
            for step in range(first, last):
                logger.log_metrics({"train/loss": float(first * 100 + step)}, step=step)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert logged == [
        *((step, float(step)) for step in range(3)),
        *((s, 300.0 + s) for s in range(3, 8)),
    ]


def test_tensorboard_that_is_not_installed_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
    with pytest.raises(ConfigError, match=r"pip install 'seqloom\[tensorboard\]'"):
        TensorboardLogger(run=LoggedRun(RunFolder(tmp_path), {}))


def test_mlflow_that_is_not_installed_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE", False)
    with pytest.raises(ConfigError, match=r"pip install 'seqloom\[mlflow\]'"):
        MlflowLogger(run=LoggedRun(RunFolder(tmp_path), {}))


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed")
def test_mlflow_has_every_step_once_after_a_resume(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    run = LoggedRun(RunFolder(tmp_path), {"seed": 1})
    for first, last in ((0, 5), (3, 8)):
        with open_loggers([MlflowLogger], run) as (logger,):
            assert isinstance(logger, MlflowLogger)
            logger.truncate_after(first - 1)
            for step in range(first, last):
                logger.log_metrics({"train/loss": float(step)}, step=step)
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    identity = (tmp_path / "mlflow_id.txt").read_text().strip()
    history = client.get_metric_history(identity, "train/loss")
    assert [entry.step for entry in history] == list(range(8))
    assert client.get_run(identity).info.status == "FINISHED"


class Recorded(RunLogger):
    """A logger that notes what it is told."""

    def __init__(self, told: list[object], *, run: LoggedRun) -> None:
        super().__init__()
        self.told = told

    @property
    def name(self) -> str:
        return "recorded"

    @property
    def version(self) -> str:
        return ""

    def log_metrics(self, metrics: object, step: int | None = None) -> None:
        self.told.append(step)

    def log_hyperparams(self, *_: object) -> None:
        pass

    def log_outcome(self) -> None:
        self.told.append("outcome")

    def finish(self, exit_code: int) -> None:
        self.told.append(exit_code)


def leave(error: BaseException | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, ["outcome", 0]),
        (ValueError("no"), [1]),
        (KeyboardInterrupt(), [130]),
        (SystemExit(143), [143]),
        (SystemExit("a reason"), [1]),
    ],
)
def test_loggers_learn_the_outcome_and_the_exit_code(
    tmp_path: Path, error: BaseException | None, told: list[object]
) -> None:
    heard: list[object] = []
    run = LoggedRun(RunFolder(tmp_path), {})
    with (
        nullcontext() if error is None else pytest.raises(type(error)),
        open_loggers([partial(Recorded, heard)], run),
    ):
        leave(error)
    assert heard == told


def test_an_outcome_that_a_logger_refuses_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []

    def refuse(self: Recorded) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Recorded, "log_outcome", refuse)
    with open_loggers([partial(Recorded, heard)], LoggedRun(RunFolder(tmp_path), {})):
        pass
    assert heard == [0]
    assert "recorded was not told the outcome: OSError: the disk is full" in caplog.text


def test_disabled_wandb_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with open_loggers([WandbLogger], LoggedRun(RunFolder(tmp_path), {})) as (logger,):
        logger.log_metrics({"a": 1.0}, step=0)
    assert not list(tmp_path.glob("wandb/*run-*"))
    assert not (tmp_path / "wandb_id.txt").exists()


@pytest.mark.parametrize(
    ("variable", "mode", "chosen"),
    [
        ("", "offline", "offline"),
        ("disabled", "online", "disabled"),
        ("dryrun", "online", "offline"),
        ("run", "offline", "online"),
        ("auto", "online", "offline"),  # There is no account.
    ],
)
def test_the_variable_wins_over_the_configured_mode(
    monkeypatch: pytest.MonkeyPatch, variable: str, mode: str, chosen: str
) -> None:
    monkeypatch.setattr("seqloom.tracking.wandb_logger.has_account", lambda: False)
    monkeypatch.setenv("WANDB_MODE", variable)
    assert chosen_mode(mode) == chosen


def test_wandb_refuses_an_unknown_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(ConfigError, match=r"WANDB_MODE=ofline.*use auto, online, offline"):
        WandbLogger(run=LoggedRun(RunFolder(tmp_path), {}))
    assert not (tmp_path / "wandb_id.txt").exists()


def test_wandb_refuses_an_unknown_upload(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"upload_checkpoint=last.*use none or best"):
        WandbLogger(upload_checkpoint="last", run=LoggedRun(RunFolder(tmp_path), {}))


def test_log_file_names_the_rank_and_is_closed(tmp_path: Path) -> None:
    log = logging.getLogger("seqloom.test")
    log.setLevel(logging.INFO)
    with log_file(tmp_path / "train.log", rank=0):
        log.info("inside")
    log.info("outside")
    text = (tmp_path / "train.log").read_text()
    assert "INFO rank 0 seqloom.test: inside" in text
    assert "outside" not in text


def test_further_ranks_log_warnings_only(tmp_path: Path) -> None:
    log = logging.getLogger("seqloom.test")
    log.setLevel(logging.INFO)
    with log_file(tmp_path / "train.log", rank=3):
        log.info("the same as rank 0")
        log.warning("a warning")
    (line,) = (tmp_path / "train.log").read_text().splitlines()
    assert line.endswith("WARNING rank 3 seqloom.test: a warning")
