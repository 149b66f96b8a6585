import logging
from functools import partial
from pathlib import Path

import pytest

from seqloom.errors import ConfigError
from seqloom.runs import RunFolder, read_metrics
from seqloom.tracking import CsvLogger, TensorboardLogger, WandbLogger
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.loggers import log_file, open_loggers


def runs(path: Path) -> list[str]:
    return sorted(found.name for found in (path / "wandb").glob("*run-*"))


def test_csv_and_tensorboard_write_into_the_run_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with open_loggers([CsvLogger, TensorboardLogger], LoggedRun(RunFolder(tmp_path), {})) as opened:
        for logger in opened:
            logger.log_metrics({"train/loss": 1.5}, step=3)
    assert read_metrics(tmp_path / "metrics.csv")[0]["train/loss"] == 1.5
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_tensorboard_that_is_not_installed_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
    with pytest.raises(ConfigError, match=r"pip install 'seqloom\[tensorboard\]'"):
        TensorboardLogger(run=LoggedRun(RunFolder(tmp_path), {}))


@pytest.mark.slow
def test_an_offline_wandb_run_that_is_resumed_becomes_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    recipe = partial(WandbLogger, project="seqloom-test")
    folder = RunFolder(tmp_path)
    ids = []
    for is_resumed in (False, True):
        with open_loggers([recipe], LoggedRun(folder, {"seed": 1}, is_resumed)) as (logger,):
            logger.log_metrics({"train/loss": 1.0}, step=0)
            logger.log_hyperparams({"config": {"seed": 1}})  # As Lightning does.
            config = dict(logger.experiment.config)  # type: ignore[attr-defined]
        ids.append(folder.wandb_id.read_text().strip())
    assert len(runs(tmp_path)) == 2
    assert ids[0] != ids[1]
    assert config == {"seed": 1, "resumed_from": ids[0]}


def test_disabled_wandb_leaves_no_run_and_learns_of_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    codes = []

    class Spy(WandbLogger):
        def finish(self, exit_code: int) -> None:
            codes.append(exit_code)
            super().finish(exit_code)

    def fail() -> None:
        with open_loggers([Spy], LoggedRun(RunFolder(tmp_path), {})) as (logger,):
            logger.log_metrics({"a": 1.0}, step=0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with open_loggers([Spy], LoggedRun(RunFolder(tmp_path), {})):
        pass
    assert codes == [1, 0]
    assert runs(tmp_path) == []


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
