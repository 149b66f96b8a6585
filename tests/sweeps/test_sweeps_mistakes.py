"""What can be wrong with a sweep is one line, before it costs time; its folder can be anything."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_fakes import Started, jobs_told

from seqloom.config.overrides import MAX_VALUES, parse
from seqloom.errors import ConfigError
from seqloom.runs.lock import RunLock, identity, is_worked_on, shared
from seqloom.sweeps import runner as runner_module
from seqloom.sweeps.grid import combinations
from seqloom.sweeps.jobs import Job
from seqloom.sweeps.misfits import misfits
from seqloom.sweeps.record import JobRecord, SearchRecord, SweepRecord
from seqloom.sweeps.resources import Slots
from seqloom.sweeps.runner import Runner
from seqloom.sweeps.watched import Watched


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("hydra.sweep.dir=", "is no name of a folder; write hydra.sweep.dir=DIR"),
        ("hydra.sweep.dir=null", "is no name of a folder"),
        ("hydra.sweep.dir='${now:%Y}'", "is no name of a folder"),
        ("hydra.sweep.dir=a,b", "it is the same for all jobs; choose one value"),
        ("launcher.num_parallel=1,2", "it is the same for all jobs; choose one value"),
        ("sweep=optuna,grid", "it is the same for all jobs; choose one value"),
        ("sweep.dry_run=true,false", "it is the same for all jobs; choose one value"),
        ("seed=range(3,0)", "seed=range(3,0): the range is empty; write key=A,B"),
        ("seed=range(0,1000000000)", f"has more than {MAX_VALUES} values"),
    ],
)
def test_a_setting_that_makes_no_sweep_is_refused_at_once(
    start: Started, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    assert start("optimizer.lr=1,2", setting) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(Path().iterdir())


def test_too_many_jobs_are_counted_not_listed() -> None:
    text = f"seed=range({MAX_VALUES})"
    assert len(combinations([text])) == MAX_VALUES
    with pytest.raises(ConfigError, match=f"{2 * MAX_VALUES} jobs: are more than {MAX_VALUES}"):
        combinations([text, "optimizer.lr=1,2"])


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none"])
def test_a_folder_that_cannot_be_is_one_line(
    start: Started, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    Path("file").touch()
    code = start("seed=1,2", f"hydra.sweep.dir={place}")
    (line,) = capsys.readouterr().err.splitlines()
    assert (code, line.startswith(f"error: {place}: it cannot be written (")) == (1, True)
    assert not jobs_told()


def test_a_full_disk_ends_a_sweep_with_one_line_and_the_same_command_goes_on(
    start: Started, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = SweepRecord.write, []

    def full(record: SweepRecord, folder: Path) -> None:
        written.append(record)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(record, folder)

    monkeypatch.setattr(SweepRecord, "write", full)
    assert start("seed=1,2", "hydra.sweep.dir=sweep") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: sweep: it cannot be written (no space left on device); ")
    assert not Path("sweep/run.lock").exists()
    assert start("seed=1,2", "hydra.sweep.dir=sweep") == 0
    assert [job.state for job in SweepRecord.read(Path("sweep")).jobs] == ["finished"] * 2


def test_a_sweep_under_way_is_not_overwritten_by_another(
    start: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sweep").mkdir()
    lock = RunLock(Path("sweep"))
    assert start("seed=1,2", "hydra.sweep.dir=sweep") == 2
    assert "hydra.sweep.dir=sweep: it is in use by process" in capsys.readouterr().err
    assert not Path("sweep/sweep.yaml").exists(), "the holder alone says what sweep it is"
    lock.release()


@pytest.mark.parametrize("name", ["a\\b", "a\\'b", "a\\\\'b", "a\\", "a b\\\\", "'", "a\nb", " x "])
def test_any_name_of_a_folder_reaches_its_jobs(name: str) -> None:
    command = Job(0, (), Path(name)).command
    assert parse(command[-1]).value() == name


def test_parts_that_do_not_fit_are_told_before_the_first_job(
    start: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("cell=lstm,user", "seed=1,2", "hydra.sweep.dir=sweep", "sweep.dry_run=true") == 0
    output = capsys.readouterr()
    assert output.err.startswith("warning: 2 of 4 jobs will fail (2, 3): ")
    assert "cell.file" in output.err
    assert len(output.out.splitlines()) == 5


def test_each_reason_is_told_once_with_its_jobs() -> None:
    right, wrong = ["task=adding", "seed=1"], ["task=adding", "attention=general"]
    assert misfits([]) == misfits([right]) == []
    (line,) = misfits([right, *[wrong] * 7])
    assert line.startswith("7 of 8 jobs will fail (1, 2, 3, 4, 5, ...): attention=general: task=")


def test_a_job_that_does_not_end_is_killed_with_all_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ignores SIGTERM and has a process of its own, as a run on two devices has."""
    program = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        "open('0/metrics.csv', 'w').write('step,epoch,seconds,val/loss\\n1,0,1,1\\n')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Job, "command", property(lambda job: [sys.executable, "-c", program]))
    monkeypatch.setattr(runner_module, "PATIENCE_S", 0.0)
    source = OneHopeless(Path("0"))
    Runner(source, folder=Path(), objectives=[], slots=Slots(1), table=Unseen()).run()
    pid = int((tmp_path / "child").read_text())
    for _ in range(500):  # An orphan may wait a moment for whoever collects it.
        if not lives(pid):
            break
        time.sleep(0.01)
    assert not lives(pid)


class Unseen:
    def show(self, record: SweepRecord, folder: Path) -> None:
        pass


class OneHopeless:
    """One job, which is to be stopped as soon as it logs."""

    def __init__(self, folder: Path) -> None:
        self.jobs = [Job(0, (), folder)]

    def take(self) -> Job | None:
        return self.jobs.pop() if self.jobs else None

    def follow(self, job: Job, rows: object) -> str | None:
        return "hopeless"

    def finish(self, job: Job, outcome: object) -> None:
        pass

    def record(self) -> SweepRecord:
        return SweepRecord("a/b", "", {}, 1, [])


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_search_lives_as_long_as_one_of_its_processes(tmp_path: Path) -> None:
    jobs = [JobRecord(0, "0", [], "finished", [1.0])]
    search = SearchRecord("tpe", "none", 3)
    SweepRecord("a/b", "", {"val/loss": "min"}, 3, jobs, search).write(tmp_path)
    watched = Watched(tmp_path)
    assert watched.look().is_over, "nobody is there to begin the other two"
    with shared(tmp_path):
        assert is_worked_on(tmp_path) is True
        assert not watched.look().is_over, "between two jobs nothing runs"
        SweepRecord("a/b", "", {"val/loss": "min"}, 1, jobs, search).write(tmp_path)
        assert watched.look().is_over, "all trials have ended"
    assert is_worked_on(tmp_path) is False


def test_a_dead_process_of_a_search_is_forgotten_and_one_elsewhere_is_not(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    mark = identity(dead.pid)
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    stale = tmp_path / f"{socket.gethostname()}-{dead.pid}.lock"
    stale.write_text(json.dumps(mark), encoding="utf-8")
    assert is_worked_on(tmp_path) is False
    elsewhere = tmp_path / "other-1.lock"
    elsewhere.write_text(json.dumps({"host": "other", "pid": 1, "started": "1"}), encoding="utf-8")
    assert is_worked_on(tmp_path) is None
    with shared(tmp_path):
        assert not stale.exists()
        assert elsewhere.exists()
        assert is_worked_on(tmp_path) is True
