"""A payload of many runs, made by hand: the page's side of the joint, without folders."""

import math
import random
from typing import Any

METRIC = "test/bleu"


def make_payload(*, num_runs: int = 6, num_seeds: int = 2) -> dict[str, Any]:
    """`num_runs` runs, `num_seeds` a group; the last one failed; a search over all of them."""
    random_ = random.Random(3)
    runs = [make_entry(k, k // num_seeds, random_) for k in range(num_runs)]
    if runs:
        runs[-1] |= {"status": "failed", "error": "RuntimeError: <out> of memory", "metrics": {}}
    groups = [make_group(runs, index) for index in range(math.ceil(num_runs / num_seeds))]
    return {
        "title": f"{num_runs} runs of translation",
        "folder": "outputs/sweeps/translation/x",
        "created": "2026-11-24 12:00",
        "task": "translation",
        "tasks": ["translation"],
        "main": METRIC,
        "mode": "max",
        "metrics": [
            {"name": METRIC, "mode": "max", "is_percent": True},
            {"name": "val/loss", "mode": "min", "is_percent": False},
        ],
        "keys": ["cell", "optimizer.lr"],
        "problems": [],
        "notes": [],
        "runs": runs,
        "groups": groups,
        "significance": [make_comparison(0, 1)] if len(groups) > 1 else [],
        "search": make_search_entry(runs),
    }


def make_entry(number: int, group: int, random_: random.Random) -> dict[str, Any]:
    settings = {"cell": ("lstm", "gru", None)[group % 3], "optimizer.lr": 10 ** -(1 + group % 4)}
    score = 60 + group % 7 + random_.random()
    steps = list(range(10, 310, 10))
    values = [score * (1 - math.exp(-step / 100)) for step in steps]
    curve = {"step": steps, "seconds": [step / 10 for step in steps], "value": values}
    return {
        "name": str(number),
        "folder": f"outputs/{number}",
        "task": "translation",
        "status": "finished",
        "settings": settings,
        "metrics": {METRIC: score, "val/loss": 2.0 - score / 100},
        "seed": number,
        "group": group,
        "error": None,
        "command": f"python train.py task=translation seed={number}",
        "parameters": 1000 * (1 + group % 5),
        "seconds": 30.0 + number,
        "peak_memory_bytes": 400_000_000,
        "energy_wh": 0.2,
        "steps": 300,
        "epochs": 10,
        "report": f"{number}/report.html",
        "curves": {"val/bleu": curve},
    }


def make_group(runs: list[dict[str, Any]], index: int) -> dict[str, Any]:
    members = [run for run in runs if run["group"] == index]
    known = [run["metrics"][METRIC] for run in members if METRIC in run["metrics"]]
    mean = sum(known) / len(known) if known else None
    numbers = {
        "count": len(known),
        "mean": mean,
        "deviation": 0.5 if len(known) > 1 else None,
        "low": mean - 1 if mean and len(known) > 1 else None,
        "high": mean + 1 if mean and len(known) > 1 else None,
        "best": max(known, default=None),
    }
    return {
        "label": f"cell={members[0]['settings']['cell']} lr={index}",
        "settings": members[0]["settings"],
        "num_runs": len(members),
        "num_failed": sum(run["status"] == "failed" for run in members),
        "seeds": [run["seed"] for run in members],
        "metrics": {METRIC: numbers} if known else {},
    }


def make_comparison(first: int, second: int) -> dict[str, Any]:
    return {
        "metric": METRIC,
        "first": first,
        "second": second,
        "num_runs": [2, 2],
        "difference": -1.0,
        "low": -1.8,
        "high": -0.2,
        "p_seeds": 0.02,
        "p_examples": 0.01,
        "epsilon": 0.1,
        "p_corrected": 0.02,
        "is_shown": True,
        "words": "The second group is better by 1.0.",
    }


def make_search_entry(runs: list[dict[str, Any]]) -> dict[str, Any]:
    trials = [
        {
            "number": k,
            "state": "failed"
            if run["status"] == "failed"
            else "pruned"
            if k % 4 == 1
            else "finished",
            "values": [run["metrics"][METRIC]] if METRIC in run["metrics"] and k % 4 != 1 else [],
            "params": run["settings"],
            "run": k,
            "steps": 300,
        }
        for k, run in enumerate(runs)
    ]
    return {
        "sampler": "tpe",
        "pruner": "median",
        "objectives": {METRIC: "max"},
        "num_trials": len(trials),
        "num_pruned": sum(trial["state"] == "pruned" for trial in trials),
        "num_failed": 1,
        "pruned_share": 0.25,
        "saved_seconds": 90.0,
        "saved_words": "90 s were saved.",
        "importance": {METRIC: {"optimizer.lr": 0.75, "cell": 0.25}},
        "best": next((trial for trial in trials if trial["values"]), None),
        "default": None,
        "trials": trials,
    }
