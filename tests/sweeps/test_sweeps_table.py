"""The live table: it fits its window, tells each change once, and believes who knows."""

from __future__ import annotations

import dataclasses
import io
import random
import re
from pathlib import Path

import pytest
from rich.console import Console

from seqloom.runs import RunFolder, Summary
from seqloom.runs.lock import RunLock
from seqloom.sweeps.layout import shorten
from seqloom.sweeps.outcome import STATES
from seqloom.sweeps.progress import Progress
from seqloom.sweeps.record import JobRecord, SweepRecord
from seqloom.sweeps.standings import Standing, Standings, best, left_s
from seqloom.sweeps.table import LiveTable, change, headline, select

SETTINGS = ["cell=gru", "unrolling=dynamic", "optimizer.lr=0.001"]
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def record_of(jobs: list[JobRecord], num_jobs: int | None = None) -> SweepRecord:
    return SweepRecord("copy/NIGHT", "train", {"val/loss": "min"}, num_jobs or len(jobs), jobs)


def job_of(number: int, state: str = "waiting", value: float | None = None) -> JobRecord:
    values = [] if value is None else [value]
    return JobRecord(number, str(number), [*SETTINGS, f"seed={number}"], state, values, seconds=41)


def standing_of(
    number: int, state: str, *, seconds: float = 0.0, left: float | None = None
) -> Standing:
    return Standing(
        job_of(number, state),
        Progress(state, seconds=seconds, left_s=left, fraction=0.5, latest=1.5),
    )


def a_log() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=False, width=40), stream


def a_terminal(width: int, height: int) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=True, width=width, height=height, legacy_windows=False
    )
    return console, stream


def test_a_log_gets_a_line_for_each_change(tmp_path: Path) -> None:
    console, stream = a_log()
    jobs = [job_of(0, "finished", 0.5), job_of(1, "running"), job_of(2), job_of(3)]
    record = record_of(jobs)
    with LiveTable(console=console) as live:
        live.show(record, tmp_path)
        live.show(record, tmp_path)
        jobs[1] = dataclasses.replace(jobs[1], state="failed", error="DataError: x=1:\nno")
        jobs[2] = dataclasses.replace(jobs[2], state="running")
        live.show(record, tmp_path)
        jobs[2] = dataclasses.replace(jobs[2], state="finished", values=[0.41234], seconds=125)
        jobs[3] = dataclasses.replace(jobs[3], state="pruned", error="worse than others")
        live.show(record, tmp_path)
    words = " ".join(SETTINGS)
    assert stream.getvalue().splitlines() == [
        "copy/NIGHT: 4 jobs: 1 finished, 1 running, 2 waiting \u00b7 best val/loss 0.5 (job 0)",
        f"job 1 failed: {words} seed=1: DataError: x=1: no, 41 s (2 of 4 ended)",
        f"job 2 started: {words} seed=2",
        f"job 2 finished: {words} seed=2: val/loss 0.4123, 2 min (3 of 4 ended)",
        f"job 3 pruned: {words} seed=3: worse than others, 41 s (4 of 4 ended)",
    ]


def test_a_log_tells_of_trials_that_were_not_known_at_first(tmp_path: Path) -> None:
    console, stream = a_log()
    jobs: list[JobRecord] = []
    with LiveTable(console=console) as live:
        live.show(record_of(jobs, 5), tmp_path)
        jobs.append(job_of(0, "running"))
        live.show(record_of(jobs, 5), tmp_path)
    first, second = stream.getvalue().splitlines()
    assert first == "copy/NIGHT: 5 jobs: 5 waiting"
    assert second.startswith("job 0 started: cell=gru")


def test_markup_and_codes_in_settings_are_text(tmp_path: Path) -> None:
    console, stream = a_log()
    jobs = [dataclasses.replace(job_of(0), settings=["data.root=[red]x[/nothing]:smile:"])]
    with LiveTable(console=console) as live:
        live.show(record_of(jobs), tmp_path)
        jobs[0] = dataclasses.replace(jobs[0], state="running")
        live.show(record_of(jobs), tmp_path)
    assert "[red]x[/nothing]:smile:" in stream.getvalue()


