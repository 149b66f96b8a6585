"""A run folder in use: loaded where its parts agree, never run as code, evaluated, predicted."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seqloom.commands.evaluate import evaluate
from seqloom.commands.loading import load_run
from seqloom.commands.predict import predict
from seqloom.commands.report import report
from seqloom.errors import ConfigError, DataError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    without = shutil.ignore_patterns("evaluations")
    return shutil.copytree(trained_run, tmp_path / "copy", ignore=without)


class Trap:
    """Pickles into a call that leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_loaded_run_translates_as_its_predictions_say(trained_run: Path) -> None:
    loaded = load_run(trained_run)
    lines = (trained_run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [json.loads(line) for line in lines]
    found = loaded.learner.answer([line["input"] for line in expected])
    assert [answers[0].text for answers in found] == [line["prediction"] for line in expected]


def test_no_run_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_run(tmp_path / "absent")


@pytest.mark.parametrize(("status", "word"), [("running", "wait"), ("failed", "train.log")])
def test_a_run_without_checkpoint_says_what_to_do(run: Path, status: str, word: str) -> None:
    shutil.rmtree(run / "checkpoints")
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"status": status}))
    with pytest.raises(DataError, match=word):
        load_run(run)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_truncated_checkpoint_is_named(run: Path, size: int) -> None:
    checkpoint = run / "checkpoints" / "best.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:size])
    with pytest.raises(DataError, match=r"best\.ckpt"):
        load_run(run)


@pytest.mark.parametrize("part", ["state_dict", "vocabulary", "config"])
def test_a_checkpoint_without_a_part_is_named(run: Path, part: str) -> None:
    checkpoint = run / "checkpoints" / "best.ckpt"
    state = torch.load(checkpoint, weights_only=True)
    (state if part == "state_dict" else state["hyper_parameters"]).pop(part)
    torch.save(state, checkpoint)
    with pytest.raises(DataError, match=r"best\.ckpt: .*lacks"):
        load_run(run)


def test_what_does_not_shape_weights_may_change(trained_run: Path) -> None:
    overrides = ["model.dropout=0.7", "model.locked_dropout=true", "tokenizer.bpe_dropout=0.2"]
    assert load_run(trained_run, overrides=overrides).cfg.model.dropout == 0.7


def test_a_checkpoint_from_elsewhere_never_runs_code(run: Path, tmp_path: Path) -> None:
    checkpoint = run / "checkpoints" / "best.ckpt"
    state = torch.load(checkpoint, weights_only=True)
    torch.save(state | {"trap": Trap(tmp_path / "sprung")}, checkpoint)
    with pytest.raises(DataError, match="mkdir"):
        load_run(run)
    checkpoint.write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=2))
    with pytest.raises(DataError):
        load_run(run)
    assert not zipfile.is_zipfile(checkpoint)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "target", ["os.mkdir", "seqloom.entry.os.mkdir", "torch.os.mkdir", "torch.optim.os.mkdir"]
)
@pytest.mark.parametrize("group", ["decoding", "model", "cell"])
def test_a_config_from_elsewhere_calls_nothing_but_parts(
    run: Path, tmp_path: Path, group: str, target: str
) -> None:
    """The config and the checkpoint agree with each other, so only `build` stands in the way."""
    trap = {"_target_": target, "name": str(tmp_path / "sprung")}
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config[group] = trap
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    checkpoint = run / "checkpoints" / "best.ckpt"
    state = torch.load(checkpoint, weights_only=True)
    state["hyper_parameters"]["config"][group] = trap
    torch.save(state, checkpoint)
    with pytest.raises((ConfigError, DataError)):
        load_run(run)
    assert not (tmp_path / "sprung").exists()


def test_a_foreign_vocabulary_is_refused_with_both_names(run: Path) -> None:
    path = sorted((run / "vocabulary").iterdir())[0]
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(DataError) as error:
        load_run(run)
    assert path.name in str(error.value)
    assert "best.ckpt" in str(error.value)


