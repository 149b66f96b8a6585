"""Training speed on this machine by processes, threads and strategies.

    python scripts/benchmark_distributed.py [cases=NAME,...] [num_steps=60] [output=FILE]
                                            [key=value ...]

Each case is `train.py` on `task=translation` in processes of its own, one case after the other, for
`num_steps` updates and as many before them that do not count. The speed is read from metrics.csv:
target tokens of all processes a second. The same rows come from the same data; data parallel
processes take `batching.batch_size` rows each, so an update has twice as many, and the cases with
one model in several processes have the rows of one.

The share of communication is that of `ddp` against `ddp_silent`: the same two processes, which tell
each other the count of tokens but no gradients (local_sgd that never averages). What is left of the
time is computing and waiting for the slower of the two. Other strategies have no silent twin.
Further words go to train.py (`data.root=DIR data=multi30k`, `precision=fp32`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqloom.runs import read_metrics

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
TOKENS = "train/target_tokens_per_s"
SIZES = (
    "task=translation",
    "logger=csv",
    "model.embedding_size=256",
    "model.hidden_size=512",
    "model.num_encoder_layers=2",
    "model.num_decoder_layers=2",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=-1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.check_val_every_n_epoch=1000000",
)


@dataclass(frozen=True)
class Case:
    """A row of the table: `num_processes` with `num_threads` each, and the words that say so."""

    num_processes: int
    num_threads: int
    words: tuple[str, ...]


CASES = {
    "one_thread": Case(1, 1, ("strategy=auto",)),
    "two_threads": Case(1, 2, ("strategy=auto",)),
    "ddp": Case(2, 1, ("strategy=ddp",)),
    "ddp_silent": Case(
        2,
        1,
        (
            "strategy=ddp",
            "strategy.communication=local_sgd",
            "strategy.start_step=0",
            "strategy.average_every_n_steps=1000000",
        ),
    ),
    "ddp_bf16": Case(2, 1, ("strategy=ddp", "strategy.communication=bf16")),
    "async_sgd": Case(2, 1, ("strategy=async_sgd",)),
    "pipeline": Case(2, 1, ("strategy=pipeline",)),
    "fsdp": Case(2, 1, ("strategy=fsdp",)),
    "model_parallel": Case(2, 1, ("strategy=model_parallel",)),
    "placement": Case(1, 2, ("strategy=placement", "strategy.num_chunks=4")),
}
USUAL = "one_thread,two_threads,ddp,ddp_silent,pipeline"


def tokens_per_s(case: Case, num_steps: int, words: list[str]) -> float:
    """Target tokens a second in the second half of a run. Raises SystemExit with the end of the
    run's words where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = [
            *SIZES,
            *words,
            *case.words,
            f"trainer.devices={case.num_processes}",
            f"trainer.max_steps={2 * num_steps}",
            f"trainer.log_every_n_steps={num_steps}",
            f"run_dir={run}",
        ]
        done = subprocess.run(
            [sys.executable, str(TRAIN), *settings],
            env=os.environ | {"OMP_NUM_THREADS": str(case.num_threads)},
            capture_output=True,
            text=True,
            timeout=3600,
        )
        if done.returncode:
            raise SystemExit("\n".join((done.stdout + done.stderr).splitlines()[-20:]))
        rates = [row[TOKENS] for row in read_metrics(run / "metrics.csv") if TOKENS in row]
    return float(rates[-1])


def table(speeds: dict[str, float]) -> list[dict[str, Any]]:
    """Rows: the speed of each case, against one thread, and the share of communication."""
    rows = []
    for name, speed in speeds.items():
        case = CASES[name]
        silent = speeds.get("ddp_silent") if name == "ddp" else None
        rows.append(
            {
                "case": name,
                "processes": case.num_processes,
                "threads": case.num_threads,
                "tokens_per_s": speed,
                "against_one_thread": speed / speeds["one_thread"],
                "communication": None if silent is None else 1 - speed / silent,
            }
        )
    return rows


def main() -> None:
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    names = words.pop("cases", USUAL).split(",")
    num_steps, output = int(words.pop("num_steps", 60)), words.pop("output", None)
    unknown = set(names) - CASES.keys()
    if unknown:
        raise SystemExit(f"cases={','.join(sorted(unknown))}: unknown; one of {', '.join(CASES)}")
    overrides = [f"{key}={value}" for key, value in words.items()]
    speeds: dict[str, float] = {}
    for name in dict.fromkeys(["one_thread", *names]):
        speeds[name] = tokens_per_s(CASES[name], num_steps, overrides)
        print(f"{name}: {speeds[name]:,.0f} target tokens/s", flush=True)
    rows = table(speeds)
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        cells = [f"{v:,.2f}" if isinstance(v, float) else str(v) for v in row.values()]
        print("| " + " | ".join("-" if cell == "None" else cell for cell in cells) + " |")
    if output is not None:
        Path(output).write_text(json.dumps({"words": words, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