@pytest.mark.parametrize("width", [30, 60, 80, 120, 300])
@pytest.mark.parametrize("height", [6, 24, 60])
@pytest.mark.parametrize("num_jobs", [0, 1, 40, 300])
def test_the_table_fits_its_window(width: int, height: int, num_jobs: int) -> None:
    console, stream = a_terminal(width, height)
    chance = random.Random(0)
    standings = [standing_of(k, chance.choice(STATES), left=9.0) for k in range(num_jobs)]
    for k, standing in enumerate(standings):
        if standing.progress.state == "failed":
            progress = dataclasses.replace(standing.progress, note="it went wrong " * 30)
            standings[k] = dataclasses.replace(standing, progress=progress)
    with LiveTable(console=console) as live:
        stream.truncate(0)
        live.draw(record_of([s.job for s in standings]), standings)
        text = CODES.sub("", stream.getvalue()).replace("\r", "").strip("\0")
        lines = text.rstrip("\n").split("\n")
        assert len(lines) <= height - 1
        assert all(len(line) <= width for line in lines)


def test_a_terminal_sees_bars_notes_and_what_is_left_out(tmp_path: Path) -> None:
    console, stream = a_terminal(120, 12)
    states = ["finished"] * 10 + ["running", "failed"] + ["waiting"] * 20
    standings = [standing_of(k, state, left=75.0) for k, state in enumerate(states)]
    broken = dataclasses.replace(standings[11].progress, note="no room on the disk")
    standings[11] = dataclasses.replace(standings[11], progress=broken)
    with LiveTable(console=console) as live:
        live.draw(record_of([s.job for s in standings]), standings)
    text = CODES.sub("", stream.getvalue())
    assert "10 finished, 1 running, 1 failed, 20 waiting" in text
    assert re.search(r"10 +cell=gru unrolling=dynamic optimizer.lr=0.001 seed=10 +running", text)
    assert re.search(r"50% +75 s", text)
    assert "no room on the disk" in text
    assert re.search(r"not shown: \d+ finished, \d+ waiting", text)


def test_settings_and_notes_share_a_narrow_window() -> None:
    console, stream = a_terminal(80, 12)
    standing = standing_of(7, "failed")
    broken = dataclasses.replace(standing.progress, note="no room on the disk, " * 9)
    standing = dataclasses.replace(standing, progress=broken)
    with LiveTable(console=console) as live:
        live.draw(record_of([standing.job]), [standing])
    text = CODES.sub("", stream.getvalue())
    assert re.search(r"7 +cell=gr\w*.*\u2026.*seed=7 +failed", text)
    assert "no room on" in text


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    console, stream = a_terminal(100, 20)
    standings = [standing_of(k, state) for k, state in enumerate(STATES)]
    with LiveTable(console=console) as live:
        live.draw(record_of([s.job for s in standings]), standings)
    colours = re.findall(r"\x1b\[[0-9;]*m", stream.getvalue())
    assert not [code for code in colours if re.search(r"\b(3[0-7]|9[0-7]|38)\b", code)]


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console, stream = a_terminal(100, 20)
    with LiveTable(console=console) as live:
        live.show(record_of([job_of(0)]), tmp_path)
    assert stream.getvalue() == "copy/NIGHT: 1 job: 1 waiting\n"


@pytest.mark.parametrize("seed", range(30))
def test_the_choice_of_lines(seed: int) -> None:
    chance = random.Random(seed)
    standings = [standing_of(k, chance.choice(STATES)) for k in range(chance.randrange(60))]
    lately, num_lines = chance.sample(range(60), 10), chance.randrange(1, 50)
    chosen = select(standings, lately, num_lines)
    numbers = [s.job.number for s in chosen]
    assert len(chosen) == min(num_lines, len(standings)), "room is not left empty"
    assert numbers == sorted(set(numbers))
    running = {s.job.number for s in standings if s.progress.state == "running"}
    assert running <= set(numbers) or set(numbers) <= running


