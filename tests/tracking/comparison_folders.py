"""Folders of many synthetic translation runs, as close to real ones as a comparison can tell.

`make_sweep` is a grid (3 cells x 2 unrollings x 2 seeds, two jobs failed), `make_search` a search
over learning rate, dropout, size and cell, of any number of runs, each with its sweep.json. Seeded:
the same folder for the same arguments. Nothing of the package is imported, so what a reader answers
can be held against it.
"""

import csv
import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

CELLS = {
    "lstm": "_target_: seqloom.cells.LSTM\n  forget_bias: 1.0",
    "gru": "_target_: seqloom.cells.GRU\n  forget_bias: 0.0",
    "min_gru": "_target_: seqloom.cells.MinGRU\n  forget_bias: 0.0",
}
UNROLLINGS = {
    "dynamic": "_target_: seqloom.unrolling.Dynamic\n  memory: keep",
    "static": "_target_: seqloom.unrolling.Static\n  num_steps: 50\n  memory: keep",
}
CONFIG = """\
seed: {seed}
deterministic: false
run_dir: {folder}
resume: null
task:
  name: translation
  title: Translation
  topology: encoder_decoder
  monitor: val/loss
  mode: min
data:
  _target_: seqloom.data.cldr_phrases.CldrPhrases
  num_train: 2000
  seed: {seed}
  num_workers: {workers}
  cache_dir: null
  source_language: en
  target_language: de
cell:
  {cell}
unrolling:
  {unrolling}
model:
  _target_: seqloom.topologies.EncoderDecoder
  embedding_size: 64
  hidden_size: {hidden_size}
  dropout: {dropout}
  cell:
    {inner_cell}
  unrolling:
    {inner_unrolling}
optimizer:
  _target_: torch.optim.AdamW
  lr: {lr}
  betas:
  - 0.9
  - 0.999
trainer:
  max_epochs: 10
  devices: 1
logger:
  csv:
    _target_: seqloom.tracking.CsvLogger
"""
WORDS = ("ein", "Mann", "zwei", "Kinder", "der", "Hund", "spielt", "wartet", "am", "Strand")
COLUMNS = ("step", "epoch", "seconds", "train/loss", "val/loss", "val/bleu", "test/bleu")
QUALITY = {"lstm": 60.0, "gru": 62.0, "min_gru": 50.0}


def make_sweep(folder: Path, *, num_examples: int = 40) -> Path:
    """12 jobs in `folder`/0 to 11: 10 finished, job 10 failed, job 11 logged NaN and failed."""
    grid = itertools.product(CELLS, UNROLLINGS, (1, 2))
    for number, (cell, unrolling, seed) in enumerate(grid):
        status = "failed" if number >= 10 else "finished"
        error = {10: "RuntimeError: out of memory", 11: "val/loss is NaN"}.get(number)
        words = ["task=translation", f"cell={cell}", f"unrolling={unrolling}", f"seed={seed}"]
        make_member(
            folder / str(number),
            {"cell": cell, "unrolling": unrolling, "seed": seed},
            status=status,
            error=error,
            overrides=words,
            num_examples=num_examples if status == "finished" else 0,
        )
    jobs = [
        job_record(folder / str(number), number, "failed" if number >= 10 else "finished")
        for number in range(12)
    ]
    write_sweep(folder, jobs, None)
    return folder


