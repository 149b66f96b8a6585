"""Tiny runs of two processes, and functions that two processes call together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from seqloom.runs import read_metrics

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
# 16 batches an epoch, so 8 updates of two processes. The gradient is not clipped.
SETTINGS = (
    "task=translation",
    "data.num_train=80",
    "data.num_val=6",
    "data.num_test=6",
    "tokenizer.vocab_size=300",
    "batching.batch_size=5",
    "model.embedding_size=8",
    "model.hidden_size=16",
    "model.num_encoder_layers=1",
    "model.num_decoder_layers=1",
    "model.dropout=0",
    "decoding.beam_size=1",
    "precision=fp32",
    "optimizer=sgd",
    "optimizer.momentum=0",
    "scheduler=constant",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.gradient_clip_val=null",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "logger=csv",
)
NUM_UPDATES = 16


def train_command(folder: Path, name: str, *settings: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a run that goes to `folder / name`."""
    words = (*SETTINGS, *settings, f"run_dir={folder / name}", f"data.cache_dir={folder / 'cache'}")
    return [sys.executable, str(TRAIN), *words], os.environ | {"OMP_NUM_THREADS": "1"}


def train_two(folder: Path, name: str, *settings: str) -> Path:
    """Runs it to its end; returns the run's folder."""
    command, environment = train_command(folder, name, *settings)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / name


def resume(run: Path, *settings: str) -> None:
    """Goes on with a run."""
    command = [sys.executable, str(TRAIN), f"resume={run}", *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def weights_of(run: Path) -> dict[str, Tensor]:
    """The last weights, on the CPU."""
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    return weights


def logged(run: Path, name: str) -> list[float]:
    """Every value of a metric, by step."""
    return [row[name] for row in read_metrics(run / "metrics.csv") if name in row]


def in_two_processes(function: Callable[[], None], store: Path) -> None:
    """Calls a function of a module in two processes of one group; raises what one of them does."""
    multiprocessing.start_processes(
        _call, args=(function, str(store)), nprocs=2, start_method="spawn"
    )


def _call(rank: int, function: Callable[[], None], store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    function()
    dist.destroy_process_group()