def test_of_ended_jobs_the_last_ones_are_shown() -> None:
    standings = [standing_of(k, "finished") for k in range(20)]
    assert [s.job.number for s in select(standings, [3, 12, 7], 2)] == [7, 12]
    assert [s.job.number for s in select(standings, [], 2)] == [18, 19]


def test_long_settings_lose_their_middle() -> None:
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghij", 5) == "ab\u2026ij"
    for room in range(1, 12):
        assert len(shorten("abcdefghijkl", room)) == room


@pytest.mark.parametrize(("mode", "number"), [("min", 2), ("max", 0)])
def test_the_best_is_a_finished_job(mode: str, number: int) -> None:
    jobs = [job_of(0, "finished", 3.0), job_of(1, "failed"), job_of(2, "finished", 1.0)]
    record = SweepRecord("copy/NIGHT", "", {"val/loss": mode}, 3, jobs)
    leader = best(record, [Standing(job, Progress(job.state)) for job in jobs])
    assert leader is not None
    assert leader.job.number == number
    assert best(record, []) is None


def test_time_left_of_equal_jobs_is_the_rest_shared_out() -> None:
    """8 jobs of 60 s, two at a time: 3 done, 2 half done, 3 to come."""
    done = [standing_of(k, "finished", seconds=60) for k in range(3)]
    running = [standing_of(k, "running", seconds=30, left=30.0) for k in (3, 4)]
    assert left_s([*done, *running], 8, 2) == pytest.approx((30 + 30 + 3 * 60) / 2)
    assert left_s([*done, *running], 8) == pytest.approx((30 + 30 + 3 * 60) / 2)
    unknown = [standing_of(k, "running", seconds=30) for k in (3, 4)]
    assert left_s([*done, *unknown], 8, 2) == pytest.approx((30 + 30 + 3 * 60) / 2)
    assert left_s(running, 2, 2) == pytest.approx(30)


def test_time_left_is_unknown_where_nothing_tells() -> None:
    assert left_s([], 5) is None
    assert left_s([standing_of(0, "running", seconds=5)], 5) is None
    assert left_s([standing_of(0, "finished", seconds=5)], 5) is None


def test_who_runs_the_sweep_is_believed_and_a_dead_one_is_not(tmp_path: Path) -> None:
    """Three jobs of which the record says that they run: one ended, one lives, one was killed."""
    for number, status in ((0, "failed"), (1, "running"), (2, "running")):
        folder = tmp_path / str(number)
        folder.mkdir()
        RunFolder(folder).write_config({"task": {"monitor": "val/loss"}})
        Summary("copy", status=status, error="no room" if number == 0 else None).write(
            folder / "summary.json"
        )
    record = record_of([job_of(number, "running") for number in range(4)])
    with RunFolder(tmp_path / "1", RunLock(tmp_path / "1")):
        seen = Standings().read(record, tmp_path, is_live=True)
        assert [s.progress.state for s in seen] == ["running"] * 4
        seen = Standings().read(record, tmp_path, is_live=False)
        states = [s.progress.state for s in seen]
    assert states == ["failed", "running", "interrupted", "waiting"]
    assert seen[0].progress.note == "no room"
    assert seen[2].progress.note.startswith("no sign of life for")


def test_a_headline_and_a_change_of_one_job() -> None:
    standing = standing_of(0, "running")
    assert headline(record_of([standing.job]), [standing], 61) == (
        "copy/NIGHT: 1 job: 1 running \u00b7 about 61 s left"
    )
    assert change(record_of([standing.job]), standing).startswith("job 0 started: cell=gru")
