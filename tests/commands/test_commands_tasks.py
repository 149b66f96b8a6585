"""Every task trains, tests, leaves its folder, and is used from it; each in a few seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from seqloom.commands.evaluate import evaluate
from seqloom.commands.predict import predict
from seqloom.commands.tasks import tasks
from seqloom.commands.train import train
from seqloom.config import plain
from seqloom.config.overrides import compose_config
from seqloom.config.paths import config_dir, groups
from seqloom.errors import ConfigError
from seqloom.runs import RunFolder

SMALL = (
    "logger=csv",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "trainer.max_steps=3",
    "precision=fp32",
    "model.hidden_size=16",
    "batching.batch_size=8",
)
OWN = {
    "translation": ("tokenizer.vocab_size=300", "model.embedding_size=8", "decoding.beam_size=2"),
    "language_modeling": ("batching.window=16", "model.embedding_size=8", "decoding.max_length=20"),
    "text_generation": ("model.embedding_size=8", "decoding.max_length=10"),
    "adding": ("data.num_steps=20",),
    "copy_memory": ("data.num_steps=5", "model.embedding_size=4"),
    "video_classification": ("frames.channels=[4,8]",),
    "video_captioning": ("frames.channels=[4,8]", "model.embedding_size=8", "decoding.beam_size=2"),
}
SIZES = {
    "language_modeling": ("data.num_train=4000", "data.num_val=1000", "data.num_test=1000"),
    "image_classification": (),
    "text_generation": (),
}
DEFAULT_SIZES = ("data.num_train=64", "data.num_val=16", "data.num_test=16")
# A line that each task can answer.
LINES = {
    "translation": "in 3 days",
    "language_modeling": "def main(",
    "text_generation": "de",
    "adding": "0.5 1 0.25 1",
    "copy_memory": None,
    "reverse": None,
    "parity": "1 0 1",
    "image_classification": " ".join(["0"] * 64),
}
TASKS = groups(config_dir())["task"]

RunOf = Callable[[str], Path]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> RunOf:
    """The folder of a task's run, which is trained where it is asked for first."""
    base = tmp_path_factory.mktemp("tasks")

    def run(task: str) -> Path:
        folder = base / task
        if not folder.is_dir():
            sizes = SIZES.get(task, DEFAULT_SIZES)
            settings = [f"task={task}", *SMALL, *OWN.get(task, ()), *sizes]
            train(plain(compose_config([*settings, f"run_dir={folder}"])))
        return folder

    return run


@pytest.mark.parametrize("task", TASKS)
def test_a_task_trains_and_leaves_its_folder(task: str, run_of: RunOf) -> None:
    folder = RunFolder.open(run_of(task))
    summary = folder.read_summary()
    assert summary.status == "finished"
    assert summary.steps == 3
    assert math.isfinite(summary.metrics["test/nll"] or math.nan)
    assert folder.report.is_file()
    lines = folder.predictions.read_text().splitlines()
    assert lines
    assert {"input", "target", "prediction", "score"} <= set(json.loads(lines[0]))


@pytest.mark.parametrize("task", TASKS)
def test_a_run_is_evaluated_again_with_the_same_scores(task: str, run_of: RunOf) -> None:
    before = RunFolder.open(run_of(task)).read_summary().metrics
    again = evaluate(run_of(task), ["trainer.accelerator=cpu"])
    assert again == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("task", [task for task in TASKS if LINES.get(task)])
def test_a_run_answers_lines(task: str, run_of: RunOf, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text(f"{LINES[task]}\n\n{LINES[task]}\n")
    predict(run_of(task), input_path=str(source), output_path=str(target), with_scores=True)
    first, empty, third = target.read_text().splitlines()
    assert first == third
    assert empty == "0.0000\t"
    float(first.split("\t")[0])


def test_a_language_model_suggests_next_words(run_of: RunOf, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("import \n")
    predict(
        run_of("language_modeling"),
        input_path=str(source),
        output_path=str(target),
        num_best=3,
        with_scores=True,
        suggest=True,
    )
    lines = target.read_text().splitlines()
    scores = [float(line.split("\t")[0]) for line in lines]
    assert len(lines) == 3
    assert scores == sorted(scores, reverse=True)
    assert 0 <= sum(scores) <= 1


def test_what_has_no_next_words_says_so(run_of: RunOf, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text("1 0 1\n")
    with pytest.raises(ConfigError, match="suggest=true"):
        predict(
            run_of("parity"),
            input_path=str(source),
            output_path=str(tmp_path / "out"),
            suggest=True,
        )


@pytest.mark.parametrize(
    ("task", "model", "use"),
    [
        ("translation", "sequence_to_vector", "model=encoder_decoder or plain"),
        ("parity", "vector_to_sequence", "model=sequence_to_vector"),
        ("reverse", "sequence_to_vector", "model=sequence_to_sequence"),
        ("text_generation", "sequence_to_vector", "model=vector_to_sequence"),
        ("video_classification", "sequence_to_vector", "model=video_classifier or frame_average"),
        ("video_captioning", "sequence_to_vector", "model=encoder_decoder"),
    ],
)
def test_a_model_of_another_shape_is_refused(
    task: str, model: str, use: str, tmp_path: Path
) -> None:
    sizes = ("data.num_train=16", "data.num_val=4", "data.num_test=4")
    settings = [f"task={task}", f"model={model}", "logger=csv", *sizes]
    if task == "translation":
        settings.append("tokenizer.vocab_size=300")
    with pytest.raises(ConfigError, match=use):
        train(plain(compose_config([*settings, f"run_dir={tmp_path / 'r'}"])))


def test_clips_need_a_front(tmp_path: Path) -> None:
    sizes = ("data.num_train=16", "data.num_val=4", "data.num_test=4")
    settings = ["task=video_classification", "frames=none", "logger=csv", *sizes]
    with pytest.raises(ConfigError, match="frames=none"):
        train(plain(compose_config([*settings, f"run_dir={tmp_path / 'r'}"])))


def test_every_task_is_listed_with_what_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.name for line in tasks()] == TASKS
    out = capsys.readouterr().out
    assert "task=adding" in out
    assert "digits, mnist" in out
