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
from sweep_fakes import Started, jobs_told

from seqloom.config.overrides import compose_config
from seqloom.sweeps.record import SweepRecord

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


def states(folder: str = "sweep") -> list[str]:
    return [job.state for job in SweepRecord.read(Path(folder)).jobs]


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_job_of_two_processes_is_the_plain_run_of_its_values(tmp_path: Path) -> None:
    tiny = (*TINY, f"data.cache_dir={tmp_path / 'cache'}")
    folder = tmp_path / "a sweep, of two"
    run("-m", *tiny, "seed=1,2", f"hydra.sweep.dir='{folder}'")
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "sweep.json", "sweep.yaml"]
    for name, seed in (("0", 1), ("1", 2)):
        config = yaml.safe_load((folder / name / "config.yaml").read_text(encoding="utf-8"))
        assert (config["seed"], config["optimizer"]["lr"]) == (seed, 0.01)
        assert config["trainer"]["devices"] == 2
        assert not {"sweep", "launcher"} & config.keys()
        summary = json.loads((folder / name / "summary.json").read_text(encoding="utf-8"))
        assert summary["status"] == "finished"
    run(*tiny, "seed=2", f"run_dir={tmp_path / 'plain'}")
    plain, first, second = weights(tmp_path / "plain"), weights(folder / "0"), weights(folder / "1")
    assert plain.keys() == second.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(second[name], expected, rtol=0, atol=0, msg=name)
    assert any(not torch.equal(first[name], plain[name]) for name in plain)


def test_failing_jobs_do_not_end_the_sweep(
    start: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("seed=13,14,15,1", "hydra.sweep.dir=sweep") == 1
    assert [words[1] for words in jobs_told()] == ["seed=13", "seed=14", "seed=15", "seed=1"]
    record = SweepRecord.read(Path("sweep"))
    assert [(job.state, job.error) for job in record.jobs] == [
        ("failed", "seed=13: it brings no luck; choose another"),
        ("failed", "DataError: no data"),
        ("failed", "val/loss is nan"),
        ("finished", None),
    ]
    assert record.jobs[3].values == [0.5]
    output = capsys.readouterr()
    last = output.err.splitlines()[-1]
    assert last.startswith("error: 3 of 4 jobs: failed: sweep/0, sweep/1, sweep/2; ")
    assert "sweep: 3 failed, 1 finished of 4 jobs" in output.out


def test_a_sweep_whose_jobs_end_well_says_so(start: Started) -> None:
    assert start("seed=1,2", "hydra.sweep.dir=sweep") == 0
    assert jobs_told() == [
        ["task=translation", f"seed={seed}", f"run_dir=sweep/{number}"]
        for number, seed in ((0, 1), (1, 2))
    ]
    assert states() == ["finished", "finished"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_job_once_and_the_same_command_goes_on(
    start: Started, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    words = ("seed=99,1,2", "cell=lstm,gru", "hydra.sweep.dir=sweep", "launcher.num_parallel=2")

    def send() -> None:
        ready = Path("ready.jsonl")
        while not ready.exists() or len(ready.read_text().splitlines()) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    assert start(*words) == 128 + number
    assert Path("signals.jsonl").read_text().split() == [str(number.value)] * 2
    assert len(jobs_told()) == 2
    assert states() == ["interrupted"] * 2 + ["waiting"] * 4
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"
    assert signal.getsignal(number) == before
    assert start(*words) == 0
    assert states() == ["finished"] * 6
    later = sorted(jobs_told()[2:], key=lambda job: job[3])
    assert [job[-1] == "resume=auto" for job in later] == [True] * 2 + [False] * 4


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
        ("optimizer.lr=choice(0.5,0.25)", "optimizer.lr", [0.5, 0.25]),
        ("seed=range(4,7)", "seed", [4, 5, 6]),
        (
            "cell=glob(*_gru,exclude=[layer*,reset*,conv*])",
            "cell._target_",
            ["seqloom.cells.LiGRU", "seqloom.cells.MinGRU"],
        ),
    ],
)
def test_values_survive_whatever_is_in_them(
    start: Started, setting: str, key: str, values: list[Any]
) -> None:
    assert start(setting, "hydra.sweep.dir='a sweep, it\\'s {mine}'") == 0
    configs = [compose_config(job) for job in jobs_told()]
    for number, (config, value) in enumerate(zip(configs, values, strict=True)):
        assert OmegaConf.select(config, key) == value
        assert config.run_dir == f"a sweep, it's {{mine}}/{number}"


def test_a_job_knows_its_sweep_and_belongs_to_no_run_under_way(
    monkeypatch: pytest.MonkeyPatch, start: Started
) -> None:
    monkeypatch.setenv("SEQLOOM_RUN_DIR", "elsewhere")
    assert start("seed=1", "hydra.sweep.dir=many/sweep", "launcher.cores_per_job=3") == 0
    line = Path("told.jsonl").read_text(encoding="utf-8")
    assert json.loads(line)[1] == {"SEQLOOM_SWEEP": "many/sweep", "OMP_NUM_THREADS": "3"}


def test_so_many_jobs_at_a_time_and_no_more(start: Started) -> None:
    assert start("seed=range(1,8)", "hydra.sweep.dir=sweep", "launcher.num_parallel=3") == 0
    lines = Path("times.jsonl").read_text(encoding="utf-8").splitlines()
    running, most = 0, 0
    for _, change in sorted(json.loads(line) for line in lines):
        running += change
        most = max(most, running)
    assert (running, most) == (0, 3)
