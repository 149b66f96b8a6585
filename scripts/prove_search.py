"""Proof that a search prunes, goes on after a kill, ends with its total, and beats the default.

    python scripts/prove_search.py [output=FILE] [num_trials=20] [num_parallel=2] [seeds=3]
                                   [epochs=4] [folder=DIR]

`train.py -m sweep=optuna` is started on the embedded translation task, its process is killed by
SIGKILL when half of the trials have ended, and the same command is given again. Then the default
and the best trial are trained with other seeds, alike in everything but what was searched, and
compared on phrases that neither training nor the search has seen. Prints Markdown; `output` writes
JSON. Exits with 1 where the total is wrong, nothing was pruned, a folder is missing, or the best is
not better than the default.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqloom.errors import DataError
from seqloom.runs import Summary
from seqloom.sweeps.record import SweepRecord

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
METRICS = ("test/exact_match", "test/bleu", "test/chrf")
RIVALS = ("default", "best")
ENDED = ("finished", "pruned", "failed")
POLL_S = 0.5
# What every run has: small, and a validation four times an epoch.
SHORT = (
    "task=translation",
    "logger=csv",
    "trainer.accelerator=cpu",
    "trainer.val_check_interval=0.25",
    "trainer.log_every_n_steps=20",
    "data.num_train=6000",
    "data.num_val=400",
    "model.embedding_size=64",
)
SEARCHED = (
    "optimizer.lr=tag(log,interval(0.0003,0.03))",
    "model.dropout=range(0.0,0.45,0.05)",
    "model.hidden_size=64,96,128,192",
    "learner.label_smoothing=range(0.0,0.16,0.05)",
)
DEFAULT = ("model.hidden_size=128",)


def main(arguments: list[str]) -> int:
    given = {"output": "", "num_trials": "20", "num_parallel": "2", "seeds": "3", "epochs": "4"}
    given |= {"folder": ""} | dict(text.split("=", 1) for text in arguments)
    folder = Path(given["folder"] or tempfile.mkdtemp(prefix="prove_search_"))
    common = [*SHORT, f"trainer.max_epochs={given['epochs']}"]
    num_trials = int(given["num_trials"])
    command = [
        *("-m", "sweep=optuna", "sweep.spaces=[]", f"sweep.num_trials={num_trials}"),
        *(f"launcher.num_parallel={given['num_parallel']}", f"hydra.sweep.dir={folder / 'search'}"),
        *(*common, *SEARCHED, "data.num_test=50"),
    ]
    started = time.monotonic()
    killed = search(command, folder / "search", kill_after=num_trials // 2)
    code = search(command, folder / "search", kill_after=None)["exit_code"]
    found = summary_of(folder / "search", time.monotonic() - started)
    found |= {"killed": killed, "exit_code": code}
    print(table([found], list(found)[:8]), flush=True)
    best = next(job for job in found["trials"] if job["number"] == found["best"])
    rows: list[dict[str, Any]] = []
    for name, settings in zip(RIVALS, (DEFAULT, best["settings"]), strict=True):
        for seed in range(101, 101 + int(given["seeds"])):
            run_dir = folder / f"{name}_{seed}"
            text = [*common, *settings, f"seed={seed}", "data.num_test=1000"]
            run([*text, f"run_dir={run_dir}"])
            metrics = Summary.read(run_dir / "summary.json").metrics
            rows.append({"settings": name, "seed": seed} | {m: metrics[m] for m in METRICS})
    print(table(rows, ["settings", "seed", *METRICS]))
    means = {name: mean_of([r for r in rows if r["settings"] == name]) for name in RIVALS}
    print(table([{"mean of": n} | m for n, m in means.items()], ["mean of", *METRICS]))
    print(f"best: {' '.join(best['settings'])}")
    if given["output"]:
        everything = {"search": found, "runs": rows, "means": means}
        Path(given["output"]).write_text(json.dumps(everything, indent=2) + "\n")
    good = [
        found["trials in all"] == num_trials,
        found["folders"] == num_trials,
        found["pruned"] > 0,
        means["best"]["test/bleu"] > means["default"]["test/bleu"],
    ]
    if not given["folder"]:
        shutil.rmtree(folder)
    return 0 if all(good) else 1


def mean_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {metric: statistics.mean(float(row[metric]) for row in rows) for metric in METRICS}


def search(command: list[str], folder: Path, kill_after: int | None) -> dict[str, Any]:
    """Runs the sweep; kills its process, and no other, when so many trials have ended."""
    process = subprocess.Popen([sys.executable, str(TRAIN), *command], env=one_thread())
    while process.poll() is None:
        if kill_after is not None and count_ended(folder) >= kill_after:
            process.kill()
            process.wait()
            break
        time.sleep(POLL_S)
    return {"exit_code": process.returncode, "ended": count_ended(folder)}


def count_ended(folder: Path) -> int:
    try:
        return sum(job.state in ENDED for job in SweepRecord.read(folder).jobs)
    except DataError:
        return 0


def summary_of(folder: Path, seconds: float) -> dict[str, Any]:
    """What the search came to; keys that are shown first."""
    record = SweepRecord.read(folder)
    assert record.search is not None
    counts = record.counts()
    trained = sum(job.seconds for job in record.jobs)
    return {
        "trials in all": len(record.jobs),
        "finished": counts.get("finished", 0),
        "pruned": counts.get("pruned", 0),
        "failed": counts.get("failed", 0),
        "folders": sum((folder / str(n) / "config.yaml").exists() for n in range(record.num_jobs)),
        "seconds of trials": round(trained),
        "saved seconds": round(record.search.saved_seconds),
        "wall seconds": round(seconds),
        "best": record.search.best[0],
        "importance": record.search.importance,
        "trials": [
            {"number": j.number, "state": j.state, "settings": j.settings, "values": j.values}
            for j in record.jobs
        ],
    }


def run(settings: Sequence[str]) -> None:
    """`train.py` with one thread; ends this program where it fails."""
    subprocess.run(
        [sys.executable, str(TRAIN), *settings],
        check=True,
        env=one_thread(),
        stdout=subprocess.DEVNULL,
    )


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = [f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
