"""`seqloom watch`: what it sees in a folder, what it says, and what its server gives to whom."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from seqloom.__main__ import main
from seqloom.commands import watch as command
from seqloom.commands.watch_page import PageServer
from seqloom.errors import ConfigError
from seqloom.runs import MetricsFile, RunFolder, Summary
from seqloom.runs.lock import RunLock
from seqloom.sweeps import watched as watched_module
from seqloom.sweeps.curves import MAX_POINTS, Curve
from seqloom.sweeps.record import JobRecord, SweepRecord
from seqloom.sweeps.watched import MAX_CURVES, MAX_RUNS, Watched
from seqloom.tracking.watch import page_state, render_page


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk, and every look searches for new runs."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(watched_module, "_SEARCH_S", 0.0)
    monkeypatch.setattr(watched_module, "_SEARCH_SHARE", float("inf"))


def write_run(folder: Path, status: str = "finished", values: tuple[float, ...] = (3, 2)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    RunFolder(folder).write_config(
        {
            "task": {"name": "copy", "monitor": "val/loss", "mode": "min"},
            "trainer": {"max_steps": 10, "max_epochs": None, "max_time": None},
        }
    )
    file = MetricsFile(folder / "metrics.csv")
    for step, value in enumerate(values):
        file.append(step, {"epoch": 0, "train/loss": value + 1, "val/loss": value})
    file.close()
    Summary("copy", status=status).write(folder / "summary.json")
    return folder


def write_sweep(root: Path, states: list[str], num_jobs: int | None = None) -> None:
    root.mkdir(parents=True, exist_ok=True)
    jobs = []
    for number, state in enumerate(states):
        values = [2.0 - number] if state == "finished" else []
        jobs.append(JobRecord(number, str(number), [f"seed={number}"], state, values))
        if state != "waiting":
            write_run(root / str(number), state)
    SweepRecord("copy/NIGHT", "train", {"val/loss": "min"}, num_jobs or len(jobs), jobs).write(root)


def tree(root: Path) -> dict[str, tuple[int, int]]:
    stats = {str(path): path.lstat() for path in [root, *root.rglob("*")]}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}


def states_of(watched: Watched) -> dict[str, str]:
    return {standing.label: standing.progress.state for standing in watched.look().standings}


# What is seen.


def test_a_sweep_is_seen_as_its_record_says(tmp_path: Path) -> None:
    write_sweep(tmp_path, ["finished", "failed", "waiting"])
    watched = Watched(tmp_path)
    assert states_of(watched) == {"seed=0": "finished", "seed=1": "failed", "seed=2": "waiting"}
    assert watched.look().is_over, "nobody holds the sweep, so nobody will start the third"
    with RunFolder(tmp_path, RunLock(tmp_path)):
        assert not watched.look().is_over


def test_a_sweep_that_is_held_is_over_with_its_last_job(tmp_path: Path) -> None:
    write_sweep(tmp_path, ["finished", "failed"], num_jobs=3)
    with RunFolder(tmp_path, RunLock(tmp_path)):
        watched = Watched(tmp_path)
        assert not watched.look().is_over
        write_sweep(tmp_path, ["finished", "failed", "interrupted"])
        assert watched.look().is_over


def test_a_torn_record_leaves_what_was_known(tmp_path: Path) -> None:
    write_sweep(tmp_path, ["finished"])
    watched = Watched(tmp_path)
    before = watched.look()
    (tmp_path / "sweep.json").write_text('{"name": "co')
    assert watched.look() == before
    assert Watched(tmp_path).look().record is not None, "then it is a folder of runs"


def test_nothing_is_there_yet_and_then_something_is(tmp_path: Path) -> None:
    root = tmp_path / "later"
    watched = Watched(root)
    assert watched.look().record is None
    root.mkdir()
    assert watched.look().record is None
    write_run(root / "copy" / "NIGHT", "running")
    assert states_of(watched) == {"copy/NIGHT": "interrupted"}
    write_sweep(root, ["finished"])
    assert states_of(watched) == {"seed=0": "finished"}


def test_one_run_is_followed_while_it_grows(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "RUN", "running", (3,))
    watched, file = Watched(folder), MetricsFile(folder / "metrics.csv")
    with RunFolder(folder, RunLock(folder)):
        view = watched.look()
        assert [s.label for s in view.standings] == ["RUN"]
        assert not view.is_over
        assert view.standings[0].progress.fraction == 0.1
        file.append(4, {"val/loss": 1.5})
        view = watched.look()
        assert view.standings[0].progress.fraction == 0.5
        assert view.standings[0].progress.best == 1.5
        assert watched.curves(view)["val/loss"] == {0: [(0, 3), (4, 1.5)]}
        assert list(watched.curves(view)) == ["val/loss", "train/loss"]
        file.append(5, {"val/loss": 1.25})
        assert watched.curves(watched.look())["val/loss"][0][-1] == (5, 1.25)
        Summary("copy", status="finished").write(folder / "summary.json")
        assert watched.look().is_over
    file.close()


def test_runs_are_found_outside_of_runs_and_not_behind_links(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    for name in ("copy/A", "sweeps/copy/NIGHT/0", "copy/A/wandb/inner", ".hidden/B"):
        write_run(root / name)
    write_run(tmp_path / "outside")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    assert set(states_of(Watched(root))) == {"copy/A", "sweeps/copy/NIGHT/0"}


def test_of_many_runs_the_last_ones_are_shown_and_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_RUNS > 50
    monkeypatch.setattr(watched_module, "MAX_RUNS", 2)
    for age, name in enumerate("abcd"):
        for path in write_run(tmp_path / name).iterdir():
            os.utime(path, (time.time() - 1000 * (age + 1),) * 2)
    watched = Watched(tmp_path)
    numbers = {s.label: s.job.number for s in watched.look().standings}
    assert numbers == {"b": 2, "a": 3}, "numbered by age, the last two shown"
    with RunFolder(tmp_path / "d", RunLock(tmp_path / "d")):
        assert states_of(watched) == {"d": "finished", "a": "finished"}
    write_run(tmp_path / "e")
    assert {s.label: s.job.number for s in watched.look().standings} == {"a": 3, "e": 4}


def test_watching_changes_nothing(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", ["finished", "running", "waiting"])
    before = tree(tmp_path)
    for root in (tmp_path, tmp_path / "sweep", tmp_path / "sweep" / "0"):
        arguments = ["watch", f"runs={root}", "port=0", "until_done=true", "every_s=0.01"]
        assert main(arguments) == 0
    assert tree(tmp_path) == before


def test_a_curve_stays_short_and_ends_with_the_newest_value() -> None:
    curve = Curve()
    assert curve.points() == []
    for step in range(5000):
        curve.add(step, float("nan") if step % 7 == 0 else 2.0 * step)
        points = curve.points()
        assert len(points) <= 2 * MAX_POINTS + 1
        assert not points or points[-1][0] == (step - 1 if step % 7 == 0 else step)
    steps = [step for step, _ in points]
    assert steps == sorted(set(steps))
    assert all(value == 2 * step for step, value in points)
    gaps = {b - a for a, b in pairwise(steps[:-1])}
    assert max(gaps) < 1.5 * min(gaps), "evenly spread"


def test_so_many_curves_are_drawn_those_that_run_first(tmp_path: Path) -> None:
    write_sweep(tmp_path, ["running", *["finished"] * 40])
    watched = Watched(tmp_path)
    with RunFolder(tmp_path / "0", RunLock(tmp_path / "0")):
        drawn = watched.curves(watched.look())["val/loss"]
    assert len(drawn) == MAX_CURVES
    assert {0, 40, 39} <= drawn.keys()


# What is said.


def test_the_terminal_tells_and_the_end_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sweep(tmp_path, ["finished", "failed"])
    assert main(["watch", f"runs={tmp_path}", "page=false", "until_done=true"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ("copy/NIGHT: 2 jobs: 1 finished, 1 failed \u00b7 best val/loss 2 (job 0)\n")


def test_it_waits_with_a_word_for_what_is_not_there_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, code, whole = tmp_path / "later", [], tmp_path / "whole"
    write_run(whole / "A")
    words = ["watch", f"runs={root}", "page=false", "until_done=true", "every_s=0.01"]
    thread = threading.Thread(target=lambda: code.append(main(words)))
    thread.start()
    time.sleep(0.1)
    whole.rename(root)
    thread.join(30)
    assert code == [0]
    said = capsys.readouterr()
    assert said.out == f"waiting   there is no folder {root} yet\n"
    assert said.err.endswith("/later: 1 job: 1 finished \u00b7 best val/loss 2 (job 0)\n")


def test_ctrl_c_ends_watching_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    write_run(tmp_path / "A")
    monkeypatch.setattr(command.time, "sleep", interrupted)
    assert main(["watch", f"runs={tmp_path}", "port=0"]) == 0
    assert capsys.readouterr().out.startswith("page      http://127.0.0.1:")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words, line in (
            ([f"runs={tmp_path}/file"], "it is not a folder"),
            ([f"runs={tmp_path}", f"port={port}"], "it cannot be used (address already in use)"),
            ([f"runs={tmp_path}", "port=70000"], "write a number from 0 to 65535"),
            ([f"runs={tmp_path}", "terminal=false", "page=false"], "nothing would be shown"),
            ([], "write runs=..."),
            ([f"runs={tmp_path}", "every_s=0"], "write a number above 0"),
        ):
            assert main(["watch", *words]) == 2
            said = capsys.readouterr().err
            assert line in said
            assert len(said.splitlines()) == 1


def test_watching_needs_no_torch() -> None:
    code = "import sys, seqloom.commands.watch\n"
    code += "print(sorted({'torch', 'lightning', 'matplotlib', 'wandb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What is served.


@pytest.fixture
def served(tmp_path: Path) -> Iterator[PageServer]:
    """The page of a sweep with two jobs that ended, of which the first has a report."""
    root = tmp_path / "sweep"
    write_sweep(root, ["finished", "failed"])
    (root / "0" / "report.html").write_text("<title>of job 0</title>")
    (root / "report.html").write_text("<title>of the sweep</title>")
    (tmp_path / "report.html").write_text("secret")
    watched = Watched(root)
    view = watched.look()
    with PageServer(render_page("copy/NIGHT", 1.0), root, 0) as server:
        folders = [standing.job.folder for standing in view.standings]
        server.publish(page_state(view, watched.curves(view), root), folders)
        yield server


Answer = tuple[int, dict[str, str], bytes]


def ask(
    server: PageServer, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> Answer:
    """As it stands: no client of ours tidies the path up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in ({"Host": f"127.0.0.1:{server.port}"} | (headers or {})).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_the_page_is_whole_and_may_reach_only_this_server(served: PageServer) -> None:
    status, headers, body = ask(served, "/")
    page = body.decode()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert "<script src" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page


