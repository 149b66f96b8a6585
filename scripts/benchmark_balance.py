"""How equally the ranks of a data parallel run work: padded steps of each rank in each step.

    python scripts/benchmark_balance.py data.root=DIR [output=FILE] [key=value ...]

Plans epoch 0 of Multi30k's training split as `num_processes` ranks would, without training. A cost
is rows x longest source + rows x longest target, what recurrent layers compute. For each batching
and number of ranks: the mean over steps of (max - mean) / mean, with batches dealt as they come
(random) and by `share_out`, and the part of all computing time that ranks wait. Further words
override the config (`task`, `data`, `tokenizer`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np

from seqloom.commands import assembly
from seqloom.config.overrides import compose_config
from seqloom.data.batching import Batches, Batching, Bucketed, padded_steps, share_out
from seqloom.data.loader import RowSource

SEED, RANKS = 1, (2, 4, 8)
BATCHINGS: dict[str, Batching] = {
    "64 rows": Bucketed(batch_size=64),
    "128 rows": Bucketed(batch_size=128),
    "2,048 tokens": Bucketed(max_tokens=2048),
    "4,096 tokens": Bucketed(max_tokens=4096),
}


def training_lengths(overrides: list[str]) -> np.ndarray:
    """[N, 2] steps of the training split."""
    datamodule = assembly.build_datamodule(compose_config(overrides))
    datamodule.prepare_data()
    datamodule.setup("fit")
    return cast(RowSource, datamodule.load("train")).lengths(0)


def cost_of_ranks(batches: Batches, lengths: np.ndarray, world_size: int) -> np.ndarray:
    """[num_steps, world_size] padded steps of both sides; a step that is not full is left out."""
    num = len(batches) // world_size * world_size
    cost: np.ndarray = padded_steps(batches[:num], lengths).sum(axis=1)
    return cost.reshape(-1, world_size)


def imbalance(cost: np.ndarray) -> float:
    """The mean over steps of (max - mean) / mean."""
    return float((cost.max(axis=1) / cost.mean(axis=1) - 1).mean())


def waiting(cost: np.ndarray) -> float:
    """The part of the time of all ranks in which they wait for the slowest."""
    return float(1 - cost.mean(axis=1).sum() / cost.max(axis=1).sum())


def measure(name: str, lengths: np.ndarray, world_size: int) -> dict[str, Any]:
    """One row of the table."""
    plan = BATCHINGS[name].plan(lengths, seed=SEED, epoch=0)
    shared = share_out(plan, lengths, world_size=world_size, uneven="cut")
    random, dealt = (cost_of_ranks(batches, lengths, world_size) for batches in (plan, shared))
    return {
        "batching": name,
        "ranks": world_size,
        "steps": len(dealt),
        "random": imbalance(random),
        "share_out": imbalance(dealt),
        "random_waiting": waiting(random),
        "share_out_waiting": waiting(dealt),
    }


def main() -> None:
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    output = words.pop("output", None)
    words = {"task": "translation", "data": "multi30k"} | words
    lengths = training_lengths([f"{key}={value}" for key, value in words.items()])
    results = [measure(name, lengths, ranks) for name in BATCHINGS for ranks in RANKS]
    print("| " + " | ".join(results[0]) + " |")
    print("|" + "---|" * len(results[0]))
    for result in results:
        cells = [f"{v:.2%}" if isinstance(v, float) else str(v) for v in result.values()]
        print("| " + " | ".join(cells) + " |")
    if output is not None:
        Path(output).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
