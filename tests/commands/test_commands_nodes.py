"""Processes that torchrun or Slurm starts: the same numbers as one process, in one folder, and a
job that is started again after its time was over.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from prove_strategies import SharedPlan

from seqloom.commands.launchers import signal_number
from seqloom.commands.train import train
from seqloom.data import module
from seqloom.errors import ConfigError
from seqloom.runs import read_metrics

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
WORLD_SIZE = 2
LIMIT_S = 120
# 12 batches an epoch; splits of evaluation that no two processes share evenly.
SETTINGS = (
    "data.num_train=60",
    "data.num_val=13",
    "data.num_test=15",
    "batching.batch_size=5",
    "model.dropout=0",
    "precision=fp32",
    "optimizer=sgd",
    "scheduler=constant",
    "trainer.max_epochs=2",
    "trainer.max_steps=-1",
    "trainer.log_every_n_steps=1",
)
NODES = ("strategy=ddp", "trainer.num_nodes=2", "trainer.devices=1")
# One process that takes many updates to its end, so that a signal finds it at work.
LONG = ("trainer.max_epochs=25", "trainer.check_val_every_n_epoch=25")

TinyConfig = Callable[..., DictConfig]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]


def free_port(number: int = 0) -> int:
    """`number`, or one that nobody listens on; OSError where somebody does."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", number))
        port: int = found.getsockname()[1]
    return port


def free_job() -> int:
    """The id of a Slurm job whose port, which Lightning derives from it, is free."""
    for job in range(4000 + os.getpid() % 1000, 9999):
        try:
            free_port(15000 + job)
        except OSError:
            continue
        return job
    raise AssertionError("all ports are in use")


def slurm_task(rank: int, job: int) -> dict[str, str]:
    """What srun says to the task of `rank` of a job of two machines with one task each."""
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NAME": "train",
        "SLURM_NODELIST": "localhost",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NODEID": str(rank),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0",
    }


def torchrun_node(rank: int, port: int) -> list[str]:
    """The start of the command of the machine of `rank`, up to the script."""
    place = [f"--node-rank={rank}", "--master-addr=127.0.0.1", f"--master-port={port}"]
    run = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    return [*run, *place]


