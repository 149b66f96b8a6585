import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seqloom.errors import ConfigError, DataError
from seqloom.runs import RunFolder, Summary, collect_versions, find_runs, sha256_of_file

HOLD = """
import sys, time
from pathlib import Path
from seqloom.runs import RunFolder
RunFolder.create("t", run_dir=Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = [RunFolder.create("translation", root=tmp_path) for _ in range(5)]
    assert len({folder.path for folder in folders}) == 5
    assert {folder.path.parent for folder in folders} == {tmp_path / "translation"}
    for folder in folders:
        folder.close()


def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    with RunFolder.create("t", run_dir=tmp_path / "run") as folder:
        folder.write_config({"seed": 1})
    with pytest.raises(ConfigError, match=r"already holds a run; write resume="):
        RunFolder.create("t", run_dir=tmp_path / "run")
    with RunFolder.resume(tmp_path / "run") as folder:
        assert folder.read_config() == {"seed": 1}


def test_a_locked_run_is_refused_and_a_killed_one_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = hold(path)
    try:
        (path / "config.yaml").write_text("seed: 1\n")
        with pytest.raises(ConfigError, match=f"in use by process {process.pid}"):
            RunFolder.resume(path)
    finally:
        process.kill()
        process.communicate()
    assert (path / "run.lock").exists()
    with RunFolder.resume(path):
        assert json.loads((path / "run.lock").read_text())["pid"] == os.getpid()
    assert not (path / "run.lock").exists()


def test_a_later_process_with_the_same_number_does_not_hold_the_lock(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": "1"}
    (tmp_path / "run.lock").write_text(json.dumps(holder))
    RunFolder.resume(tmp_path).close()


def test_a_lock_of_another_machine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    holder = {"host": "elsewhere", "pid": 1, "started": None}
    (tmp_path / "run.lock").write_text(json.dumps(holder))
    with pytest.raises(ConfigError, match="process 1 on elsewhere"):
        RunFolder.resume(tmp_path)


def test_a_wrong_path_names_the_nearest_run(tmp_path: Path) -> None:
    with RunFolder.create("t", run_dir=tmp_path / "translation" / "2026-01-02") as folder:
        folder.write_config({})
    with pytest.raises(ConfigError, match=r"did you mean .*translation/2026-01-02"):
        RunFolder.open(tmp_path / "translation" / "2026-01-03")
    with pytest.raises(ConfigError, match=r"holds no config.yaml; did you mean .*2026-01-02"):
        RunFolder.open(tmp_path)


def test_config_is_plain_and_survives(tmp_path: Path) -> None:
    config = {
        "lr": 1e-5,
        "name": "gr\u00fc\u00dfe",
        "none": None,
        "list": [1, "on"],
        "nested": {"a": True},
    }
    folder = RunFolder(tmp_path)
    folder.write_config(config)
    assert folder.read_config() == config
    folder.config.write_text("!!python/object/apply:os.getcwd []\n")
    with pytest.raises(DataError, match="not plain YAML"):
        folder.read_config()


def test_summary_survives_and_has_no_nan(tmp_path: Path) -> None:
    run = tmp_path / "task" / "run"
    run.mkdir(parents=True)
    folder = RunFolder(run)
    summary = Summary(task="t", metrics={"test/bleu": 1.5, "val/loss": float("nan")}, seed=3)
    folder.write_summary(summary)
    assert folder.read_summary().metrics == {"test/bleu": 1.5, "val/loss": None}
    assert folder.read_summary().status == "running"
    assert [found.path for found in find_runs(tmp_path)] == [run]
    assert sorted(path.name for path in run.iterdir()) == ["summary.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"task": "t"}', '{"task": "t", "status": "odd"}'])
def test_a_broken_summary_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(DataError, match=r"summary\.json"):
        RunFolder(tmp_path).read_summary()


def test_versions_and_fingerprints(tmp_path: Path) -> None:
    assert {"python", "torch", "lightning"} <= collect_versions().keys()
    (tmp_path / "file").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_file(tmp_path / "file") == digest


def test_the_room_imports_no_torch() -> None:
    code = "import sys, seqloom.runs; sys.exit('lightning' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