def make_search(folder: Path, *, num_runs: int = 500, num_rows: int = 30) -> Path:
    """A search of `num_runs` trials: about a third stopped early, one in 50 failed."""
    random_ = random.Random(11)
    for number in range(num_runs):
        values: dict[str, Any] = {
            "cell": random_.choice(list(CELLS)),
            "lr": float(f"{10 ** random_.uniform(-4, -1.5):.4g}"),
            "dropout": round(random_.uniform(0, 0.5), 3),
            "hidden_size": random_.choice([64, 128, 256]),
        }
        chance = random_.random()
        status = "failed" if chance < 0.02 else "interrupted" if chance < 0.35 else "finished"
        words = [
            "task=translation",
            f"cell={values['cell']}",
            f"optimizer.lr={values['lr']}",
            f"model.dropout={values['dropout']}",
            f"model.hidden_size={values['hidden_size']}",
        ]
        make_member(
            folder / f"{number:03}",
            values,
            status=status,
            error="RuntimeError: no memory" if status == "failed" else None,
            overrides=words,
            num_rows=num_rows if status == "finished" else num_rows // 3,
            num_examples=2 if status == "finished" else 0,
        )
    states = {"interrupted": "pruned"}
    jobs = []
    for number in range(num_runs):
        place = folder / f"{number:03}"
        status = json.loads((place / "summary.json").read_text(encoding="utf-8"))["status"]
        jobs.append(job_record(place, number, states.get(status, status)))
    finished = [job for job in jobs if job["state"] == "finished"]
    pruned = [job for job in jobs if job["state"] == "pruned"]
    search = {
        "sampler": "tpe",
        "pruner": "median",
        "num_trials": num_runs,
        "num_pruned": len(pruned),
        "num_failed": num_runs - len(finished) - len(pruned),
        "saved_seconds": 25.0 * len(pruned),
        "saved_words": "the seconds that finished trials took for the steps that were left out",
        "importance": {
            "val/loss": {
                "optimizer.lr": 0.61,
                "cell": 0.22,
                "model.dropout": 0.1,
                "model.hidden_size": 0.07,
            }
        },
        "best": [min(finished, key=lambda job: job["values"])["number"]] if finished else [],
    }
    write_sweep(folder, jobs, search)
    return folder


def job_record(folder: Path, number: int, state: str) -> dict[str, Any]:
    """A job as `sweeps.record.JobRecord` has it."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    reasons = {"pruned": "worse than the median of 5 others", "failed": summary["error"]}
    return {
        "number": number,
        "folder": folder.name,
        "settings": summary["overrides"][1:],
        "state": state,
        "values": [summary["best"]["score"]] if state == "finished" else [],
        "error": reasons.get(state),
        "seconds": summary["seconds"],
        "steps": summary["steps"],
    }


def write_sweep(folder: Path, jobs: list[dict[str, Any]], search: dict[str, Any] | None) -> None:
    """sweep.json as `sweeps.record.SweepRecord` writes it."""
    record = {
        "name": "translation/2026-11-24_12-00-00",
        "command": "python train.py -m task=translation cell=lstm,gru,min_gru seed=1,2",
        "objectives": {"val/loss": "min"},
        "num_jobs": len(jobs),
        "jobs": jobs,
        "search": search,
    }
    (folder / "sweep.json").write_text(json.dumps(record), encoding="utf-8")


def make_member(
    folder: Path,
    settings: dict[str, Any],
    *,
    status: str = "finished",
    error: str | None = None,
    overrides: list[str] | None = None,
    num_rows: int = 30,
    num_examples: int = 20,
    metrics: dict[str, float | None] | None = None,
    config: str | None = None,
) -> Path:
    """One run; `settings` may hold cell, unrolling, seed, lr, dropout, hidden_size, workers.

    `metrics` replaces the summary's test metrics, `config` the text of config.yaml.
    """
    folder.mkdir(parents=True)
    chosen: dict[str, Any] = {
        "cell": "lstm",
        "unrolling": "dynamic",
        "seed": 1,
        "lr": 0.003,
        "dropout": 0.1,
    }
    chosen |= {"hidden_size": 128, "workers": 0, **settings}
    random_ = random.Random(f"{sorted(chosen.items())}")
    score = quality(chosen) + random_.gauss(0, 0.7)
    text = CONFIG.format(folder=folder, **written(chosen)) if config is None else config
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    seconds = 20.0 + chosen["hidden_size"] / 8 + random_.random()
    rows = make_rows(num_rows, score, seconds, status, random_)
    write_rows(folder, rows)
    correct = score / 100
    if num_examples:
        correct = write_examples(folder, num_examples, correct, random_)
    tested = {"test/bleu": score, "test/chrf": score + 9.0, "test/exact_match": correct}
    if status != "finished":
        tested = {}
    best = [row for row in rows if "val/loss" in row]
    summary = make_member_summary(chosen, status, error, overrides or [])
    summary["metrics"] = tested if metrics is None else metrics
    summary["seconds"] = seconds * (1.0 if status == "finished" else 0.3)
    summary["steps"] = 10 * num_rows
    if best:
        lowest = min(best, key=lambda row: row["val/loss"])
        summary["best"] = {
            "monitor": "val/loss",
            "score": lowest["val/loss"],
            "step": lowest["step"],
            "metrics": {"val/loss": lowest["val/loss"], "val/bleu": lowest["val/bleu"]},
        }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    session = {
        "hardware": {"cpu": "A processor", "cores": 8, "machine_cores": 8, "gpus": []},
        "variables": {"OMP_NUM_THREADS": "2"},
    }
    (folder / "environment.json").write_text(json.dumps({"sessions": [session]}), encoding="utf-8")
    return folder


def written(chosen: dict[str, Any]) -> dict[str, Any]:
    """The words of `CONFIG`; a link's copy is the same block, deeper."""
    cell, unrolling = CELLS[chosen["cell"]], UNROLLINGS[chosen["unrolling"]]
    return chosen | {
        "cell": cell,
        "unrolling": unrolling,
        "inner_cell": cell.replace("\n", "\n  "),
        "inner_unrolling": unrolling.replace("\n", "\n  "),
    }


