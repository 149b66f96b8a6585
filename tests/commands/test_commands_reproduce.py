"""`reproduce`: a run trained again is the same, bit for bit; whatever is not is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig

from seqloom.__main__ import main
from seqloom.commands.agreement import compare
from seqloom.commands.repetition import config_again, num_saved
from seqloom.commands.reproduce import reproduce
from seqloom.commands.train import train
from seqloom.config import resume_config
from seqloom.errors import ConfigError, DataError
from seqloom.runs import RunFolder, read_metrics
from seqloom.runs.provenance import read_environment
from seqloom.tracking.step_limit import StepLimit

TinyConfig = Callable[..., DictConfig]
TRAIN = Path(__file__).resolve().parents[2] / "train.py"
# 16 batches an epoch; the schedule, dropout and order all know where in the run they are.
SETTINGS = (
    "data.num_train=128",
    "batching.batch_size=4",
    "model.dropout=0.1",
    "precision=fp32",
    "trainer.max_epochs=2",
    "trainer.max_steps=-1",
    "trainer.log_every_n_steps=1",
    "callbacks.checkpoint_every_n_steps=3",
)


@pytest.fixture
def copied(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(trained_run, tmp_path / "copy")


def change(run: Path, name: str, changes: dict[str, Any]) -> None:
    """Sets keys of config.yaml or summary.json; `a.b` is a key inside."""
    path = run / name
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *groups, last = key.split(".")
        inside = values
        for group in groups:
            inside = inside[group]
        inside[last] = value
    path.write_text(json.dumps(values), encoding="utf-8")


def change_weight(run: Path, name: str = "best.ckpt") -> str:
    """Changes the last bit of one number of a checkpoint; returns the tensor's name."""
    path = run / "checkpoints" / name
    state = torch.load(path, weights_only=True)
    key = next(iter(state["state_dict"]))
    weights = state["state_dict"][key].flatten()
    weights[0] = torch.nextafter(weights[0], torch.tensor(9.0))
    torch.save(state, path)
    return key


