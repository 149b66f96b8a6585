"""Proof that every strategy computes what one process does: a table of topologies by strategies.

    python scripts/prove_strategies.py [topologies=NAME,...] [strategies=NAME,...]
                                       [part=exact,dropout] [num_updates=50] [output=FILE]

`exact`: with dropout off, each topology is trained for `num_updates` updates by one process and by
each strategy (two processes, except where it is one), over the same global batches; a cell is the
largest relative difference of the losses of all updates, of the final weights (by the largest of
their tensor, or by 0.1 where all of it is smaller) and of the test metrics. `dropout`: with dropout
on, each strategy is run twice, which must give the same weights bit for bit, and its losses are
compared with those of one process by their mean over the last half. Every run is `train.py` in
processes of its own. Prints Markdown; `output` writes JSON. Exits with 1 above `LIMIT`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seqloom.data import batching, module, windows
from seqloom.runs import Summary, read_metrics

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
LIMIT = 1e-5
NUM_PROCESSES = 2
COMMON = (
    "precision=fp32",
    "logger=csv",
    "optimizer=sgd",
    "optimizer.lr=0.05",
    "scheduler=constant",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=-1",
    "trainer.log_every_n_steps=1",
    "data.num_val=13",
    "data.num_test=15",
)
TRANSLATION = (
    "task=translation",
    "data.num_train=400",
    "tokenizer.vocab_size=301",
    "batching.batch_size=8",
    "model.embedding_size=16",
    "model.hidden_size=24",
    "model.num_encoder_layers=2",
    "model.num_decoder_layers=2",
)
SMALL = ("data.num_train=400", "batching.batch_size=8", "model.num_layers=2")
# At the rate of the others these few clips diverge, and any rounding grows tenfold in a few steps.
CLIPS = ("data.num_train=64", "batching.batch_size=4", "frames.norm=group", "optimizer.lr=0.001")
STREAM = (
    "task=language_modeling",
    "data.num_train=9000",
    "data.num_val=2000",
    "data.num_test=2000",
    "batching.batch_size=4",
    "batching.window=16",
    "model.embedding_size=16",
    "model.hidden_size=32",
    "model.num_layers=2",
)
TOPOLOGIES: dict[str, tuple[str, ...]] = {
    "encoder_decoder": TRANSLATION,
    "context_only": (*TRANSLATION, "attention=none"),
    "delayed": (*TRANSLATION[:6], "model=plain", "attention=none", "model.num_layers=2"),
    "aligned": ("task=reverse", *SMALL),
    "language_model": STREAM,
    "language_model_windows": ("batching=windows", *STREAM),
    "to_vector": ("task=parity", *SMALL),
    "to_vector_of_features": ("task=adding", *SMALL),
    "vector_to_sequence": (
        "task=text_generation",
        "model.embedding_size=16",
        "model.hidden_size=32",
        *SMALL,
    ),
    "video": ("task=video_classification", *CLIPS),
    "captions": ("task=video_captioning", *CLIPS),
}
DEVICES = f"trainer.devices={NUM_PROCESSES}"
STRATEGIES: dict[str, tuple[str, ...]] = {
    "ddp": ("strategy=ddp", DEVICES),
    "fsdp": ("strategy=fsdp", DEVICES),
    "model_parallel": ("strategy=model_parallel", DEVICES),
    "placement": ("strategy=placement", "strategy.num_chunks=4", "strategy.num_micro_batches=2"),
    "pipeline": ("strategy=pipeline", "strategy.num_micro_batches=2", DEVICES),
}
# Each process has batches of its own; in the others all share one batch.
DATA_PARALLEL = ("ddp", "fsdp")


class SharedPlan(batching.TrainingPlan):
    """The batches in the order in which `NUM_PROCESSES` processes take them."""

    def __call__(self, epoch: int) -> tuple[batching.Batches, np.ndarray]:
        batches, lengths = super().__call__(epoch)
        shared = batching.share_out(batches, lengths, world_size=NUM_PROCESSES, uneven="cut")
        return shared, lengths


@dataclass(frozen=True)
class Run:
    """What a finished run leaves to compare."""

    losses: np.ndarray
    weights: dict[str, torch.Tensor]
    metrics: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Of a run folder."""
        rows = read_metrics(folder / "metrics.csv")
        losses = [row["train/loss"] for row in rows if "train/loss" in row]
        state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
        found = Summary.read(folder / "summary.json").metrics
        metrics = {name: value for name, value in found.items() if value is not None}
        return cls(np.array(losses), state["state_dict"], metrics)

    def difference(self, other: Run) -> float:
        """The largest relative one of losses, weights and metrics; infinite where they lack."""
        same_names = self.weights.keys() == other.weights.keys()
        if not same_names or len(self.losses) != len(other.losses):
            return float("inf")
        return max(
            float(np.max(np.abs(self.losses - other.losses) / np.abs(self.losses))),
            max(_relative(self.weights[name], other.weights[name]) for name in self.weights),
            max(
                abs(self.metrics[name] - other.metrics[name]) / max(abs(self.metrics[name]), 1e-9)
                for name in self.metrics
            ),
        )


def _relative(expected: torch.Tensor, found: torch.Tensor) -> float:
    scale = expected.abs().max().clamp(min=0.1)  # a bias begins at zero, and has no size of its own
    return float((expected - found).abs().max() / scale)


