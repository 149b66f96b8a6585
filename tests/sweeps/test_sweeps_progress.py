"""A run seen from outside: whatever the writer does, each value is seen once and none is missed."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seqloom.runs import MetricsFile, RunFolder, Summary, read_metrics
from seqloom.runs.lock import RunLock
from seqloom.sweeps.progress import Progress, ProgressReader, span
from seqloom.sweeps.rows import KEYS, RowReader

Row = dict[str, float]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def merged(rows: list[Row]) -> dict[float, Row]:
    """Values by step, without the clock; refuses a value that comes twice."""
    found: dict[float, Row] = {}
    for row in rows:
        values = found.setdefault(row["step"], {})
        new = {name: value for name, value in row.items() if name not in KEYS}
        assert not values.keys() & new.keys(), "a value was handed out twice"
        values |= new
    return found


def write_run(folder: Path, *, trainer: Row | None = None, patience: int | None = None) -> None:
    limits = {"max_steps": -1, "max_epochs": None, "max_time": None} | (trainer or {})
    RunFolder(folder).write_config(
        {
            "task": {"name": "copy", "monitor": "val/loss", "mode": "min"},
            "trainer": limits,
            "callbacks": {"early_stopping_patience": patience},
        }
    )
    Summary("copy").write(folder / "summary.json")


def write_rows(folder: Path, rows: list[Row]) -> None:
    """As they are, the seconds too, which a MetricsFile takes from its own clock."""
    names = list(dict.fromkeys([*KEYS, *(name for row in rows for name in row)]))
    lines = [",".join(str(row.get(name, "")) for name in names) for row in rows]
    (folder / "metrics.csv").write_text("\n".join([",".join(names), *lines]) + "\n")


def make_older(folder: Path, seconds: float) -> None:
    for path in folder.iterdir():
        os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.parametrize("seed", range(25))
def test_every_value_is_handed_out_once(tmp_path: Path, seed: int) -> None:
    """Against the file as a whole, for random writes, new columns and looks in between."""
    chance, path = random.Random(seed), tmp_path / "metrics.csv"
    reader, file, found = RowReader(path), MetricsFile(path), []
    names, step = [f"train/{letter}" for letter in "abcdef"], 0
    for _ in range(120):
        action = chance.random()
        if action < 0.1:
            file.close()
            file = MetricsFile(path)
        elif action < 0.5:
            found += reader.new_rows()
        else:
            step += chance.choice([0, 1, 7])
            new = set(chance.sample(names[: 1 + step // 20], 1)) - read_metrics_at(path, step)
            file.append(step, {name: chance.choice([chance.random(), 3.0]) for name in new})
    file.close()
    found += reader.new_rows()
    assert merged(found) == merged(read_metrics(path))
    assert reader.new_rows() == []


def read_metrics_at(path: Path, step: int) -> set[str]:
    return {name for row in read_metrics(path) if row["step"] == step for name in row}


def test_rows_come_in_order_with_their_epoch_and_time(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    reader = RowReader(tmp_path / "metrics.csv")
    assert reader.new_rows() == []
    file.append(9, {"epoch": 0, "train/loss": 2.5})
    (first,) = reader.new_rows()
    assert first == {"step": 9, "epoch": 0, "seconds": first["seconds"], "train/loss": 2.5}
    file.append(9, {"val/loss": 2.25})  # A new column, and it came later.
    (later,) = reader.new_rows()
    assert later == {"step": 9, "epoch": 0, "seconds": later["seconds"], "val/loss": 2.25}
    file.append(19, {"epoch": 1, "train/loss": float("nan")})
    assert str(reader.new_rows()[0]["train/loss"]) == "nan"
    file.close()


def test_what_a_resumed_run_repeats_is_not_handed_out_again(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    reader = RowReader(tmp_path / "metrics.csv")
    for step in range(10):
        file.append(step, {"val/loss": step})
    assert [row["step"] for row in reader.new_rows()] == list(range(10))
    file.truncate_after(4)
    assert reader.new_rows() == []
    for step in range(5, 12):
        file.append(step, {"val/loss": step})
        file.truncate_after(step)
    assert [row["step"] for row in reader.new_rows()] == [10, 11]
    file.close()


def test_a_file_that_was_written_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    """Under the same header: no row need begin where the last one did."""
    path, head = tmp_path / "metrics.csv", "step,epoch,seconds,a\n"
    reader = RowReader(path)
    path.write_text(f"{head}0,0,1.123456,1\n1,0,2.123456,1\n")
    assert len(reader.new_rows()) == 2
    path.write_text(f"{head}0,0,1.5,1\n2,0,2.5,1\n")
    assert [row["step"] for row in reader.new_rows()] == [2]


def test_two_writes_with_one_time_stamp_are_both_seen(tmp_path: Path) -> None:
    """A row that grew in place, by as much as its clock became shorter."""
    path, head = tmp_path / "metrics.csv", "step,epoch,seconds,a,b\n"
    reader, now = RowReader(path), time.time_ns() + 10**9
    for text, found in (("7,0,1.25,1,\n", {"a": 1}), ("7,0,1.5,1,2\n", {"b": 2})):
        path.write_text(head + text)
        os.utime(path, ns=(now, now))
        (row,) = reader.new_rows()
        assert {name: row[name] for name in row if name not in KEYS} == found


def test_a_torn_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    text = b"step,epoch,seconds,val/loss\n0,0,1.5,3.25\n10,0,2.5,\n20,1,3.5,2.125\n"
    path, reader, found = tmp_path / "metrics.csv", RowReader(tmp_path / "metrics.csv"), []
    path.write_bytes(b"")
    for place in range(len(text)):
        with open(path, "ab") as file:
            file.write(text[place : place + 1])
        found += reader.new_rows()
    assert found == read_metrics(path)


def test_what_is_left_of_a_longer_row_is_no_row(tmp_path: Path) -> None:
    """A row is written over its older form, then the file is cut: between the two there is more."""
    path, head = tmp_path / "metrics.csv", "step,epoch,seconds,a,b\n"
    reader = RowReader(path)
    path.write_text(f"{head}7,0,1.123456789,1,\n")
    assert reader.new_rows()[0]["a"] == 1
    path.write_text(f"{head}7,0,1.2,1,2\n456,\n")
    assert reader.new_rows() == [{"step": 7, "epoch": 0, "seconds": 1.2, "b": 2}]
    path.write_text(f"{head}7,0,1.2,1,2\n8,0,1.3,1,2\n")
    assert [row["step"] for row in reader.new_rows()] == [8]


@pytest.mark.parametrize(
    "text", ["", "\n", "step\n", "a,b\n1,2\n", "step,a\nx,y\n1\n,2\n", "\0\xff"]
)
def test_a_file_that_holds_no_rows_gives_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    assert RowReader(tmp_path / "metrics.csv").new_rows() == []
    assert ProgressReader(tmp_path).read().step == 0


def test_nothing_there_is_waiting(tmp_path: Path) -> None:
    assert ProgressReader(tmp_path / "none").read() == Progress()
    assert ProgressReader(tmp_path).read() == Progress()


@pytest.mark.parametrize(
    ("trainer", "fraction"),
    [
        ({"max_steps": 200}, 0.25),
        ({"max_epochs": 4}, 50 / (4 * 20)),  # The second epoch began after step 39 of 2 x 20.
        ({"max_time": "00:00:01:40"}, 0.5),
        ({"max_steps": 200, "max_epochs": 4}, 50 / (4 * 20)),  # Whichever comes first.
        ({}, None),
    ],
)
def test_fraction_is_by_the_limit_that_comes_first(
    tmp_path: Path, trainer: Row, fraction: float | None
) -> None:
    write_run(tmp_path, trainer=trainer)
    rows = [{"step": step, "epoch": step // 20, "seconds": step + 1} for step in range(50)]
    write_rows(tmp_path, rows)
    with RunFolder(tmp_path, RunLock(tmp_path)):
        progress = ProgressReader(tmp_path).read()
    assert progress.state == "running"
    assert (progress.step, progress.epoch) == (50, 2)
    assert progress.fraction == fraction
    if fraction is None:
        assert progress.left_s is None
    else:
        assert progress.left_s == pytest.approx(50 / fraction - 50, abs=2)


def test_time_left_is_unknown_where_patience_may_end_it(tmp_path: Path) -> None:
    write_run(tmp_path, trainer={"max_steps": 200}, patience=3)
    write_rows(tmp_path, [{"step": 99, "epoch": 0, "seconds": 10}])
    with RunFolder(tmp_path, RunLock(tmp_path)):
        progress = ProgressReader(tmp_path).read()
    assert (progress.fraction, progress.left_s) == (0.5, None)


def test_no_time_is_left_to_tell_when_only_the_test_goes_on(tmp_path: Path) -> None:
    write_run(tmp_path, trainer={"max_steps": 100})
    write_rows(tmp_path, [{"step": 99, "epoch": 0, "seconds": 10}])
    with RunFolder(tmp_path, RunLock(tmp_path)):
        progress = ProgressReader(tmp_path).read()
    assert (progress.state, progress.fraction, progress.left_s) == ("running", 1.0, None)


def test_time_left_is_unknown_in_the_first_epoch(tmp_path: Path) -> None:
    write_run(tmp_path, trainer={"max_epochs": 4})
    write_rows(tmp_path, [{"step": 99, "epoch": 0, "seconds": 10}])
    with RunFolder(tmp_path, RunLock(tmp_path)):
        assert ProgressReader(tmp_path).read().left_s is None


@pytest.mark.parametrize(("mode", "best"), [("min", 1.0), ("max", 3.0)])
def test_best_and_latest_value_of_an_objective(tmp_path: Path, mode: str, best: float) -> None:
    write_run(tmp_path)
    nan = float("nan")
    write_rows(
        tmp_path, [{"step": k, "val/f1": v} for k, v in enumerate([2.0, 1.0, nan, 3.0, 2.5])]
    )
    progress = ProgressReader(tmp_path, "val/f1", mode).read()
    assert (progress.latest, progress.best) == (2.5, best)


def test_an_ended_run_is_as_its_summary_says(tmp_path: Path) -> None:
    write_run(tmp_path, trainer={"max_steps": 200})
    write_rows(tmp_path, [{"step": 9, "epoch": 0, "seconds": 10, "val/loss": 2}])
    Summary("copy", status="failed", error="no\nroom", steps=12, seconds=34).write(
        tmp_path / "summary.json"
    )
    progress = ProgressReader(tmp_path).read()
    assert (progress.state, progress.note) == ("failed", "no room")
    assert (progress.step, progress.seconds, progress.left_s) == (12, 34, None)


def test_a_killed_run_gives_no_sign_of_life(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_rows(tmp_path, [{"step": 9, "epoch": 0, "seconds": 10, "val/loss": 2}])
    code = "import sys, pathlib; from seqloom.runs.lock import RunLock; import os, signal\n"
    code += "RunLock(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert (tmp_path / "run.lock").exists()
    make_older(tmp_path, 300)
    progress = ProgressReader(tmp_path).read()
    assert (progress.state, progress.note) == ("interrupted", "no sign of life for 5 min")


@pytest.mark.parametrize(
    ("host", "note"),
    [(socket.gethostname(), "nothing new for 20 min"), ("elsewhere", "no sign of life for 20 min")],
)
def test_a_silent_run_is_said_to_be_so(tmp_path: Path, host: str, note: str) -> None:
    """Its process lives, or lives on another machine, which nobody here can tell."""
    write_run(tmp_path, trainer={"max_steps": 20})
    write_rows(tmp_path, [{"step": 9, "epoch": 0, "seconds": 10, "val/loss": 2}])
    with RunFolder(tmp_path, RunLock(tmp_path)):
        holder = json.loads((tmp_path / "run.lock").read_text())
        (tmp_path / "run.lock").write_text(json.dumps(holder | {"host": host}))
        assert ProgressReader(tmp_path).read().note == ""
        make_older(tmp_path, 1200)
        progress = ProgressReader(tmp_path).read()
    assert (progress.state, progress.note, progress.left_s) == ("running", note, None)


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "run.lock", "metrics.csv"])
def test_a_damaged_file_is_no_error(tmp_path: Path, name: str) -> None:
    write_run(tmp_path)
    for text in ("", "{", "[1]", "\0\xff", "a: [", "null"):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
        assert ProgressReader(tmp_path).read().state in ("waiting", "interrupted")


def test_looking_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path)
    write_rows(tmp_path, [{"step": 9, "epoch": 0, "seconds": 10, "val/loss": 2}])

    def state() -> list[tuple[str, int, int]]:
        about = [(path.name, path.stat()) for path in sorted(tmp_path.iterdir())]
        return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in about]

    before, reader = state(), ProgressReader(tmp_path)
    reader.new_rows(), reader.read(), reader.read()
    assert state() == before


def test_rows_and_progress_are_independent(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_rows(tmp_path, [{"step": 9, "epoch": 0, "seconds": 10, "val/loss": 2}])
    reader = ProgressReader(tmp_path)
    assert reader.read().latest == 2
    assert len(reader.new_rows()) == 1
    assert reader.read().latest == 2


def test_a_look_that_finds_nothing_new_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,a\n" + "".join(f"{step},1\n" for step in range(1000)))
    os.utime(path, (time.time() - 10,) * 2)
    reader = RowReader(path)
    assert len(reader.new_rows()) == 1000
    parsed: list[bytes] = []
    original: Callable[[bytes], Row | None] = reader._row
    monkeypatch.setattr(reader, "_row", lambda line: parsed.append(line) or original(line))
    assert reader.new_rows() == []
    assert not parsed
    with open(path, "a") as file:
        file.write("1000,2\n")
    assert [row["a"] for row in reader.new_rows()] == [2]
    assert len(parsed) == 2  # The new row, and the one before it, which might have grown.


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (300, "5 min"), (12000, "3 h 20 min"), (187200, "2 d 4 h")],
)
def test_a_span_is_said_as_people_do(seconds: float, text: str) -> None:
    assert span(seconds) == text
