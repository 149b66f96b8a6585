"""environment.json: every session once, nothing secret, and never an error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from seqloom.runs import provenance, surroundings
from seqloom.runs.provenance import Session, read_environment, read_patch

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", *identity, "-C", str(folder), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A clean repository with one source file."""
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "--initial-branch=trunk")
    (folder / "part.py").write_text("x = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "--message=one")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def sessions(run: Path) -> list[dict[str, object]]:
    found = read_environment(run)
    assert found is not None
    return found["sessions"]


@needs_git
def test_a_session_tells_versions_machine_and_commit(run: Path, code: Path) -> None:
    Session(run, ["task=translation", "seed=2"], code=code).wait()
    (session,) = sessions(run)
    assert session["overrides"] == ["task=translation", "seed=2"]
    assert session["command"] == "seqloom train task=translation seed=2"
    assert session["packages"]["numpy"] == metadata.version("numpy")
    expected = {name for each in metadata.distributions() if (name := each.name)}
    assert set(session["packages"]) == expected
    assert session["hardware"]["cores"] == len(os.sched_getaffinity(0))
    assert session["hardware"]["memory_bytes"] > 1 << 28
    assert session["git"] == {
        "commit": git(code, "rev-parse", "HEAD"),
        "branch": "trunk",
        "dirty": False,
        "patch": None,
        "why": None,
        "untracked": [],
    }
    assert not list(run.glob("*.patch"))


@needs_git
def test_the_patch_makes_the_code_of_the_run_from_its_commit(run: Path, code: Path) -> None:
    (code / "part.py").write_text("x = 2\n")
    (code / "new.py").write_text("")
    (code / "picture.png").write_bytes(bytes(range(256)))
    (code / "blob.bin").write_bytes(b"\0\1")
    git(code, "add", "blob.bin")
    Session(run, [], code=code).wait()
    (session,) = sessions(run)
    assert session["git"]["dirty"] is True
    assert session["git"]["untracked"] == ["new.py"]
    text = read_patch(run, session)
    assert "Binary files" in text
    git(code, "stash")
    only_text = subprocess.run(
        ["git", "-C", str(code), "apply", "--include=part.py"], input=text, text=True, check=True
    )
    assert only_text.returncode == 0
    assert (code / "part.py").read_text() == "x = 2\n"


@needs_git
def test_each_resume_adds_a_session_and_keeps_the_first(
    run: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (code / "part.py").write_text("x = 2\n")
    Session(run, ["seed=1"], code=code).wait()
    first = sessions(run)[0]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    Session(run, ["resume=run"], code=code).wait()
    (code / "part.py").write_text("x = 3\n")
    Session(run, ["resume=run"], code=code).wait()
    found = sessions(run)
    assert found[0] == first
    assert [each["variables"]["OMP_NUM_THREADS"] for each in found] == ["3", "5", "5"]
    patches = [each["git"]["patch"] for each in found]
    assert patches == ["uncommitted.patch", "uncommitted.patch", "uncommitted-3.patch"]
    assert "+x = 2" in read_patch(run, found[1])
    assert "+x = 3" in read_patch(run, found[2])


@needs_git
def test_a_refused_session_leaves_the_record_as_it_was(run: Path, code: Path) -> None:
    (code / "part.py").write_text("x = 2\n")
    Session(run, [], code=code).withdraw()
    assert not list(run.iterdir())
    Session(run, [], code=code).wait()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    (code / "part.py").write_text("x = 3\n")
    Session(run, ["resume=run"], code=code).withdraw()
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert set(before) == {"environment.json", "uncommitted.patch"}


def test_secrets_and_people_stay_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "somebody"
    (home / "work").mkdir(parents=True)
    monkeypatch.chdir(home / "work")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_API_KEY", "top-secret-key")
    url = "postgresql://me:pass-word@host/db"
    words = [f"data.root={home}/a b", f"sweep.storage={url}", "x=$y"]
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    Session(run, words, code=tmp_path).wait()
    text = (run / "environment.json").read_text(encoding="utf-8")
    assert "top-secret" not in text
    assert "pass-word" not in text
    assert "somebody" not in text
    assert os.uname().nodename not in text
    (session,) = sessions(run)
    assert session["directory"] == "$HOME/work"
    # A shell makes the same words of it.
    done = subprocess.run(
        ["bash", "-c", f'printf "%s\\n" {session["command"]}'],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )
    masked = words[1].replace("pass-word", "***")
    assert done.stdout.splitlines() == ["python", "train.py", words[0], masked, words[2]]


def test_code_outside_of_a_repository_says_so(tmp_path: Path) -> None:
    git, patch = surroundings.describe_git(tmp_path)
    assert (git["commit"], git["dirty"], patch) == (None, None, None)
    assert git["why"]


def test_without_git_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    git, patch = surroundings.describe_git(tmp_path)
    assert (git["commit"], git["why"], patch) == (None, "git is not installed", None)


def test_a_git_that_hangs_holds_nothing_up(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(surroundings, "TIMEOUT_S", 0.2)
    Session(run, [], code=tmp_path).wait()
    (session,) = sessions(run)
    assert session["git"]["why"] == "git took longer than 0.2 s"


@needs_git
def test_a_patch_that_is_too_large_is_a_sentence(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "MAX_PATCH_BYTES", 50)
    (code / "part.py").write_text("y = 1\n" * 20)
    git, patch = surroundings.describe_git(code)
    assert patch is None
    assert git["dirty"] is True
    assert "are more than 50" in git["why"]


@needs_git
def test_no_program_of_a_git_config_is_run(code: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    for key in ("diff.external", "core.fsmonitor", "diff.odd.textconv"):
        git(code, "config", key, str(trap))
    (code / ".gitattributes").write_text("*.py diff=odd\n")
    (code / "part.py").write_text("x = 2\n")
    (tmp_path / "sprung").unlink(missing_ok=True)
    _, patch = surroundings.describe_git(code)
    assert "+x = 2" in patch
    assert not (tmp_path / "sprung").exists()


def test_a_folder_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Session(tmp_path / "gone", [], code=tmp_path).wait()
    assert "environment.json was not written" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"sessions": 3}', '{"sessions": []}', '{"sessions": [1]}']
)
def test_a_damaged_record_is_none(run: Path, text: str) -> None:
    assert read_environment(run) is None
    (run / "environment.json").write_text(text)
    assert read_environment(run) is None


def test_a_patch_is_only_looked_for_in_the_folder(run: Path) -> None:
    (run.parent / "outside").write_text("secret")
    assert read_patch(run, {"git": {"patch": "../outside"}}) is None
    assert read_patch(run, {}) is None


def test_what_differs_is_named_and_nothing_else() -> None:
    then = {
        "python": "3.11.7",
        "os": "Linux",
        "packages": {"torch": "2.13.0", "numpy": "2.0", "old": "1"},
        "hardware": {"cpu": "A", "cores": 2, "memory_bytes": 5, "gpus": []},
        "git": {"commit": "abc", "untracked": []},
    }
    assert surroundings.differing(then, json.loads(json.dumps(then)), (None, None)) == []
    now = json.loads(json.dumps(then))
    now["packages"] |= {"torch": "2.14.0", "new": "3"}
    del now["packages"]["old"]
    now["hardware"] |= {"memory_bytes": 6, "gpus": [{"name": "H", "driver": "1"}]}
    rows = {name: rest for name, *rest in surroundings.differing(then, now, ("a", None))}
    assert rows == {
        "gpus": ["none", "1: H 1"],
        "uncommitted": [rows["uncommitted"][0], "none"],
        "new": ["absent", "3"],
        "old": ["1", "absent"],
        "torch": ["2.13.0", "2.14.0"],
    }
    assert ["unknown", "A"] in [rest for _, *rest in surroundings.differing({}, now, (None, None))]


def test_variables_are_a_named_few() -> None:
    assert set(provenance.NUMERIC) < set(provenance.VARIABLES)
    assert not any("KEY" in name or "TOKEN" in name for name in provenance.VARIABLES)
