"""Proof that any number of processes says the same of a test set, each example once.

    python scripts/prove_evaluation.py [processes=1,2,3] [examples=1,2,7,1000] [num_updates=300]
                                       [output=FILE]

One translation run is trained by one process; then its test is done anew, from the same weights, by
each number of processes on each number of examples (`train.py resume=COPY strategy=ddp`, of a copy
whose training is over). A row tells whether every example was predicted once and in order, how many
predictions differ from those of one process, and the largest relative difference of the metrics.
Prints Markdown; `output` writes JSON. Exits with 1 on any difference above `LIMIT`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqloom.runs import Summary

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
LIMIT = 1e-6
SETTINGS = (
    "task=translation",
    "precision=fp32",
    "logger=csv",
    "trainer.accelerator=cpu",
    "data.num_val=50",
    "data.num_test=1000",
)


@dataclass(frozen=True)
class Evaluation:
    """What a test left behind."""

    metrics: dict[str, float | None]
    predictions: list[dict[str, Any]]

    def compare(self, expected: Evaluation, num_examples: int) -> dict[str, Any]:
        """A row of the table."""
        pairs = list(zip(self.predictions, expected.predictions, strict=False))
        return {
            "each once": [p["index"] for p in self.predictions] == list(range(num_examples)),
            "predictions that differ": sum(a["prediction"] != b["prediction"] for a, b in pairs),
            "metrics": max(
                abs((self.metrics[name] or 0.0) - (value or 0.0)) / max(abs(value or 0.0), 1e-9)
                for name, value in expected.metrics.items()
            ),
        }


def run(*settings: str) -> None:
    """`train.py` with one thread a process; ends this program where it fails."""
    subprocess.run(
        [sys.executable, str(TRAIN), *settings],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def evaluate(trained: Path, num_examples: int, num_processes: int) -> Evaluation:
    """The test of a copy of the run `trained`."""
    copy = trained.with_name(f"{num_examples}-{num_processes}")
    shutil.copytree(trained, copy)
    summary = Summary.read(copy / "summary.json")
    replace(summary, status="interrupted", metrics={}).write(copy / "summary.json")
    spread = ["strategy=ddp", f"trainer.devices={num_processes}"] if num_processes > 1 else []
    run(f"resume={copy}", f"data.num_test={num_examples}", *spread)
    lines = (copy / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = Summary.read(copy / "summary.json").metrics
    return Evaluation(metrics, [json.loads(line) for line in lines])


def main(arguments: list[str]) -> int:
    """See the top of the file; returns the exit code."""
    options = dict(argument.split("=", 1) for argument in arguments)
    processes = [int(word) for word in options.get("processes", "1,2,3").split(",")]
    examples = [int(word) for word in options.get("examples", "1,2,7,1000").split(",")]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        trained = Path(temporary) / "trained"
        run(
            *SETTINGS,
            f"trainer.max_steps={options.get('num_updates', '300')}",
            f"run_dir={trained}",
        )
        for number in examples:
            alone = evaluate(trained, number, 1)
            for count in processes:
                found = alone if count == 1 else evaluate(trained, number, count)
                row = {"examples": number, "processes": count, **found.compare(alone, number)}
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    if "output" in options:
        Path(options["output"]).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    same = (
        row["each once"] and not row["predictions that differ"] and row["metrics"] <= LIMIT
        for row in rows
    )
    return int(not all(same))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