def test_the_state_tells_jobs_and_curves(served: PageServer) -> None:
    status, headers, body = ask(served, "/state.json")
    state: dict[str, Any] = json.loads(body)
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert state["counts"] == [["finished", 1], ["failed", 1]]
    assert state["best"] == 0
    assert state["report"] == "report.html"
    first, second = state["jobs"]
    assert (first["label"], first["report"], first["best"]) == ("seed=0", "0/report.html", "2")
    assert (second["state"], second["report"]) == ("failed", None)
    assert state["curves"]["train/loss"]["0"] == [[0, 4], [1, 3]]
    status, again, body = ask(served, "/state.json", headers={"If-None-Match": headers["ETag"]})
    assert (status, body) == (304, b"")
    assert again["ETag"] == headers["ETag"]


def test_reports_are_served_in_a_sandbox(served: PageServer) -> None:
    for path, title in (("/0/report.html", b"of job 0"), ("/report.html", b"of the sweep")):
        status, headers, body = ask(served, path)
        assert status == 200
        assert title in body
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("sandbox allow-scripts;")
        assert "allow-same-origin" not in policy
        assert "connect-src" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/../report.html",
        "/0/../../report.html",
        "/%2e%2e/report.html",
        "/..%2freport.html",
        "/0/%2e%2e/%2e%2e/report.html",
        "//etc/passwd",
        "/etc/passwd",
        "/0/summary.json",
        "/0/config.yaml",
        "/0/",
        "/0",
        "/1/report.html",
        "/2/report.html",
        "/sweep.json",
        "/0/report.html/",
        "/0/report.html%00",
        "/./0/report.html",
        "/state.json/",
        "/%ff/report.html",
    ],
)
def test_nothing_else_is_served(served: PageServer, path: str) -> None:
    status, _, body = ask(served, path)
    assert status == 404
    assert b"secret" not in body
    assert b"there is no such page" in body


