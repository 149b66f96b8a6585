"""Clips in, answers out: which clips an input names, every answer in its place, bad clips named."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clip_fakes import GreyClip, GreyLearner, answered, loaded_run

from seqloom.commands import clips as clips_module
from seqloom.commands import predict as predict_module
from seqloom.commands.clip_files import named_clips, shown_path
from seqloom.commands.clips import ClipAnswers, predict_clips
from seqloom.commands.predict import predict
from seqloom.data.spec import FeatureSide
from seqloom.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """a.mp4, B/c.avi, B/notes.md, d/ (pictures), .hidden/e.mp4; the working folder."""
    for name in ("a.mp4", "B/c.avi", "B/notes.md", "d/0.png", "d/1.png", ".hidden/e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(input_path: str) -> list[str]:
    return [path for group in named_clips(input_path, 2) for path in group]


# Which clips an input names


@pytest.mark.parametrize(
    ("input_path", "clips"),
    [
        (".", ["B/c.avi", "a.mp4", "d"]),
        ("B", ["B/c.avi"]),
        ("B/", ["B/c.avi"]),
        ("d", ["d"]),
        ("a.mp4", ["a.mp4"]),
        ("B/notes.md", ["B/notes.md"]),
        ("*.mp4", ["a.mp4"]),
        ("*", ["B/c.avi", "a.mp4", "d"]),
        ("**/*", ["B/c.avi", "a.mp4", "d"]),
        ("**/*.avi", ["B/c.avi"]),
        ("[ab].mp4", ["a.mp4"]),
    ],
)
def test_an_input_names_clips_in_order(folder: Path, input_path: str, clips: list[str]) -> None:
    assert found(input_path) == clips


def test_a_name_with_wildcards_that_is_there_is_itself(folder: Path) -> None:
    (folder / "[ab].mp4").touch()
    assert found("[ab].mp4") == ["[ab].mp4"]


@pytest.mark.parametrize(
    ("input_path", "words"),
    [
        ("absent.mp4", "no such file"),
        ("absent.txt", "input=absent.txt"),
        ("*.webm", r"no clip .*\.mp4"),
        ("empty", r"no clip .*\.mp4"),
    ],
)
def test_an_input_without_a_clip_is_named(folder: Path, input_path: str, words: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError, match=words):
        found(input_path)


def test_a_list_has_a_path_a_line(folder: Path) -> None:
    (folder / "list.txt").write_text("a.mp4\r\n\nabsent file.mp4\n  \nd")
    assert found("list.txt") == ["a.mp4", "absent file.mp4", "d"]
    (folder / "list.txt").write_text("")
    assert found("list.txt") == []
    (folder / "list.txt").write_bytes(b"a.mp4\n\xff\n")
    with pytest.raises(DataError, match=r"list\.txt:2"):
        found("list.txt")


def test_clips_of_standard_input_come_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: reading))
    clips = named_clips("-", 8)
    os.write(writing, b"a.mp4\n")
    assert next(clips) == ["a.mp4"]
    os.write(writing, b"b.mp4\nc.mp4\n")
    assert next(clips) == ["b.mp4", "c.mp4"]
    os.close(writing)
    assert list(clips) == []
    os.close(reading)


def test_a_path_is_one_column_of_text() -> None:
    assert shown_path("a\tb\nc \udcff") == "a\\tb\\nc \\xff"


# Answers


def write_list(folder: Path, names: Sequence[str]) -> str:
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in names))
    return "list.txt"


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["bright"]),
        ({"with_scores": True}, ["0.7500\tbright"]),
        ({"num_best": 3}, ["bright", "dark", ""]),
        ({"num_best": 3, "with_scores": True}, ["0.7500\tbright", "0.2500\tdark", "\t"]),
    ],
)
def test_a_clip_is_as_many_lines_as_asked_for(
    folder: Path, options: dict[str, Any], lines: list[str]
) -> None:
    assert answered(GreyLearner(), "a.mp4", **options) == "".join(
        f"a.mp4\t{line}\n" for line in lines
    )


def test_many_clips_keep_their_order_and_go_in_groups(folder: Path) -> None:
    names = [f"{number}.mp4" for number in range(19, 0, -1)]
    learner = GreyLearner()
    text = answered(learner, write_list(folder, names))
    assert [line.split("\t")[0] for line in text.splitlines()] == names
    assert max(map(len, learner.batches)) == clips_module.MAX_BATCH_CLIPS


def test_an_object_a_clip_tells_all_classes(folder: Path) -> None:
    (line,) = answered(GreyLearner(), "a.mp4", form="jsonl").splitlines()
    assert json.loads(line) == {
        "path": "a.mp4",
        "answers": [{"text": "bright", "score": 0.75}],
        "probabilities": {"dark": 0.25, "bright": 0.75},
    }


def test_clips_before_a_bad_one_are_answered(folder: Path) -> None:
    stream = io.StringIO()
    names = write_list(folder, ["1.mp4", "2.mp4", "bad.mp4", "3.mp4"])
    with pytest.raises(DataError, match=r"bad\.mp4: frame 3"):
        predict_clips(
            loaded_run(GreyLearner()), input_path=names, output=stream, options=ClipAnswers()
        )
    assert stream.getvalue() == "1.mp4\tbright\n2.mp4\tbright\n"


@pytest.mark.parametrize("form", ["lines", "jsonl"])
def test_a_skipped_clip_has_an_empty_answer_a_warning_and_a_count(
    folder: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = write_list(folder, ["bad1.mp4", "2.mp4", "bad3.mp4"])
    lines = answered(GreyLearner(), names, on_error="skip", form=form).splitlines()
    if form == "lines":
        assert lines == ["bad1.mp4\t", "2.mp4\tbright", "bad3.mp4\t"]
    else:
        assert [len(json.loads(line)["answers"]) for line in lines] == [0, 1, 0]
        assert "does not decode" in json.loads(lines[0])["error"]
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in told[:-1]] == [" bad1.mp4", " bad3.mp4"]
    assert told[-1] == "2 of 3 clips could not be answered"


@pytest.mark.parametrize("key", ["every_s", "fps"])
def test_keys_of_a_timeline_need_one(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}=2.*timeline=true"):
        ClipAnswers(**{key: 2.0})


def test_a_captioner_has_no_timeline(folder: Path) -> None:
    run = loaded_run(GreyLearner(), target=FeatureSide(3))
    with pytest.raises(ConfigError, match="timeline=true"):
        predict_clips(
            run, input_path="a.mp4", output=io.StringIO(), options=ClipAnswers(timeline=True)
        )


# The command


def run_predict(monkeypatch: pytest.MonkeyPatch, run: Any, **keys: Any) -> None:
    monkeypatch.setattr(predict_module, "load_run", lambda path, overrides: run)
    predict(Path("run"), **keys)


def test_predict_asks_what_the_run_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = loaded_run(GreyLearner())
    run_predict(monkeypatch, run, input_path="a.mp4", output_path="out.tsv")
    assert (folder / "out.tsv").read_text() == "a.mp4\tbright\n"
    with pytest.raises(ConfigError, match="suggest=true"):
        run_predict(monkeypatch, run, input_path="a.mp4", suggest=True)
    (folder / "bad.mp4").touch()
    with pytest.raises(DataError, match=r"bad\.mp4"):
        run_predict(monkeypatch, run, input_path="bad.mp4", output_path="none.tsv")
    assert not (folder / "none.tsv").exists()
    run.spec = replace(run.spec, source=FeatureSide(3))
    for keys in ({"timeline": True}, {"fps": 2.0}, {"form": "jsonl"}, {"on_error": "skip"}):
        with pytest.raises(ConfigError, match="for runs that read clips"):
            run_predict(monkeypatch, run, input_path="a.mp4", **keys)


# Timelines


@pytest.fixture
def grey_clips(monkeypatch: pytest.MonkeyPatch) -> dict[str, GreyClip]:
    """Opened instead of files, by name."""
    clips = {"a.mp4": GreyClip(25), "bad.mp4": GreyClip(25, whole=False), "one.mp4": GreyClip(1)}
    monkeypatch.setattr(clips_module, "open_clip", lambda path: clips[path.name])
    return clips


def test_lines_of_a_timeline(folder: Path, grey_clips: dict[str, GreyClip]) -> None:
    names = write_list(folder, ["a.mp4", "one.mp4"])
    assert answered(GreyLearner(), names, timeline=True).splitlines() == [
        "a.mp4\t1.000\tdark\t0.9804",
        "a.mp4\t2.000\tdark\t0.9608",
        "a.mp4\t2.400\tdark\t0.9529",
        "one.mp4\t0.000\tdark\t1.0000",
    ]
    assert not grey_clips["a.mp4"].is_open
    lines = answered(GreyLearner(), "a.mp4", timeline=True, every_s=2.0, num_best=2).splitlines()
    assert [line.split("\t")[1:3] for line in lines] == [
        [time, name] for time in ("2.000", "2.400") for name in ("dark", "bright")
    ]


@pytest.mark.usefixtures("grey_clips")
def test_an_object_with_a_timeline(folder: Path) -> None:
    (line,) = answered(GreyLearner(), "a.mp4", timeline=True, form="jsonl").splitlines()
    record = json.loads(line)
    assert record["path"] == "a.mp4"
    assert [moment["time_s"] for moment in record["timeline"]] == [1, 2, 2.4]
    last = record["timeline"][-1]
    assert last["class"] == "dark"
    assert last["probability"] == last["probabilities"]["dark"] == pytest.approx(0.9529, abs=1e-4)
    assert sum(last["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("form", ["lines", "jsonl"])
@pytest.mark.usefixtures("grey_clips")
def test_a_clip_that_breaks_while_it_plays(
    folder: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = write_list(folder, ["bad.mp4", "one.mp4"])
    with pytest.raises(DataError, match=r"bad\.mp4: frame 24"):
        answered(GreyLearner(), names, timeline=True, form=form)
    text = answered(GreyLearner(), names, timeline=True, form=form, on_error="skip")
    lines = text.splitlines()
    if form == "lines":
        assert lines == [
            "bad.mp4\t1.000\tdark\t0.9804",
            "bad.mp4\t\t\t",
            "one.mp4\t0.000\tdark\t1.0000",
        ]
    else:
        bad, one = map(json.loads, lines)
        assert "frame 24" in bad["error"]
        assert len(bad["timeline"]) == len(one["timeline"]) == 1
    assert "1 of 2 clips could not be answered" in capsys.readouterr().err