def test_an_override_of_what_shapes_the_weights_is_refused(trained_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.*best\.ckpt"):
        load_run(trained_run, overrides=["model.hidden_size=32"])


def test_evaluating_the_own_test_split_gives_the_scores_of_the_summary(
    trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = evaluate(trained_run)
    summary = json.loads((trained_run / "summary.json").read_text())
    assert metrics == pytest.approx(summary["metrics"])
    assert "13a" in capsys.readouterr().out
    written = json.loads((trained_run / "evaluations/test/metrics.json").read_text())
    assert written["metrics"] == metrics
    own = (trained_run / "predictions.jsonl").read_text()
    assert (trained_run / "evaluations/test/predictions.jsonl").read_text() == own


def test_evaluating_other_data_needs_no_other_split(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "other.en").write_text("Monday\nTuesday\n\u00fc\n", encoding="utf-8")
    (tmp_path / "other.de").write_text("Montag\nDienstag\n\u00fc\n", encoding="utf-8")
    overrides = ["data=parallel_text", f"data.root={tmp_path}", "data.test=other"]
    metrics = evaluate(trained_run, [*overrides, "decoding.beam_size=3"])
    assert set(metrics) >= {"test/bleu", "test/nll"}
    (predictions,) = (trained_run / "evaluations").glob("*other*/predictions.jsonl")
    inputs = [json.loads(line)["input"] for line in predictions.read_text().splitlines()]
    assert inputs == ["Monday", "Tuesday", "\u00fc"]


def test_an_evaluation_that_fails_leaves_nothing(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        evaluate(run, ["data=parallel_text", f"data.root={tmp_path / 'absent'}"])
    assert list((run / "evaluations").iterdir()) == []


def test_prediction_keeps_lines_in_place_and_alone_equals_together(
    trained_run: Path, tmp_path: Path
) -> None:
    lines = ["Monday", "", "5 hours", "a" * 400, "   ", "\U0001f600 unknown", "3 May 2021"]
    together = _predicted(trained_run, tmp_path, lines)
    alone = [_predicted(trained_run, tmp_path, [line])[0] for line in lines]
    assert together == alone
    assert [row for row, line in enumerate(lines) if not line.strip()] == [1, 4]
    assert together[1] == together[4] == ""


def test_scores_and_answers_come_in_columns_and_rows(trained_run: Path, tmp_path: Path) -> None:
    lines = ["Monday", "", "5 hours"]
    plain = _predicted(trained_run, tmp_path, lines)
    rows = _predicted(trained_run, tmp_path, lines, num_best=2, with_scores=True)
    assert len(rows) == 6
    assert [rows[row].split("\t")[1] for row in (0, 2, 4)] == plain
    assert rows[2:4] == ["0.0000\t", ""]
    assert float(rows[0].split("\t")[0]) >= float(rows[1].split("\t")[0])


def _predicted(run: Path, folder: Path, lines: list[str], **options: Any) -> list[str]:
    source, target = folder / "input", folder / "output"
    source.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    predict(run, input_path=str(source), output_path=str(target), **options)
    return target.read_text(encoding="utf-8").split("\n")[:-1]


def test_bad_utf8_in_a_file_leaves_no_output(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"Monday\n\xff\n")
    with pytest.raises(DataError, match=r"input:2"):
        predict(
            trained_run, input_path=str(tmp_path / "input"), output_path=str(tmp_path / "output")
        )
    assert not (tmp_path / "output").exists()


def test_reports_are_written_anew(run: Path, tmp_path: Path) -> None:
    (run / "report.html").unlink()
    report(str(tmp_path))
    assert (run / "report.html").is_file()
    with pytest.raises(ConfigError, match="there is no such folder"):
        report(str(tmp_path / "absent"))


@pytest.mark.slow
def test_a_typed_line_is_answered_before_the_next_and_a_closed_pipe_is_quiet(
    trained_run: Path,
) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "seqloom", "predict", f"run={trained_run}", "input=-", "output=-"],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    for line in ("Monday", "", "5 hours"):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith("\n")
    process.stdout.close()
    process.stdin.write("Tuesday\n" * 10)
    process.stdin.close()
    with process.stderr as stream:
        errors = stream.read()
    assert process.wait(timeout=60) == 0, errors
    assert "Traceback" not in errors