def test_no_link_leads_outside(served: PageServer, tmp_path: Path) -> None:
    report = tmp_path / "sweep" / "0" / "report.html"
    report.unlink()
    report.symlink_to(tmp_path / "report.html")
    assert ask(served, "/0/report.html")[0] == 404
    report.unlink()
    report.mkdir()
    assert ask(served, "/0/report.html")[0] == 404
    (tmp_path / "sweep" / "1").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "report.html").write_text("secret")
    (tmp_path / "sweep" / "1").symlink_to(tmp_path / "elsewhere")
    assert ask(served, "/1/report.html")[0] == 404
    report.rmdir()
    report.symlink_to(tmp_path / "sweep" / "report.html")
    assert ask(served, "/0/report.html")[0] == 200, "a link that stays inside is none's harm"


@pytest.mark.parametrize("path", ["/", "/state.json", "/0/report.html"])
def test_who_asks_by_another_name_is_refused(served: PageServer, path: str) -> None:
    for host in ("evil.example", f"evil.example:{served.port}", "127.0.0.1", "", "localhost:1"):
        status, _, body = ask(served, path, headers={"Host": host})
        assert status == 403
        assert b"copy" not in body
    assert ask(served, path, headers={"Host": f"localhost:{served.port}"})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_there_is_nothing_but_looking(served: PageServer, method: str) -> None:
    status, headers, _ = ask(served, "/state.json", method=method, headers={"Content-Length": "0"})
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/state.json", "/0/report.html", "/none"])
def test_a_head_is_the_same_without_the_body(served: PageServer, path: str) -> None:
    status, headers, body = ask(served, path)
    head_status, head, nothing = ask(served, path, method="HEAD")
    del headers["Date"], head["Date"]
    assert (head_status, head, nothing) == (status, headers, b"")
    assert int(head["Content-Length"]) == len(body)


def test_it_listens_on_this_machine_only_and_closes(served: PageServer) -> None:
    assert served.address == f"http://127.0.0.1:{served.port}/"
    page, root = served.page, served._root
    with pytest.raises(ConfigError, match=f"port={served.port}"):
        PageServer(page, root, served.port)
    served.close()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", served.port))


def test_settings_that_look_like_markup_are_data(tmp_path: Path) -> None:
    write_run(tmp_path / "<script>alert(1)<" / "script>")
    watched = Watched(tmp_path)
    view = watched.look()
    state = page_state(view, watched.curves(view), tmp_path)
    assert state["jobs"][0]["label"] == "<script>alert(1)</script>"
    assert "<script>alert" not in render_page("<script>alert(1)</script>", 1.0).html
