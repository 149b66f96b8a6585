"""What W&B's offline files hold of a run: identity, rows, outcome and end, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wandb_records import (
    assert_same_rows,
    exit_codes_of,
    inspect,
    offline_parts,
    rows_of,
)

from seqloom.runs import MetricsFile, RunFolder, Summary, read_metrics
from seqloom.tracking import CsvLogger, WandbLogger
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.loggers import LoggerRecipe, open_loggers
from seqloom.tracking.pictures import attention_picture, confusion_picture
from seqloom.tracking.run_logger import RunLogger
from seqloom.tracking.wandb_parts import Part, find_parts, read_log

RECIPES: list[LoggerRecipe] = [CsvLogger, WandbLogger]
TASK = {"name": "digits", "topology": "sequence_to_vector", "monitor": "val/loss", "mode": "min"}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "SEQLOOM_SWEEP"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder with what a run leaves beside its metrics."""
    folder = RunFolder(tmp_path / "digits" / "run")
    folder.path.mkdir(parents=True)
    summary = Summary(task="digits", status="finished", parameters=12, seconds=3.5)
    summary.metrics = {"test/accuracy": 0.5}
    summary.best = {"monitor": "val/loss", "score": 0.5, "step": 2, "metrics": {"val/loss": 0.5}}
    folder.write_summary(summary)
    rows = [
        {
            "index": i,
            "input": f"row\u2028{i}",
            "target": str(i % 2),
            "prediction": "1",
            "score": -0.1,
        }
        for i in range(120)
    ]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]  # as runs write them
    folder.predictions.write_text("".join(lines), encoding="utf-8")
    entry = {"index": 0, "input_pieces": ["$a", "b"], "output_pieces": ["c"], "weights": [[1, 0]]}
    folder.attention.write_text(json.dumps([entry]))
    folder.checkpoints.mkdir()
    folder.best.write_bytes(b"weights")
    return folder


def log_steps(
    run: LoggedRun, first: int, last: int, *, recipes: list[LoggerRecipe] = RECIPES
) -> None:
    """A session that begins behind `first` - 1 and ends at `last` - 1; two calls a step."""
    with open_loggers(recipes, run) as loggers:
        for logger in loggers:
            assert isinstance(logger, RunLogger)
            logger.truncate_after(first - 1)
        for step in range(first, last):
            for logger in loggers:
                logger.log_metrics({"train/loss": 1 / (step + 1), "epoch": 0}, step=step)
                logger.log_metrics({"val/loss": abs(step - 2) + 0.5}, step=step)


def test_a_resumed_offline_run_stays_one_with_every_step_once(folder: RunFolder) -> None:
    log_steps(LoggedRun(folder, {"task": TASK}), 0, 6)
    identity = folder.wandb_id.read_text().strip()
    log_steps(LoggedRun(folder, {"task": TASK}, is_resumed=True), 4, 9)
    assert folder.wandb_id.read_text().strip() == identity
    (part,) = offline_parts(folder.path)
    assert part.name.endswith(identity)
    records = inspect(part)
    assert_same_rows(rows_of(records), read_metrics(folder.metrics))
    assert [row["_step"] for row in rows_of(records)] == list(range(9))
    assert exit_codes_of(records) == [0]
    # Ours reads what W&B's reads.
    read = Part.read(part)
    assert read.steps == list(range(9))
    assert read.exit_code == 0
    assert read.summary["val/loss"] == {"min": 0.5}
    assert read.summary["train/loss"] == pytest.approx(1 / 9)


def test_an_older_part_stays_until_the_new_one_has_its_end(folder: RunFolder) -> None:
    run = LoggedRun(folder, {"task": TASK})
    log_steps(run, 0, 4)
    logger = WandbLogger(run=run)
    logger.truncate_after(2)
    assert len(offline_parts(folder.path)) == 2
    logger.finish(1)
    # metrics.csv says four steps, this part three: it does not stand for the older one.
    assert len(offline_parts(folder.path)) == 2
    assert [Part.read(part).exit_code for part in offline_parts(folder.path)] == [0, 1]


def test_a_resume_that_fails_before_its_first_step_loses_nothing(folder: RunFolder) -> None:
    run = LoggedRun(folder, {"task": TASK}, is_resumed=True)
    log_steps(run, 0, 4)

    def fail() -> None:
        with open_loggers(RECIPES, run) as loggers:
            _ = loggers[1].experiment  # type: ignore[attr-defined]
            raise ValueError("nothing fits")

    with pytest.raises(ValueError, match="nothing fits"):
        fail()
    (part,) = offline_parts(folder.path)
    assert Part.read(part).steps == [0, 1, 2, 3]
    assert Part.read(part).exit_code == 1


def test_the_outcome_is_in_the_offline_part(folder: RunFolder) -> None:
    with open_loggers(RECIPES, LoggedRun(folder, {"task": TASK})) as loggers:
        for logger in loggers:
            logger.log_metrics({"val/loss": 0.5, "epoch": 0}, step=0)
    (path,) = offline_parts(folder.path)
    part = Part.read(path)
    assert part.summary["test/accuracy"] == 0.5
    assert part.summary["best/score"] == 0.5
    assert part.summary["parameters"] == 12
    assert part.summary["seconds"] == 3.5
    assert part.summary["examples"]["nrows"] == 100
    assert part.steps == [0]
    (table,) = path.glob("files/media/table/examples*.json")
    told = json.loads(table.read_text())
    assert told["columns"] == ["input", "target", "prediction", "score"]
    assert told["data"][1] == ["row\u20281", "1", "1", -0.1]
    pictures = [file.name for file in path.glob("files/media/images/**/*.png")]
    assert sorted(name.split("_")[0] for name in pictures) == ["0", "confusion"]
    kinds = [record["type"] for record in inspect(path)]
    assert kinds.count("artifact") == 1  # the table's