class Prover:
    """Runs of one folder.

    Args:
        num_updates: of each run.
    """

    def __init__(self, folder: Path, *, num_updates: int) -> None:
        self.folder, self.num_updates = folder, num_updates

    def exact(self, topology: str, strategies: list[str]) -> dict[str, float | str]:
        """The largest difference of each strategy from one process, or why it does not run."""
        settings = (*TOPOLOGIES[topology], "model.dropout=0")
        cells: dict[str, float | str] = {}
        references: dict[bool, Run] = {}
        for strategy in strategies:
            is_shared = strategy in DATA_PARALLEL
            if is_shared not in references:
                references[is_shared] = self._alone(f"{topology}-{is_shared}", settings, is_shared)
            found = self._run(f"{topology}-{strategy}", (*settings, *STRATEGIES[strategy]))
            cells[strategy] = (
                found if isinstance(found, str) else references[is_shared].difference(found)
            )
        return cells

    def dropout(self, topology: str, strategies: list[str]) -> dict[str, float | str]:
        """The relative difference of the mean loss of the last half of the updates from that of
        one process; `differs` where two runs of a strategy are not the same."""
        settings = (*TOPOLOGIES[topology], "model.dropout=0.2")
        cells: dict[str, float | str] = {}
        references: dict[bool, Run] = {}
        for strategy in strategies:
            is_shared = strategy in DATA_PARALLEL
            if is_shared not in references:
                references[is_shared] = self._alone(
                    f"{topology}-{is_shared}-d", settings, is_shared
                )
            arguments = (*settings, *STRATEGIES[strategy])
            first, again = (
                self._run(f"{topology}-{strategy}-d{number}", arguments) for number in (1, 2)
            )
            if isinstance(first, str) or isinstance(again, str):
                cells[strategy] = str(first)
            elif first.difference(again) > 0:
                cells[strategy] = "differs"
            else:
                means = [
                    run.losses[len(run.losses) // 2 :].mean()
                    for run in (references[is_shared], first)
                ]
                cells[strategy] = float(means[1] / means[0] - 1)
        return cells

    def _alone(self, name: str, settings: tuple[str, ...], is_shared: bool) -> Run:
        """One process over the global batches of `NUM_PROCESSES`, or over its own."""
        path = self.folder / f"{name}-one"
        arguments = [*COMMON, *settings, f"trainer.max_steps={self.num_updates}", f"run_dir={path}"]
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_train_alone, args=(arguments, is_shared))
        process.start()
        process.join()
        return Run.read(path)

    def _run(self, name: str, settings: tuple[str, ...]) -> Run | str:
        """A run in processes of its own, or the line that it ends with."""
        path = self.folder / name
        limits = [f"trainer.max_steps={self.num_updates}", f"run_dir={path}"]
        done = subprocess.run(
            [sys.executable, str(TRAIN), *COMMON, *settings, *limits],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            return Run.read(path)
        return (done.stderr.strip().splitlines() or ["no word"])[-1]


def _train_alone(arguments: list[str], is_shared: bool) -> None:
    """Trains in this process; where `is_shared`, each update is over the batches that
    `NUM_PROCESSES` processes have in one step."""
    torch.set_num_threads(1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    from seqloom.commands.train import train
    from seqloom.config import build, plain
    from seqloom.config.overrides import compose_config

    spans = windows.StreamBatches.spans

    def side_by_side(
        self: windows.StreamBatches, num_tokens: int, *, seed: int, epoch: int, world_size: int
    ) -> batching.Batches:
        """The rows of all processes in one batch, since a state is carried from batch to batch."""
        batches = spans(self, num_tokens, seed=seed, epoch=epoch, world_size=NUM_PROCESSES)
        starts = range(0, len(batches), NUM_PROCESSES)
        return [np.concatenate(batches[start : start + NUM_PROCESSES]) for start in starts]

    cfg = plain(compose_config(arguments))
    if is_shared and isinstance(build(cfg.batching), windows.StreamBatches):
        windows.StreamBatches.spans = side_by_side  # type: ignore[method-assign]
    elif is_shared:
        cfg.trainer.accumulate_grad_batches = NUM_PROCESSES
        module.TrainingPlan = SharedPlan  # type: ignore[misc]
    train(cfg)


def _table(title: str, rows: dict[str, dict[str, float | str]], strategies: list[str]) -> str:
    lines = [f"| {title} | " + " | ".join(strategies) + " |", "|---" * (len(strategies) + 1) + "|"]
    for topology, cells in rows.items():
        shown = [
            f"{cell:.1e}" if isinstance(cell, float) else cell.removeprefix("error: ")
            for cell in (cells[strategy] for strategy in strategies)
        ]
        lines.append(f"| {topology} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """See the top of the file; returns the exit code."""
    options = dict(argument.split("=", 1) for argument in arguments)
    topologies = options.get("topologies", ",".join(TOPOLOGIES)).split(",")
    strategies = options.get("strategies", ",".join(STRATEGIES)).split(",")
    results: dict[str, dict[str, dict[str, float | str]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        prover = Prover(Path(temporary), num_updates=int(options.get("num_updates", "50")))
        for part in options.get("part", "exact,dropout").split(","):
            compare = {"exact": prover.exact, "dropout": prover.dropout}[part]
            results[part] = {}
            for topology in topologies:
                results[part][topology] = compare(topology, strategies)
                print(topology, results[part][topology], file=sys.stderr, flush=True)
            print(_table(part, results[part], strategies), end="\n\n", flush=True)
    if "output" in options:
        Path(options["output"]).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    cells = [cell for row in results.get("exact", {}).values() for cell in row.values()]
    return int(any(isinstance(cell, float) and cell > LIMIT for cell in cells))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
