"""`seqloom sync`: what it rebuilds, uploads and leaves alone, and what it says of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from seqloom.__main__ import main
from seqloom.commands import sync as module
from seqloom.runs import MetricsFile, RunFolder, Summary
from seqloom.tracking.wandb_parts import Part

CONFIG = {
    "seed": 7,
    "task": {"name": "digits", "topology": "x", "monitor": "val/loss", "mode": "min"},
    "logger": {"wandb": {"_target_": "seqloom.tracking.WandbLogger", "project": "phrases"}},
}


def make_run(path: Path, *, status: str = "finished", steps: int = 5) -> RunFolder:
    """A run folder without W&B's files."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.write_config(CONFIG)
    folder.write_summary(Summary(task="digits", status=status, parameters=12))
    metrics = MetricsFile(folder.metrics)
    for step in range(steps):
        metrics.append(step, {"epoch": 0, "val/loss": step / 3, "odd": float("nan")})
    metrics.close()
    row = {"index": 0, "input": "a", "target": "b", "prediction": "c", "score": 0.0}
    folder.predictions.write_text(json.dumps(row) + "\n")
    return folder


def parts_of(folder: RunFolder) -> list[Path]:
    return sorted((folder.path / "wandb").glob("offline-run-*"))


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An account, and an upload that always works; what it is given."""
    uploaded: list[Path] = []

    def upload(part: Path) -> bool:
        uploaded.append(part)
        (file,) = part.glob("*.wandb")
        file.with_suffix(".wandb.synced").touch()
        return True

    monkeypatch.setattr(module, "wandb_account", lambda: True)
    monkeypatch.setattr(module, "upload_part", upload)
    return uploaded


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "wandb_account", lambda: False)


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [("finished", 0), ("failed", 1), ("interrupted", 130), ("running", 137)],
)
def test_sync_rebuilds_what_the_folder_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: str, exit_code: int
) -> None:
    folder = make_run(tmp_path / "digits" / "run", status=status)
    assert main(["sync", f"runs={tmp_path}"]) == 0
    (path,) = parts_of(folder)
    part = Part.read(path)
    assert part.steps == list(range(5))
    assert [row["val/loss"] for row in part.rows] == [step / 3 for step in range(5)]
    assert all(row["odd"] != row["odd"] for row in part.rows)
    assert part.exit_code == exit_code
    assert part.config["seed"] == 7
    assert part.run.project == "phrases"
    assert (part.run.run_group, part.run.job_type) == ("digits-run", "train")
    assert part.summary["examples"]["nrows"] == 1
    told = capsys.readouterr().out
    assert f"{path}: rebuilt from metrics.csv" in told
    assert "nothing uploaded: no account, see wandb login" in told


def test_sync_keeps_a_whole_part_and_mends_a_torn_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run")
    main(["sync", f"runs={tmp_path}", "upload=false"])
    (first,) = parts_of(folder)
    capsys.readouterr()
    assert main(["sync", f"runs={folder.path}", "upload=false"]) == 0
    assert capsys.readouterr().out == f"{first}: whole\n"
    (file,) = first.glob("*.wandb")
    file.write_bytes(file.read_bytes()[:-20])
    assert main(["sync", f"runs={folder.path}", "upload=false"]) == 0
    (second,) = parts_of(folder)
    assert second != first
    assert Part.read(second).exit_code == 0
    main(["sync", f"runs={folder.path}", "upload=false", "rebuild=true"])
    (third,) = parts_of(folder)
    assert third != second
    assert len({path.name.rpartition("-")[2] for path in (first, second, third)}) == 1


def test_sync_of_a_sweep_names_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "sweeps" / "digits" / "2026-11-24" / "0")
    (folder.path.parent / "sweep.json").write_text("{}")
    main(["sync", f"runs={tmp_path}", "upload=false"])
    run = Part.read(parts_of(folder)[0]).run
    assert (run.run_group, run.job_type) == ("digits-2026-11-24", "sweep")


def test_sync_uploads_each_run_once(
    tmp_path: Path, account: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [make_run(tmp_path / name, steps=1) for name in ("a", "b")]
    assert main(["sync", f"runs={tmp_path}"]) == 0
    assert account == [part for folder in folders for part in parts_of(folder)]
    assert capsys.readouterr().out.count(": uploaded\n") == 2
    assert main(["sync", f"runs={tmp_path}"]) == 0
    assert len(account) == 2
    assert capsys.readouterr().out.count(": uploaded before\n") == 2


def test_sync_tells_of_an_upload_that_failed(
    tmp_path: Path,
    account: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make_run(tmp_path / "run", steps=0)
    monkeypatch.setattr(module, "upload_part", lambda part: False)
    assert main(["sync", f"runs={tmp_path}"]) == 1
    assert f"{parts_of(folder)[0]}: not uploaded" in capsys.readouterr().out


def test_sync_leaves_a_run_alone_that_is_being_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run")
    with RunFolder.resume(folder.path):
        assert main(["sync", f"runs={tmp_path}"]) == 0
    assert "left alone" in capsys.readouterr().out
    assert parts_of(folder) == []


def test_sync_leaves_a_run_alone_that_was_online(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run")
    folder.wandb_id.write_text("abc\n")
    (folder.path / "wandb" / "run-20261124_100000-abc").mkdir(parents=True)
    assert main(["sync", f"runs={tmp_path}"]) == 0
    assert "it was logged online" in capsys.readouterr().out
    assert parts_of(folder) == []


def test_sync_goes_on_after_a_run_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    bad.config.write_text("- no\n- settings\n")
    assert main(["sync", f"runs={tmp_path}", "upload=false"]) == 1
    assert "it holds no settings" in capsys.readouterr().out
    assert len(parts_of(good)) == 1


def test_sync_without_runs_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync", f"runs={tmp_path / 'none'}"]) == 2
    assert "there is no run" in capsys.readouterr().err


def test_wandb_marks_what_it_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    commands = []

    def run(command: list[str], check: bool) -> None:
        commands.append((command[1:], "WANDB_MODE" in module.os.environ))

    monkeypatch.setattr(module.subprocess, "run", run)
    assert not module.upload_part(tmp_path)
    (tmp_path / "run-abc.wandb.synced").touch()
    assert module.upload_part(tmp_path)
    assert commands == [(["-m", "wandb", "sync", str(tmp_path)], False)] * 2
    shutil.rmtree(tmp_path)
