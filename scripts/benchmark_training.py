"""Training speed at the peers' architecture, and how near it comes to its pure matrix products.

    python scripts/benchmark_training.py data.root=DIR [num_steps=150] [output=FILE] [key=value ...]

Trains `experiment=multi30k_peers` (embeddings 256, encoder 256 each way, decoder 512, joint BPE of
10,000, 64 sentences, untied output) through the real DataModule, learner and Trainer, and counts
real target tokens. The bound is the time of the step's matrix products alone, each at its best of
several, on the same machine right after: input projections, recurrent products step by step,
attention, readout, the output layer on real tokens; forward and the two of the backward pass.
Further `key=value` words override the config (`precision=fp32`, `cell=gru`).
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seqloom  # isort: skip  # first: its cure lets lightning import torchvision
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from seqloom.commands import assembly
from seqloom.config.overrides import compose_config
from seqloom.data.batch import Batch
from seqloom.runs import RunFolder

NUM_WARMUP_STEPS = 60
assert seqloom.__version__


@dataclass(frozen=True)
class Step:
    """One training step: seconds since the step before it ended, and the batch's shape."""

    seconds: float
    num_rows: int
    source_length: int
    target_length: int
    num_target_tokens: int


class Clock(Callback):
    """Times every step from the end of the one before it, so loading a batch counts."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._last = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        now = time.perf_counter()
        rows, length = batch.target.values.shape
        step = Step(
            now - self._last, rows, batch.source.max_length, length, batch.target.num_elements
        )
        self.steps.append(step)
        self._last = now


def measure_steps(overrides: list[str], num_steps: int) -> tuple[list[Step], Any]:
    """Trains for `num_steps` after a warm-up; the steps, and the resolved config."""
    cfg = compose_config(["experiment=multi30k_peers", "task=translation", *overrides])
    cfg.trainer.max_epochs, cfg.trainer.max_steps = None, num_steps + NUM_WARMUP_STEPS
    datamodule = assembly.build_datamodule(cfg)
    datamodule.prepare_data()
    datamodule.setup("fit")
    learner = assembly.build_learner(cfg, datamodule.spec)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.create("benchmark", run_dir=Path(folder) / "run")
        cfg.trainer.limit_val_batches = 0
        trainer = assembly.build_trainer(cfg, run, loggers=[], callbacks=[clock])
        trainer.fit(learner, datamodule=datamodule)
        run.close()
    return clock.steps[NUM_WARMUP_STEPS:], cfg


def products(cfg: Any, step: Step) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """How often each product (m, k) x (k, n) of the forward pass is computed in a step."""
    model = cfg.model
    embedding, hidden, words = model.embedding_size, model.hidden_size, cfg.tokenizer.vocab_size
    half, rows = hidden // 2, step.num_rows
    source, target = rows * step.source_length, rows * step.target_length
    readout = hidden if model.tie == "none" else embedding
    yield 2, (source, embedding, 4 * half)
    yield 2 * step.source_length, (rows, half, 4 * half)
    yield 1, (target, embedding, 4 * hidden)
    yield step.target_length, (rows, hidden, 4 * hidden)
    yield 1, (source, hidden, hidden)
    yield 2 * rows, (step.target_length, hidden, step.source_length)
    yield 1, (target, 2 * hidden, readout)
    yield 1, (step.num_target_tokens, readout, words)


def product_seconds(shape: tuple[int, int, int], dtype: torch.dtype) -> float:
    """Best of seven of a product and of the two products of its backward pass."""
    m, k, n = shape
    left, right, grad = (torch.randn(s, dtype=dtype) for s in ((m, k), (k, n), (m, n)))
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        torch.mm(left, right)
        torch.mm(grad, right.T)
        torch.mm(left.T, grad)
        best = min(best, time.perf_counter() - start)
    return best


def bound_seconds(cfg: Any, steps: list[Step]) -> float:
    """The products of the median step, in the dtype of the run."""
    dtype = torch.bfloat16 if cfg.precision.name == "bf16" else torch.float32
    middle = sorted(steps, key=lambda step: step.num_target_tokens)[len(steps) // 2]
    seconds = sum(count * product_seconds(shape, dtype) for count, shape in products(cfg, middle))
    return seconds / middle.num_target_tokens


def main() -> None:
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    num_steps, output = int(words.pop("num_steps", 150)), words.pop("output", None)
    steps, cfg = measure_steps([f"{key}={value}" for key, value in words.items()], num_steps)
    tokens, seconds = sum(s.num_target_tokens for s in steps), sum(s.seconds for s in steps)
    bound = bound_seconds(cfg, steps)
    result = {
        "precision": cfg.precision.name,
        "num_threads": torch.get_num_threads(),
        "num_steps": len(steps),
        "target_tokens_per_s": tokens / seconds,
        "median_step_ms": 1e3 * statistics.median(step.seconds for step in steps),
        "bound_target_tokens_per_s": 1 / bound,
        "fraction_of_bound": tokens / seconds * bound,
    }
    for name, value in result.items():
        print(f"{name:28} {value:,.3f}" if isinstance(value, float) else f"{name:28} {value}")
    if output is not None:
        Path(output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