def quality(chosen: dict[str, Any]) -> float:
    """BLEU that settings deserve: best near lr 0.003 and dropout 0.2."""
    far = math.log10(chosen["lr"] / 0.003) ** 2
    size = math.log2(chosen["hidden_size"] / 128)
    return QUALITY[chosen["cell"]] - 15 * far - 40 * (chosen["dropout"] - 0.2) ** 2 + 2 * size


def make_member_summary(
    chosen: dict[str, Any], status: str, error: str | None, overrides: list[str]
) -> dict[str, Any]:
    return {
        "task": "translation",
        "status": status,
        "metrics": {},
        "best": {},
        "steps": 0,
        "epochs": 10 if status == "finished" else 3,
        "seconds": 0.0,
        "throughput": {"train/examples_per_s": 402.1},
        "parameters": 6 * chosen["hidden_size"] ** 2 + 90_000,
        "peak_memory_bytes": 400_000_000 + 1_000_000 * chosen["hidden_size"],
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "seed": chosen["seed"],
        "error": error,
        "signatures": {"test/bleu": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"},
        "fingerprints": {"data": "aa"},
        "overrides": overrides,
    }


def make_rows(
    num_rows: int, score: float, seconds: float, status: str, random_: random.Random
) -> list[dict[str, float]]:
    """Training loss in every row, validation in every third, the test in the last."""
    rows = []
    for place in range(1, num_rows + 1):
        part = place / max(num_rows, 30)
        loss = 1.3 + (70 - score) / 50 + 5.0 * math.exp(-5 * part)
        row = {
            "step": 10 * place,
            "epoch": int(10 * part),
            "seconds": round(seconds * part, 3),
            "train/loss": round(loss + random_.gauss(0, 0.1), 5),
        }
        if place % 3 == 0:
            row["val/loss"] = round(loss + 0.1 + 0.15 * part, 5)
            row["val/bleu"] = round(score * (1 - math.exp(-4 * part)), 4)
        rows.append(row)
    if rows and status == "finished":
        rows[-1]["test/bleu"] = score
    return rows


def write_rows(folder: Path, rows: list[dict[str, float]]) -> None:
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_examples(folder: Path, num: int, correct: float, random_: random.Random) -> float:
    """Predictions of which about the share `correct` equals the target; answers the exact share."""
    num_right = 0
    targets = random.Random(5)  # The test split is the same for every run.
    lines = []
    for index in range(num):
        target = " ".join(targets.choice(WORDS) for _ in range(targets.randint(3, 9)))
        words = target.split()
        if random_.random() > correct:
            words[random_.randrange(len(words))] = "falsch"
        num_right += " ".join(words) == target
        row = {
            "index": index,
            "input": f"sentence {index}",
            "target": target,
            "prediction": " ".join(words),
            "score": -round(random_.expovariate(2.5), 4),
        }
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
    return num_right / num