def start(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(TRAIN), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def stop(run: Path, process: subprocess.Popen[bytes], number: int, *, after: int) -> None:
    """Sends a signal when so many updates are logged."""
    while process.poll() is None and len(read_metrics(run / "metrics.csv")) < after:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before its signal"
    process.send_signal(number)
    process.wait(60)


# Runs that are trained again.


@pytest.fixture(scope="module")
def resumed(tiny_settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed by SIGKILL and resumed."""
    run = tmp_path_factory.mktemp("resumed") / "run"
    stop(run, start(*tiny_settings, *SETTINGS, f"run_dir={run}"), signal.SIGKILL, after=8)
    assert start(f"resume={run}").wait(120) == 0
    return run


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_run_that_was_killed_and_resumed_is_reproduced(
    resumed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = read_environment(resumed)
    assert found is not None
    assert len(found["sessions"]) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert main(["reproduce", f"run={resumed}"]) == 0
    again = resumed.with_name("run-reproduced")
    num_rows = len(read_metrics(resumed / "metrics.csv"))
    assert f"bit for bit, {num_rows} rows of metrics, 16 predictions" in capsys.readouterr().out
    (session,) = read_environment(again)["sessions"]
    assert session["variables"]["OMP_NUM_THREADS"] == "1"
    for name in ("best.ckpt", "last.ckpt"):
        left, right = (
            torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"]
            for run in (resumed, again)
        )
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_what_was_changed_in_a_run_is_found(
    resumed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(resumed, tmp_path / "run")
    weight = change_weight(run)
    change(run, "summary.json", {"metrics.test/nll": 1.5})
    output = tmp_path / "again"
    assert main(["reproduce", f"run={run}", f"output={output}"]) == 1
    told = capsys.readouterr().out.partition("\ndifferent, of ")[2].splitlines()[1:]
    assert len(told) == 2, told
    assert told[0].startswith("  checkpoints/best.ckpt: 1 of ")
    assert f"{weight} most" in told[0]
    assert told[1].startswith("  summary.json: metrics test/nll: 1.5 then, ")


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_an_interrupted_run_is_compared_up_to_where_it_came(
    tiny_settings: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    stop(run, start(*tiny_settings, *SETTINGS, f"run_dir={run}"), signal.SIGTERM, after=8)
    folder = RunFolder(run)
    assert folder.read_summary().status == "interrupted"
    steps = num_saved(folder, folder.read_summary())
    assert steps is not None
    assert 8 <= steps < 64
    assert reproduce(run) == 0
    told = capsys.readouterr().out
    assert f"compared up to update {steps}" in told
    assert f"{steps} rows of metrics" in told
    change_weight(run, "last.ckpt")
    found = compare(folder, RunFolder(run.with_name("run-reproduced")), up_to=steps)
    assert len(found.differences) == 1


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_an_interrupted_reproduction_names_what_it_leaves(resumed: Path, tmp_path: Path) -> None:
    output = tmp_path / "again"
    process = subprocess.Popen(
        [sys.executable, "-m", "seqloom", "reproduce", f"run={resumed}", f"output={output}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while process.poll() is None and not read_metrics(output / "metrics.csv"):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"nothing was compared; {output} holds what was trained so far: delete it" in told
    assert RunFolder(output).read_summary().status == "interrupted"


# What is compared.


def test_a_run_equals_its_copy(copied: Path, trained_run: Path) -> None:
    found = compare(RunFolder(trained_run), RunFolder(copied))
    state = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)
    assert found.differences == []
    assert found.num_tensors == 2 * len(state["state_dict"])
    assert found.num_rows == len(read_metrics(trained_run / "metrics.csv")) > 0
    assert found.num_predictions == 16


def test_one_bit_of_one_weight_is_a_difference(copied: Path, trained_run: Path) -> None:
    name = change_weight(copied, "last.ckpt")
    (line,) = compare(RunFolder(trained_run), RunFolder(copied)).differences
    assert line.startswith("checkpoints/last.ckpt: 1 of ")
    assert f"{name} most" in line


def test_a_row_of_metrics_is_a_difference_and_the_clock_is_none(
    copied: Path, trained_run: Path
) -> None:
    path, whole = copied / "metrics.csv", RunFolder(trained_run)
    header, *lines = path.read_text().splitlines()
    rates = [f"{line},{number}" for number, line in enumerate(lines)]
    path.write_text("\n".join([f"{header},train/examples_per_s", *rates, ""]))
    assert compare(whole, RunFolder(copied)).differences == []
    names, cells = header.split(","), lines[0].split(",")
    cells[names.index("seconds")] = "99"
    path.write_text("\n".join([header, ",".join(cells), *lines[1:], ""]))
    assert compare(whole, RunFolder(copied)).differences == []
    cells[names.index("val/loss")] = "0.5"
    path.write_text("\n".join([header, ",".join(cells), *lines[1:], ""]))
    (line,) = compare(whole, RunFolder(copied)).differences
    assert line.startswith("metrics.csv: 1 of 2 rows, first step 3, val/loss: ")
    assert line.endswith(" then, 0.5 now")
    path.write_text("\n".join([header, *lines[:-1], ""]))
    (line,) = compare(whole, RunFolder(copied)).differences
    assert line == "metrics.csv: 1 of 2 rows, first step 4, only then"


def test_predictions_and_missing_files_are_differences(copied: Path, trained_run: Path) -> None:
    lines = (copied / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    lines[4] = lines[4].replace("prediction", "Prediction")
    (copied / "predictions.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (copied / "checkpoints" / "best.ckpt").unlink()
    found = compare(RunFolder(trained_run), RunFolder(copied)).differences
    assert found == [
        "checkpoints/best.ckpt: only then",
        "predictions.jsonl: 1 of 16 lines, first line 5",
    ]


# What is trained again.


def again(run: Path) -> DictConfig:
    folder = RunFolder(run)
    summary = folder.read_summary()
    return config_again(folder, summary, num_saved(folder, summary), [])


def test_the_config_is_the_runs_own(copied: Path) -> None:
    loggers = {
        "csv": {"_target_": "seqloom.tracking.CsvLogger", "_partial_": True},
        "tensorboard": {"_target_": "seqloom.tracking.TensorboardLogger", "_partial_": True},
    }
    change(copied, "config.yaml", {"model.dropout": 0.25, "seed": 5, "logger": loggers})
    cfg = again(copied)
    assert (cfg.model.dropout, cfg.seed, list(cfg.logger)) == (0.25, 5, ["csv"])
    assert cfg.callbacks.stop_after_steps is None
    assert cfg.resume is None


def test_a_run_that_its_time_ended_is_repeated_by_its_updates(copied: Path) -> None:
    budget = {"trainer.max_time": "00:00:00:05", "trainer.max_steps": -1, "trainer.max_epochs": 9}
    change(copied, "config.yaml", budget)
    cfg = again(copied)
    assert (cfg.trainer.max_time, cfg.trainer.max_steps) == (None, 4)
    assert cfg.callbacks.stop_after_steps == 4
    # Its steps were used up before its time.
    change(copied, "config.yaml", {"trainer.max_steps": 4})
    cfg = again(copied)
    assert (cfg.trainer.max_time, cfg.trainer.max_steps) == (None, 4)
    assert cfg.callbacks.stop_after_steps is None


def test_a_step_limit_ends_a_run_after_a_validation(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(tiny_config(f"run_dir={run}", "callbacks.stop_after_steps=2"))
    summary = RunFolder(run).read_summary()
    assert (summary.status, summary.steps) == ("finished", 2)
    assert summary.best["step"] == 2
    train(resume_config(run, ["model.dropout=0"]))
    assert RunFolder(run).read_summary().steps == 2
    with pytest.raises(ConfigError, match="stop_after_steps=0"):
        StepLimit(0)


# What is refused, before anything is trained or written.


def test_a_folder_without_a_config_is_no_run(copied: Path) -> None:
    (copied / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"it holds no config\.yaml"):
        reproduce(copied)
    with pytest.raises(ConfigError, match="there is no such folder"):
        reproduce(copied / "nothing")


@pytest.mark.parametrize(
    ("status", "words"), [("running", "wait for it, or go on"), ("failed", "go on with .* first")]
)
def test_a_run_that_came_to_nothing_is_refused(copied: Path, status: str, words: str) -> None:
    change(copied, "summary.json", {"status": status})
    with pytest.raises(ConfigError, match=f"its status is {status}.*{words}"):
        reproduce(copied)


def test_an_interrupted_run_needs_a_checkpoint_and_no_clock(copied: Path) -> None:
    change(copied, "summary.json", {"status": "interrupted"})
    change(copied, "config.yaml", {"trainer.max_time": "00:01:00:00"})
    with pytest.raises(ConfigError, match=r"followed a clock \(trainer.max_time\)"):
        reproduce(copied)
    (copied / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(DataError, match="interrupted before it saved"):
        reproduce(copied)


def test_other_data_is_refused_before_training(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copied, "summary.json", {"fingerprints.data": "0" * 64})
    assert main(["reproduce", f"run={copied}"]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "the run was trained on other data (000000000000)" in told
    assert not copied.with_name("copy-reproduced").exists()


def test_an_output_that_holds_something_is_refused_by_its_own_name(
    copied: Path, trained_run: Path
) -> None:
    with pytest.raises(ConfigError, match=r"^output=.* it already holds something; name a folder"):
        reproduce(copied, trained_run)
    with pytest.raises(ConfigError, match=r"^output=.* it is not a folder"):
        reproduce(copied, copied / "summary.json")


def test_what_differs_around_a_run_is_told_first(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "environment.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found["sessions"][0]["packages"]["numpy"] = "0.1"
    found["sessions"].append({"overrides": ["resume=copy", "trainer.max_epochs=3"]})
    path.write_text(json.dumps(found), encoding="utf-8")
    change(copied, "summary.json", {"fingerprints.data": "0" * 64})
    with pytest.raises(DataError):
        reproduce(copied)
    told = capsys.readouterr().out
    assert [line.split()[:2] for line in told.splitlines() if "numpy" in line] == [["numpy", "0.1"]]
    assert "session 2 went on with trainer.max_epochs=3" in told
    path.unlink()
    with pytest.raises(DataError):
        reproduce(copied)
    assert "surroundings: unknown then (no environment.json)" in capsys.readouterr().out
