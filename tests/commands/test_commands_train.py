"""Train: the folder of the contract, a true summary whatever happens, exact resumption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from seqloom.commands import fitting
from seqloom.commands.train import JOIN_VARIABLE, train
from seqloom.config import resume_config
from seqloom.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
TinyConfig = Callable[..., DictConfig]


def summary_of(run: Path) -> dict[str, object]:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def assert_same_weights(left: Path, right: Path) -> None:
    expected, found = weights_of(left), weights_of(right)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_run_leaves_the_folder_of_the_contract(trained_run: Path) -> None:
    summary = summary_of(trained_run)
    assert summary["status"] == "finished"
    assert summary["error"] is None
    assert summary["steps"] == 4
    assert {"test/bleu", "test/chrf", "test/exact_match", "test/perplexity"} <= set(
        summary["metrics"]  # type: ignore[call-overload]
    )
    assert "13a" in str(summary["signatures"])
    names = {path.name for path in trained_run.iterdir()}
    assert {"config.yaml", "metrics.csv", "predictions.jsonl", "report.html", "train.log"} <= names
    assert {path.name for path in (trained_run / "checkpoints").iterdir()} >= {
        "best.ckpt",
        "last.ckpt",
    }
    assert "run.lock" not in names
    predictions = (trained_run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(predictions) == 16
    assert {"input", "target", "prediction", "score"} <= json.loads(predictions[0]).keys()


def test_the_summary_and_the_report_keep_the_contract(trained_run: Path) -> None:
    summary = summary_of(trained_run)
    throughput = summary["throughput"]
    assert isinstance(throughput, dict)
    for name in ("target_tokens_per_s", "examples_per_s", "padding_fraction"):
        assert throughput[f"train/{name}"] >= 0
    for name in ("peak_memory_bytes", "parameters", "versions", "seconds", "best"):
        assert summary[name]
    page = (trained_run / "report.html").read_text(encoding="utf-8")
    assert all(word in page for word in ("Curves", "Examples", "trainer.max_steps=8"))
    assert 'id="attention-' in page or "heat" in page
    assert "padding of an epoch: " in (trained_run / "train.log").read_text(encoding="utf-8")


def test_a_checkpoint_is_tensors_and_plain_values_with_config_and_vocabulary(
    trained_run: Path,
) -> None:
    state = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["hyper_parameters"]["config"]["task"]["name"] == "translation"
    hashes = state["hyper_parameters"]["vocabulary"]
    assert set(hashes) == {path.name for path in (trained_run / "vocabulary").iterdir()}


def test_the_attention_of_test_examples_is_kept(trained_run: Path) -> None:
    maps = json.loads((trained_run / "attention.json").read_text(encoding="utf-8"))
    assert len(maps) == 16
    for entry in maps:
        assert len(entry["weights"]) == len(entry["output_pieces"])
        for row in entry["weights"]:
            assert len(row) == len(entry["input_pieces"])
            assert sum(row) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "setting", ["trainer.max_epochs=0", "trainer.max_steps=0", "trainer.limit_train_batches=0"]
)
def test_a_run_that_would_train_nothing_is_refused(
    tiny_config: TinyConfig, tmp_path: Path, setting: str
) -> None:
    with pytest.raises(ConfigError, match="nothing would be trained"):
        train(tiny_config(f"run_dir={tmp_path / 'run'}", setting))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("raised", "status", "left"),
    [
        (RuntimeError("a\nb"), "failed", RuntimeError),
        (KeyboardInterrupt(), "interrupted", SystemExit),
        (SystemExit(143), "interrupted", SystemExit),
    ],
)
def test_the_summary_tells_how_a_run_ended(
    tiny_config: TinyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    status: str,
    left: type[BaseException],
) -> None:
    def broken(self: fitting.Fitting, is_resumed: bool) -> None:
        assert summary_of(tmp_path / "run")["status"] == "running"
        raise raised

    monkeypatch.setattr(fitting.Fitting, "_prepared_data", broken)
    with pytest.raises(left) as error:
        train(tiny_config(f"run_dir={tmp_path / 'run'}"))
    if isinstance(error.value, SystemExit):
        assert error.value.code == (143 if isinstance(raised, SystemExit) else 130)
    summary = summary_of(tmp_path / "run")
    assert summary["status"] == status
    assert summary["error"] == ("RuntimeError: a b" if status == "failed" else None)
    assert not (tmp_path / "run" / "run.lock").exists()
    assert JOIN_VARIABLE not in os.environ


def test_a_run_goes_on_as_if_it_had_never_stopped(tiny_config: TinyConfig, tmp_path: Path) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    longer = "trainer.max_epochs=2", "trainer.max_steps=7", "scheduler=constant"
    train(tiny_config(f"run_dir={straight}", *longer))
    train(tiny_config(f"run_dir={stopped}", *longer, "trainer.max_steps=3"))
    assert summary_of(stopped)["steps"] == 3
    metrics = train(resume_config(stopped, ["trainer.max_steps=7"]))
    assert summary_of(stopped)["steps"] == 7
    assert metrics == pytest.approx(summary_of(straight)["metrics"])
    assert_same_weights(straight / "checkpoints/last.ckpt", stopped / "checkpoints/last.ckpt")


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_over(
    tiny_config: TinyConfig, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: fitting.Fitting, is_resumed: bool) -> None:
        raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr(fitting.Fitting, "_prepared_data", killed)
        with pytest.raises(SystemExit):
            train(tiny_config(f"run_dir={tmp_path / 'run'}"))
    train(resume_config(tmp_path / "run", []))
    assert_same_weights(
        trained_run / "checkpoints/last.ckpt", tmp_path / "run/checkpoints/last.ckpt"
    )


def start(arguments: tuple[str, ...], folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "train.py"), *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_the_command_trains_is_stopped_by_sigterm_and_goes_on(
    tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    endless = ("trainer.max_epochs=10000", "trainer.max_steps=-1", "run_dir=run")
    process = start((*tiny_settings, *endless, "scheduler=constant"), tmp_path)
    metrics = tmp_path / "run" / "checkpoints" / "last.ckpt"
    while process.poll() is None and not metrics.exists():
        pass
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    summary = summary_of(tmp_path / "run")
    assert summary["status"] == "interrupted"
    steps = int(str(summary["steps"]))
    process = start(
        ("resume=run", "trainer.max_epochs=-1", f"trainer.max_steps={steps + 3}"), tmp_path
    )
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert summary_of(tmp_path / "run")["steps"] == steps + 3
    assert "test/bleu" in output
    assert "report.html" in output


@pytest.mark.slow
def test_two_processes_share_one_folder_and_follow_one_process(
    tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    process = start(
        (*tiny_settings, "run_dir=run", "strategy=ddp", "trainer.devices=2", "trainer.max_steps=2"),
        tmp_path,
    )
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert output.count("test/bleu") == 1
    summary = summary_of(tmp_path / "run")
    assert (summary["status"], summary["steps"]) == ("finished", 2)
    predictions = (tmp_path / "run" / "predictions.jsonl").read_text(encoding="utf-8")
    assert len(predictions.splitlines()) == 16
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