@contextmanager
def started(
    commands: list[list[str]], variables: list[Mapping[str, str]]
) -> Iterator[list[subprocess.Popen[str]]]:
    """The commands at work at once; none outlives the block."""
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command, more in zip(commands, variables, strict=True)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def outcomes(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit codes and what was said, once all have ended."""
    texts = [process.communicate(timeout=LIMIT_S)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, texts, strict=True)]


@contextmanager
def under_slurm(*settings: str) -> Iterator[list[subprocess.Popen[str]]]:
    job = free_job()
    command = [sys.executable, str(TRAIN), *settings]
    with started([command] * WORLD_SIZE, [slurm_task(rank, job) for rank in range(2)]) as both:
        yield both


def under_torchrun(*settings: str) -> list[tuple[int, str]]:
    port = free_port()
    commands = [[*torchrun_node(rank, port), str(TRAIN), *settings] for rank in range(2)]
    with started(commands, [{}] * WORLD_SIZE) as both:
        return outcomes(both)


def alone(*settings: str) -> tuple[int, str]:
    with started([[sys.executable, str(TRAIN), *settings]], [{}]) as (process,):
        return outcomes([process])[0]


def all_well(found: list[tuple[int, str]]) -> None:
    assert [code for code, _ in found] == [0] * len(found), "\n".join(text for _, text in found)


@pytest.fixture(scope="module")
def one(tiny_config: TinyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, each of whose updates is over the batches of one step of two."""
    path = tmp_path_factory.mktemp("nodes") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TrainingPlan", SharedPlan)
        accumulate = f"trainer.accumulate_grad_batches={WORLD_SIZE}"
        train(tiny_config(f"run_dir={path}", *SETTINGS, accumulate))
    return path


@pytest.fixture(scope="module", params=["torchrun", "slurm"])
def two(
    request: pytest.FixtureRequest,
    tiny_settings: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The run of two machines of one process each."""
    path = tmp_path_factory.mktemp("nodes") / "two"
    settings = (*tiny_settings, *SETTINGS, *NODES, f"run_dir={path}")
    if request.param == "torchrun":
        all_well(under_torchrun(*settings))
    else:
        with under_slurm(*settings) as both:
            all_well(outcomes(both))
    return path


def summary_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    return found


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path / "checkpoints/last.ckpt", weights_only=True)
    found: dict[str, torch.Tensor] = state["state_dict"]
    return found


def predictions_of(path: Path) -> list[dict[str, Any]]:
    lines = (path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_two_machines_come_to_the_weights_of_one_process(one: Path, two: Path) -> None:
    expected, found = weights_of(one), weights_of(two)
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-6, msg=name)


def test_two_machines_have_the_metrics_of_one_process(one: Path, two: Path) -> None:
    for name, num_rows in (("train/loss", 12), ("train/gradient_norm", 12), ("val/loss", 2)):
        expected, found = (
            [row[name] for row in read_metrics(path / "metrics.csv") if name in row]
            for path in (one, two)
        )
        assert len(expected) == len(found) == num_rows
        assert found == pytest.approx(expected, rel=1e-5)
    scores, others = summary_of(one)["metrics"], summary_of(two)["metrics"]
    assert scores.keys() == others.keys()
    for name in ("test/bleu", "test/nll"):
        assert others[name] == pytest.approx(scores[name], rel=1e-5)


def test_two_machines_predict_every_example_once(one: Path, two: Path) -> None:
    expected, found = predictions_of(one), predictions_of(two)
    assert [entry["index"] for entry in found] == list(range(15))
    assert [entry["prediction"] for entry in found] == [entry["prediction"] for entry in expected]


def test_two_machines_write_one_folder(one: Path, two: Path) -> None:
    assert [path.name for path in two.parent.iterdir()] == ["two"]
    summary = summary_of(two)
    assert (summary["status"], summary["steps"]) == ("finished", 12)
    names = {path.relative_to(one) for path in one.rglob("*")}
    more = {path.relative_to(two) for path in two.rglob("*")} - names
    assert {str(path) for path in more} <= {"train.rank1.log"}


def test_a_job_that_slurm_stops_and_starts_again_ends_as_one_left_alone(
    tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    settings = (*tiny_settings, *SETTINGS, *LONG, *NODES)
    stopped, left = tmp_path / "stopped", tmp_path / "left"
    command = (*settings, f"run_dir={stopped}", "resume=auto")
    with under_slurm(*command) as both:
        wait_for_update(stopped, both)
        for process in both:
            process.send_signal(signal.SIGUSR1)
        assert [code for code, _ in outcomes(both)] == [143, 143]
    summary = summary_of(stopped)
    assert summary["status"] == "interrupted"
    assert 0 < summary["steps"] < 25 * 6
    assert not (stopped / "run.lock").exists()
    for path, words in ((stopped, command), (left, (*settings, f"run_dir={left}"))):
        with under_slurm(*words) as both:
            all_well(outcomes(both))
        assert (summary_of(path)["status"], summary_of(path)["steps"]) == ("finished", 25 * 6)
    assert_same_end(stopped, left)
    with under_slurm(*command) as both:
        for code, text in outcomes(both):
            assert code == 2
            assert "training is over: its budget (trainer.max_epochs=25) is used up" in text


def wait_for_update(path: Path, processes: list[subprocess.Popen[str]]) -> None:
    """Returns once the run in `path` has logged an update."""
    deadline = time.monotonic() + LIMIT_S
    while not ((path / "metrics.csv").is_file() and read_metrics(path / "metrics.csv")):
        assert time.monotonic() < deadline
        assert [process.poll() for process in processes] == [None] * len(processes)
        time.sleep(0.05)


def assert_same_end(path: Path, other: Path) -> None:
    weights, others = weights_of(path), weights_of(other)
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name
    assert predictions_of(path) == predictions_of(other)
    rows, found = (
        {
            row["step"]: row["train/loss"]
            for row in read_metrics(run / "metrics.csv")
            if "train/loss" in row
        }
        for run in (path, other)
    )
    assert rows == found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda s: s.name)
def test_a_signal_saves_and_resume_auto_goes_on(
    tiny_settings: tuple[str, ...], tmp_path: Path, number: signal.Signals
) -> None:
    settings = (*tiny_settings, *SETTINGS, *LONG)
    stopped, left = tmp_path / "stopped", tmp_path / "left"
    command = (*settings, f"run_dir={stopped}", "resume=auto")
    with started([[sys.executable, str(TRAIN), *command]], [{}]) as (process,):
        wait_for_update(stopped, [process])
        process.send_signal(number)
        ((code, text),) = outcomes([process])
    assert code == 143, text
    assert "error: interrupted" in text
    summary = summary_of(stopped)
    assert summary["status"] == "interrupted"
    state = torch.load(stopped / "checkpoints/last.ckpt", weights_only=True)
    assert 0 < state["global_step"] == summary["steps"] < 25 * 12
    for words in (command, (*settings, f"run_dir={left}")):
        all_well([alone(*words)])
    assert_same_end(stopped, left)


def test_resume_auto_refuses_what_resume_refuses(
    tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    command = (*tiny_settings, *SETTINGS, "trainer.max_epochs=1", "resume=auto")
    code, text = alone(*command)
    assert (code, "resume=auto: it needs to know where the run would be" in text) == (2, True)
    command = (*command, f"run_dir={path}")
    all_well([alone(*command)])
    assert summary_of(path)["steps"] == 12
    for setting, words in (
        ("trainer.max_epochs=1", "training is over: its budget (trainer.max_epochs=1) is used up"),
        ("optimizer.lr=0.5", "optimizer: the optimiser goes on as it was"),
        ("attention=bahdanau", "attention: a run keeps its parts"),
        ("logger=none", "logger: a run keeps its parts"),
    ):
        code, text = alone(*command, setting)
        assert (code, words in text) == (2, True), text
    all_well([alone(*command, "trainer.max_epochs=2", "precision=auto")])
    config = (path / "config.yaml").read_text(encoding="utf-8")
    assert summary_of(path)["steps"] == 24
    assert "name: fp32" in config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["precision=fp32"], "run_dir=null: processes of another launcher must agree"),
        (["precision=auto", "run_dir=DIR"], "precision=auto: processes of another launcher might"),
        (
            ["precision=fp32", "run_dir=DIR", "trainer.num_nodes=3"],
            "trainer.num_nodes=3: with trainer.devices=1 it does not make {size}=2",
        ),
        (
            ["precision=fp32", "run_dir=DIR", "trainer.devices=auto"],
            "trainer.devices=auto: processes of another launcher might count",
        ),
    ],
    ids=["no folder", "no precision", "machines", "devices"],
)
@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_processes_that_could_not_agree_are_refused_in_one_line(
    tiny_config: TinyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
    settings: list[str],
    words: str,
) -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "WORLD_SIZE": "2"}
    size = "WORLD_SIZE" if launcher == "torchrun" else "SLURM_NTASKS"
    for name, value in (torchrun if launcher == "torchrun" else slurm_task(0, 1)).items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "run"
    cfg = tiny_config(*NODES, *(text.replace("DIR", str(path)) for text in settings))
    with pytest.raises(ConfigError) as caught:
        train(cfg)
    assert words.format(size=size) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("name", ["SIGKILL", "USR1", ""])
def test_a_signal_that_cannot_be_caught_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"callbacks.preemption_signal={name}: there is no such"):
        signal_number(name)
