"""Resume: what cannot go on is refused before anything is written; every option runs end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import DictConfig

from seqloom.commands.loading import load_run
from seqloom.commands.train import train
from seqloom.config import resume_config
from seqloom.errors import ConfigError, DataError

TinyConfig = Callable[..., DictConfig]


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(trained_run, tmp_path / "copy")


@pytest.fixture
def any_algorithms() -> Iterator[None]:
    """Torch as it was, after a run that asks for deterministic algorithms."""
    yield
    torch.use_deterministic_algorithms(False)


def summary_of(run: Path) -> dict[str, object]:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.hidden_size=99", "another one than"),
        ("model.dropout=0.2", r"trainer\.max_steps=4.* is used up; .*trainer\.max_steps=8"),
        ("trainer.accelerator=gpu", "torch finds none here"),
    ],
)
def test_a_resume_that_cannot_be_leaves_the_run_as_it_was(
    run: Path, setting: str, words: str
) -> None:
    if setting.endswith("gpu") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    before, config = summary_of(run), (run / "config.yaml").read_bytes()
    more = ["trainer.max_steps=8", "trainer.max_epochs=2"] if setting.endswith("gpu") else []
    with pytest.raises(ConfigError, match=words):
        train(resume_config(run, [setting, *more]))
    after = summary_of(run)
    assert {**after, "seconds": 0} == {**before, "seconds": 0}
    assert (run / "config.yaml").read_bytes() == config
    load_run(run)


def test_a_resume_keeps_the_vocabulary_of_the_run(run: Path) -> None:
    (run / "vocabulary" / "tokenizer.json.1.tmp").write_text("{")
    files = {path.name: path.read_bytes() for path in (run / "vocabulary").glob("*.json")}
    changed = ["data.num_train=48", "trainer.max_steps=8", "trainer.max_epochs=3"]
    with pytest.raises(DataError, match=r"vocabulary.*last\.ckpt was trained with it"):
        train(resume_config(run, changed))
    left = {path.name: path.read_bytes() for path in (run / "vocabulary").glob("*.json")}
    assert left == files
    summary = summary_of(run)
    assert (summary["status"], summary["steps"]) == ("failed", 4)
    assert summary["metrics"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("trainer.max_time=10", "DD:HH:MM:SS"),
        ("trainer.accelerator=foo", "accelerator=foo"),
        ("trainer.gradient_clip_val=-1", "below 0"),
        ("trainer.limit_train_batches=1.5", "limit_train_batches"),
        ("trainer.num_nodes=2", "by torchrun or srun"),
    ],
)
def test_what_the_trainer_cannot_do_is_one_line(
    tiny_config: TinyConfig, tmp_path: Path, setting: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(tiny_config(f"run_dir={tmp_path / 'run'}", setting))


def test_processes_of_another_launcher_are_refused(
    tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ConfigError, match="neither torchrun nor srun"):
        train(tiny_config(f"run_dir={tmp_path / 'run'}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.wiring=first_layer", "model.num_decoder_layers=2", "cell=gru"],
        ["model.wiring=input_feeding", "attention=bahdanau", "learner.scheduled_sampling=0.5"],
        ["attention=none", "tokenizer=character"],
        ["tokenizer=unigram", "scheduler=plateau"],
        ["tokenizer.bpe_dropout=0.1", "callbacks.ema_decay=0.99"],
        ["callbacks.average_checkpoints.count=2", "callbacks.early_stopping_patience=1"],
        ["logger=tensorboard"],
        ["logger=none", "deterministic=true"],
        ["debug=limit", "batching=sorted", "decoding=greedy"],
    ],
    ids=lambda overrides: ",".join(overrides),
)
@pytest.mark.usefixtures("any_algorithms")
def test_every_option_runs_end_to_end(
    tiny_config: TinyConfig, tmp_path: Path, overrides: list[str]
) -> None:
    if overrides == ["logger=tensorboard"]:
        pytest.importorskip("tensorboard")
    metrics = train(tiny_config(f"run_dir={tmp_path / 'run'}", *overrides), overrides)
    summary = summary_of(tmp_path / "run")
    assert summary["status"] == "finished"
    assert summary["overrides"] == overrides
    assert metrics["test/nll"] > 0
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\n") > 1
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["seed"] == 1
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert ("deterministic: " in log) == ("deterministic=true" in overrides)