def test_the_best_weights_are_an_artifact_where_asked_for(folder: RunFolder) -> None:
    def recipe(*, run: LoggedRun) -> WandbLogger:
        return WandbLogger(upload_checkpoint="best", upload_examples=False, run=run)

    log_steps(LoggedRun(folder, {"task": TASK}), 0, 1, recipes=[CsvLogger, recipe])
    (path,) = offline_parts(folder.path)
    (artifact,) = (r["artifact"] for r in inspect(path) if r["type"] == "artifact")
    assert artifact["type"] == "model"
    (entry,) = artifact["manifest"]["contents"]
    assert entry["path"] == "best.ckpt"
    assert Path(entry["local_path"]).read_bytes() == b"weights"
    assert not (path / "artifacts").exists() or not list((path / "artifacts").rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("sweep", "group", "kind"),
    [(None, "digits-run", "train"), ("digits/2026-11-24_10-00-00", None, "sweep")],
)
def test_a_run_says_what_it_belongs_to(
    folder: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    sweep: str | None,
    group: str | None,
    kind: str,
) -> None:
    if sweep is not None:
        monkeypatch.setenv("SEQLOOM_SWEEP", sweep)
    monkeypatch.setenv("WANDB_RUN_ID", "chosen01")
    log_steps(LoggedRun(folder, {"task": TASK, "seed": 3}), 0, 1)
    assert folder.wandb_id.read_text() == "chosen01\n"
    part = Part.read(offline_parts(folder.path)[0])
    assert part.run.run_id == "chosen01"
    assert part.run.run_group == (group or str(sweep).replace("/", "-"))
    assert part.run.job_type == kind
    assert list(part.run.tags) == ["digits"]
    assert part.config["seed"] == 3


class Online:
    """A run of W&B's that has the steps before `step`, as a server says."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.told: list[tuple[int, float]] = []

    def log(self, values: dict[str, float], step: int) -> None:
        self.told.append((step, values["loss"]))


@pytest.mark.parametrize(("first", "told"), [(0, [0, 1, 2]), (2, [2]), (5, [])])
def test_online_is_told_only_what_the_server_lacks(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, first: int, told: list[int]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    metrics = MetricsFile(folder.metrics)
    for step in range(5):
        metrics.append(step, {"loss": float(step)})
    metrics.close()
    logger = WandbLogger(run=LoggedRun(folder, {}, is_resumed=True))
    logger._experiment = Online(first)
    logger.truncate_after(2)
    assert logger._experiment.told == [(step, float(step)) for step in told]


def test_an_id_of_before_wins_over_the_agents(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.wandb_id.write_text("before01\n")
    monkeypatch.setenv("WANDB_RUN_ID", "chosen01")
    assert WandbLogger(run=LoggedRun(folder, {})).version == "before01"


def test_what_is_torn_is_read_up_to_there(folder: RunFolder, tmp_path: Path) -> None:
    log_steps(LoggedRun(folder, {"task": TASK}), 0, 30)
    (part,) = offline_parts(folder.path)
    (file,) = part.glob("*.wandb")
    whole = [*read_log(file)]
    data = file.read_bytes()
    torn = tmp_path / "torn.wandb"
    before = 0
    for size in (0, 3, 7, 10, len(data) // 2, len(data) - 1, len(data)):
        torn.write_bytes(data[:size])
        read = [*read_log(torn)]
        assert read == whole[: len(read)]
        assert len(read) >= before
        before = len(read)
    assert before == len(whole)
    torn.write_bytes(b"not a log of W&B")
    assert not [*read_log(torn)]


def test_an_empty_folder_is_a_part_without_rows(tmp_path: Path) -> None:
    empty = tmp_path / "wandb" / "offline-run-20260101_000000-abc"
    empty.mkdir(parents=True)
    assert find_parts(tmp_path, "abc") == [empty]
    assert find_parts(tmp_path, "xyz") == []
    part = Part.read(empty)
    assert (part.rows, part.exit_code, part.run) == ([], None, None)


def test_pictures_are_drawn_only_of_what_they_show() -> None:
    entry: dict[str, Any] = {"input_pieces": ["a"], "output_pieces": ["b"], "weights": [[1.0]]}
    assert attention_picture(entry) is not None
    assert attention_picture({"index": 0}) is None
    assert attention_picture({**entry, "output_pieces": [], "weights": []}) is None
    assert confusion_picture([]) is None
    classes = [{"target": str(i), "prediction": str(i)} for i in range(41)]
    assert confusion_picture(classes[:40]) is not None
    assert confusion_picture(classes) is None
    # A darker cell is more: the picture of a perfect classifier is dark on its diagonal alone.
    picture = confusion_picture([{"target": n, "prediction": n} for n in ("no", "yes")])
    assert picture is not None
    pixels = np.asarray(picture).astype(int)
    is_dark_blue = (pixels[..., 0] < 50) & (pixels[..., 2] > 80)
    rows, columns = np.nonzero(is_dark_blue)
    assert len(rows) > 100
    assert np.corrcoef(rows, columns)[0, 1] > 0.5


def test_nothing_is_written_outside_the_run_folder(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    log_steps(LoggedRun(folder, {"task": TASK}), 0, 2)
    assert not list(home.rglob("*staging*"))
    (part,) = offline_parts(folder.path)
    assert list(part.rglob("*staging*"))
