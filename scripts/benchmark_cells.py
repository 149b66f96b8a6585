"""A training step of every cell that steps: the vendor's kernel, the handwritten loop, autograd.

    python scripts/benchmark_cells.py [key=value ...]

    batch=64 steps=50 input=256 hidden=256   sizes; all rows have all steps
    cells=lstm,gru,...            names of cells; left out: all that read vectors
    zoneout=0.1                   rate of the rows that are named `zoneout lstm`
    num_repeats=7                 the fastest of them is quoted
    output=outputs/benchmark_cells.json

Forward and backward of the sum of the outputs, with the gradient of the inputs, in milliseconds;
the ratio is that of the handwritten loop, where there is one, else of autograd's, to the vendor's
LSTM, which is timed anew beside each cell, so that a busy machine slows both.
"""

from __future__ import annotations

import inspect
import json
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import seqloom.cells
from seqloom.cells import LSTM, Cell, FusedCell, GatedCell
from seqloom.cells.noise import Noise
from seqloom.sequences import Padded
from seqloom.unrolling import Fused
from seqloom.unrolling.dynamic import run_prefixes
from seqloom.unrolling.handwritten import run_handwritten

DEFAULTS = {
    "batch": "64",
    "steps": "50",
    "input": "256",
    "hidden": "256",
    "cells": "",
    "zoneout": "0.1",
    "num_repeats": "7",
    "output": "outputs/benchmark_cells.json",
}
CELLS: dict[str, type[Cell]] = {
    re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower(): value
    for name, value in vars(seqloom.cells).items()
    if isinstance(value, type) and issubclass(value, Cell) and not inspect.isabstract(value)
    if not name.startswith("Conv")
}


def training_step(run: Any, cell: Cell, inputs: Padded, noise: Noise) -> None:
    values = inputs.values.detach().requires_grad_()
    noisy = cell.for_sequence(noise, inputs.batch_size)
    outputs, _ = run(
        noisy, inputs.with_values(values), cell.initial_state(values, inputs.batch_size)
    )
    outputs = outputs.values if isinstance(outputs, Padded) else outputs
    outputs.sum().backward()
    cell.zero_grad()


def fastest_ms(steps: dict[str, Callable[[], None]], num_repeats: int) -> dict[str, float]:
    """The fastest of several runs of each, taken in turns."""
    best = dict.fromkeys(steps, float("inf"))
    for repeat in range(num_repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat:
                best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def measure(name: str, noise: Noise, settings: dict[str, str]) -> dict[str, Any]:
    sizes = {
        "input_size": int(settings["input"]),
        "hidden_size": int(settings["hidden"]),
    }
    torch.manual_seed(0)
    cell: Any = CELLS[name.split()[-1]](**sizes)  # type: ignore[arg-type]
    reference = LSTM(**sizes)
    shape = (int(settings["batch"]), int(settings["steps"]), sizes["input_size"])
    inputs = Padded(torch.randn(shape), torch.full(shape[:1], shape[1]))
    runs: dict[str, Any] = {"autograd": run_prefixes}
    if isinstance(cell, GatedCell):
        runs["handwritten"] = run_handwritten
    if isinstance(cell, FusedCell) and noise == Noise():
        runs["fused"] = Fused()
    steps: dict[str, Callable[[], None]] = {
        key: lambda run=run: training_step(run, cell, inputs, noise)  # type: ignore[misc]
        for key, run in runs.items()
    }
    steps["fused_lstm"] = lambda: training_step(Fused(), reference, inputs, Noise())
    times = fastest_ms(steps, int(settings["num_repeats"]))
    ratio = times.get("handwritten", times["autograd"]) / times["fused_lstm"]
    return {"cell": name, **times, "ratio": ratio}


def main() -> None:
    settings = DEFAULTS | dict(word.partition("=")[::2] for word in sys.argv[1:])
    unknown = settings.keys() - DEFAULTS.keys()
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: write one of {', '.join(DEFAULTS)}")
    zoneout = Noise(zoneout=float(settings["zoneout"]), zoneout_memory=float(settings["zoneout"]))
    names = settings["cells"].split(",") if settings["cells"] else [*CELLS, "zoneout lstm"]
    columns = ["fused", "handwritten", "autograd", "fused_lstm", "ratio"]
    print(f"{'ms':18}" + "".join(f"{column:>13}" for column in columns))
    results = []
    for name in names:
        result = measure(name, zoneout if name.startswith("zoneout") else Noise(), settings)
        cells = [f"{result[key]:13.2f}" if key in result else " " * 13 for key in columns]
        print(f"{name:18}" + "".join(cells), flush=True)
        results.append(result)
    machine = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
    }
    output = Path(settings["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({**settings, **machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
