"""What each way of communication sends, and what becomes of the model, after as many updates.

    python scripts/benchmark_communication.py [num_updates=300] [folder=DIR] [output=FILE]
        [key=value ...]

Trains `task=translation` by `train.py` with two processes for each way, one after another, and
prints a table (with `output`, also JSON): megabytes that a process sent in an update, in parts of
plain exchange; seconds of an update, validations left out; loss and scores of the test split.
PowerSGD and local SGD begin after a tenth of the updates. Further words override the settings
(`seed=2`, `model.hidden_size=64`).

An update of asynchronous SGD is one of a single process, over half as many examples; nothing is
sent there, the weights are read and written in memory (`-`).
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from seqloom.runs import read_metrics

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
SETTINGS = (
    "task=translation",
    "trainer.devices=2",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=null",
    "trainer.log_every_n_steps=1",
    "logger=csv",
)
SCORES = ("nll", "bleu", "exact_match")


def ways(num_updates: int) -> dict[str, tuple[str, ...]]:
    """Settings of each way, by the name it has in the table."""
    start = f"strategy.start_step={max(2, num_updates // 10)}"
    low_rank = ("strategy.communication=powersgd", "strategy.powersgd_rank=4", start)
    local = ("strategy.communication=local_sgd", "strategy.average_every_n_steps=8", start)
    return {
        "plain": ("strategy=ddp",),
        "bf16": ("strategy=ddp", "strategy.communication=bf16"),
        "powersgd rank 4": ("strategy=ddp", *low_rank),
        "local_sgd k=8": ("strategy=ddp", *local),
        "sparse rows": ("strategy=ddp", "strategy.sparse_embeddings=true"),
        "async_sgd": ("strategy=async_sgd",),
    }


def measure(name: str, settings: list[str], run: Path) -> dict[str, Any]:
    """Trains one way in the folder `run`, and reads what the run has written."""
    command = [sys.executable, str(TRAIN), *SETTINGS, *settings, f"run_dir={run}"]
    done = subprocess.run(
        command,
        env={"OMP_NUM_THREADS": "1"} | os.environ,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"{name}: {done.stdout}{done.stderr}")
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    rows = [row for row in read_metrics(run / "metrics.csv") if "train/loss" in row]
    sent = [
        row["train/sent_bytes"] / (row["step"] + 1) for row in rows if "train/sent_bytes" in row
    ]
    # The median: where a validation or a write comes between two updates, it is not theirs.
    times = [row["seconds"] for row in rows]
    update_s = [after - before for before, after in itertools.pairwise(times)]
    return {
        "communication": name,
        "num_updates": summary["steps"],
        "num_parameters": summary["parameters"],
        "bytes_per_update": sent[-1] if sent else None,
        "seconds_per_update": statistics.median(update_s),
        "seconds": summary["seconds"],
        **{score: summary["metrics"][f"test/{score}"] for score in SCORES},
    }


def table(results: list[dict[str, Any]]) -> str:
    plain = results[0]["bytes_per_update"]
    titles = ("communication", "MB/update", "of plain", "s/update", *SCORES)
    lines = ["{:16} {:>10} {:>9} {:>9} {:>8} {:>8} {:>12}".format(*titles)]
    for result in results:
        sent = result["bytes_per_update"]
        told = ("-", "-") if sent is None else (f"{sent / 1e6:.3f}", f"{sent / plain:.3f}")
        lines.append(
            f"{result['communication']:16} {told[0]:>10} {told[1]:>9} "
            f"{result['seconds_per_update']:9.4f} {result['nll']:8.4f} {result['bleu']:8.2f} "
            f"{result['exact_match']:12.4f}"
        )
    return "\n".join(lines)


def main() -> None:
    words: dict[str, str] = dict(word.partition("=")[::2] for word in sys.argv[1:])
    num_updates = int(words.pop("num_updates", 300))
    output = words.pop("output", "")
    folder = Path(words.pop("folder", "") or tempfile.mkdtemp(prefix="communication-"))
    settings = [f"{key}={value}" for key, value in words.items()]
    results = []
    for name, own in ways(num_updates).items():
        run = folder / name.replace(" ", "-").replace("=", "")
        results.append(measure(name, [*own, f"trainer.max_steps={num_updates}", *settings], run))
        print(f"{name}: {results[-1]['seconds']:.0f} s, {run}", flush=True)
    print(table(results))
    if output:
        Path(output).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
