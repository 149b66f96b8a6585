"""A sweep's jobs are plain runs: each has its values in all its processes, and fails alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from seqloom import entry
from seqloom.config.overrides import compose_config
from seqloom.sweeps.jobs import Job, JobError, check_jobs, run_jobs

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
TINY = (
    "task=translation",
    "data.num_train=64",
    "data.num_val=16",
    "data.num_test=16",
    "tokenizer.vocab_size=300",
    "batching.batch_size=8",
    "model.embedding_size=8",
    "model.hidden_size=16",
    "model.num_encoder_layers=1",
    "model.num_decoder_layers=1",
    "model.dropout=0.1",
    "decoding=greedy",
    "precision=fp32",
    "optimizer.lr=0.01",
    "trainer.max_steps=3",
    "trainer.accelerator=cpu",
    "logger=csv",
    "strategy=ddp",
    "trainer.devices=2",
)
# Stands in for a job: notes its settings, then does what the one named `seed` says.
STAND_IN = """
import json, os, signal, sys, time
words = sys.argv[1:]
print(json.dumps(words), file=open("told.jsonl", "a"))
seed = dict(word.split("=", 1) for word in words).get("seed")
if seed == "13":
    sys.exit(3)
if seed == "99":
    def leave(signum, frame):
        open("signals", "a").write(f"{signum} ")
        sys.exit(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    open("ready", "w").close()
    time.sleep(60)
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to sweep in, where the job's command is `STAND_IN` with the job's settings."""
    command = Job.command.fget
    assert command is not None

    def replaced(job: Job) -> list[str]:
        return [sys.executable, "-c", STAND_IN, *command(job)[4:]]

    monkeypatch.setattr(Job, "command", property(replaced))
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(folder: Path) -> list[list[str]]:
    """The settings of each job that ran."""
    lines = (folder / "told.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def run(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, str(TRAIN), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def weights(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path / "checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 3
    found: dict[str, torch.Tensor] = state["state_dict"]
    return found


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_job_of_two_processes_is_the_plain_run_of_its_values(tmp_path: Path) -> None:
    tiny = (*TINY, f"data.cache_dir={tmp_path / 'cache'}")
    folder = tmp_path / "a sweep, of two"
    run("-m", *tiny, "seed=1,2", f"hydra.sweep.dir='{folder}'")
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "multirun.yaml"]
    for name, seed in (("0", 1), ("1", 2)):
        config = yaml.safe_load((folder / name / "config.yaml").read_text(encoding="utf-8"))
        assert (config["seed"], config["optimizer"]["lr"]) == (seed, 0.01)
        assert config["trainer"]["devices"] == 2
        summary = json.loads((folder / name / "summary.json").read_text(encoding="utf-8"))
        assert summary["status"] == "finished"
    run(*tiny, "seed=2", f"run_dir={tmp_path / 'plain'}")
    plain, first, second = weights(tmp_path / "plain"), weights(folder / "0"), weights(folder / "1")
    assert plain.keys() == second.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(second[name], expected, rtol=0, atol=0, msg=name)
    assert any(not torch.equal(first[name], plain[name]) for name in plain)


def test_a_failing_job_does_not_end_the_sweep(
    stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.train(["-m", "task=translation", "seed=13,1,2", "hydra.sweep.dir=sweep"]) == 1
    assert [words[1] for words in told(stand_in)] == ["seed=13", "seed=1", "seed=2"]
    *lines, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: 1 of 3 jobs: failed: sweep/0; ")
    assert lines == [
        f"job {number} of 3: task=translation seed={seed}"
        for number, seed in ((1, 13), (2, 1), (3, 2))
    ]


def test_a_sweep_whose_jobs_end_well_says_so(stand_in: Path) -> None:
    assert entry.train(["-m", "task=translation", "seed=1,2", "hydra.sweep.dir=sweep"]) == 0
    assert told(stand_in) == [
        ["task=translation", f"seed={seed}", f"run_dir=sweep/{number}"]
        for number, seed in ((0, 1), (1, 2))
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_job_and_ends_the_sweep(
    stand_in: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def send() -> None:
        while not (stand_in / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    code = entry.train(["-m", "task=translation", "seed=99,1", "hydra.sweep.dir=sweep"])
    assert code == 128 + number
    assert (stand_in / "signals").read_text(encoding="utf-8") == f"{number.value} "
    assert [words[1] for words in told(stand_in)] == ["seed=99"]
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("setting", "key", "values"),
    [
        (
            "data.cache_dir='a b, c=d','it\\'s \"here\"'",
            "data.cache_dir",
            ["a b, c=d", 'it\'s "here"'],
        ),
        ("data.cache_dir='$x{y} [z]'", "data.cache_dir", ["$x{y} [z]"]),
        (
            "callbacks.average_checkpoints={count:2},{count:3}",
            "callbacks.average_checkpoints.count",
            [2, 3],
        ),
        ("optimizer.lr=1e-3,0.1", "optimizer.lr", [1e-3, 0.1]),
    ],
)
def test_values_survive_whatever_is_in_them(
    stand_in: Path, setting: str, key: str, values: list[Any]
) -> None:
    words = ["-m", "task=translation", setting]
    assert entry.train([*words, "hydra.sweep.dir='a sweep, it\\'s {mine}'"]) == 0
    configs = [compose_config(job) for job in told(stand_in)]
    for number, (config, value) in enumerate(zip(configs, values, strict=True)):
        assert OmegaConf.select(config, key) == value
        assert config.run_dir == f"a sweep, it's {{mine}}/{number}"


def test_a_job_is_no_process_of_a_run_that_is_under_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEQLOOM_RUN_DIR", "elsewhere")
    monkeypatch.setenv("LOCAL_RANK", "1")
    code = (
        "import os, sys; sys.exit(any(n in os.environ for n in ('SEQLOOM_RUN_DIR', 'LOCAL_RANK')))"
    )
    monkeypatch.setattr(Job, "command", property(lambda job: [sys.executable, "-c", code]))
    lines: list[str] = []
    assert run_jobs([Job(("seed=1",), tmp_path)], lines.append) == [0]
    assert lines == ["job 1 of 1: seed=1"]


def test_all_failed_jobs_are_named(tmp_path: Path) -> None:
    jobs = [Job((), tmp_path / str(number)) for number in range(3)]
    check_jobs(jobs, [0, 0, 0])
    with pytest.raises(JobError, match=rf"2 of 3 jobs: failed: {tmp_path}/0, {tmp_path}/2; see"):
        check_jobs(jobs, [1, 0, -9])
