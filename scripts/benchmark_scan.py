"""A training step of cells with a linear recurrence: by a scan, by a loop, and by memory alone.

    python scripts/benchmark_scan.py [key=value ...]

    batch=8 steps=4096 input=256 hidden=256   sizes; all rows have all steps
    cells=min_gru,lru             names of cells with a scan
    threads=2                     of torch
    num_repeats=3                 the fastest of them is quoted
    output=outputs/benchmark_scan.json

Forward and backward of the sum of the outputs, with the gradient of the inputs, in milliseconds.
`products` is `Cell.project` alone, which loop and scan have in common; the columns named
`recurrence` are a step from the projected inputs on. `traffic` is a copy, between tensors that are
there already, of as many bytes as a scan reads and writes at least.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from seqloom.cells import LRU, LSTM, SRU, Cell, LinearCell, MinGRU, MinLSTM
from seqloom.sequences import Padded
from seqloom.unrolling import Dynamic, Fused, Scan, Unrolling

DEFAULTS = {
    "batch": "8",
    "steps": "4096",
    "input": "256",
    "hidden": "256",
    "cells": "min_gru,lru",
    "threads": "2",
    "num_repeats": "3",
    "output": "outputs/benchmark_scan.json",
}
CELLS: dict[str, type[LinearCell]] = {
    "min_gru": MinGRU,
    "min_lstm": MinLSTM,
    "lru": LRU,
    "sru": SRU,
}
COLUMNS = [
    "dynamic",
    "scan",
    "ratio",
    "products",
    "dynamic_recurrence",
    "scan_recurrence",
    "recurrence_ratio",
    "traffic",
    "fused_lstm",
]


def training_step(unrolling: Unrolling, cell: Cell, inputs: Padded) -> None:
    values = inputs.values.detach().requires_grad_()
    state = cell.initial_state(values, inputs.batch_size)
    outputs, _ = unrolling(cell, inputs.with_values(values), state)
    outputs.values.sum().backward()
    cell.zero_grad()


def products(cell: Cell, values: Tensor) -> None:
    cell.project(values.detach().requires_grad_()).sum().backward()
    cell.zero_grad()


def loop(cell: Cell, projected: Padded) -> None:
    """The recurrence by a loop over steps."""
    values = projected.values.detach().requires_grad_()
    state, outputs = cell.initial_state(values, projected.batch_size), []
    for step in values.unbind(dim=1):
        output, state = cell.advance(step, state)
        outputs.append(output)
    torch.stack(outputs, dim=1).sum().backward()
    cell.zero_grad()


def scan(cell: LinearCell, projected: Padded) -> None:
    values = projected.values.detach().requires_grad_()
    state = cell.initial_state(values, projected.batch_size)
    outputs, _ = cell.scan_projected(projected.with_values(values), state[:1])
    outputs.sum().backward()
    cell.zero_grad()


def traffic(cell: LinearCell, num_projected: int, num_elements: int) -> Callable[[], None]:
    """Of `num_elements` steps with `num_projected` features: forward the projected inputs are read,
    states and outputs written; backward all three are read, the outputs as their gradient, and the
    projected inputs' gradient is written."""
    outputs = cell.output_size * (1 if cell.gives_state else 2)
    features = 3 * num_projected + 2 * cell.state_sizes[0] + outputs
    source = torch.ones(num_elements * features // 2)  # a copy reads and writes
    place = torch.empty_like(source).fill_(0)

    def copy() -> None:
        place.copy_(source)

    return copy


def fastest_ms(actions: dict[str, Callable[[], None]], num_repeats: int) -> dict[str, float]:
    """The fastest of several runs of each, taken in turns."""
    best = dict.fromkeys(actions, float("inf"))
    for repeat in range(num_repeats + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if repeat:
                best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def measure(name: str, settings: dict[str, str]) -> dict[str, float]:
    torch.manual_seed(0)
    sizes = {"input_size": int(settings["input"]), "hidden_size": int(settings["hidden"])}
    cell = CELLS[name](**sizes)  # type: ignore[call-arg]
    lstm = LSTM(**sizes)
    shape = (int(settings["batch"]), int(settings["steps"]), sizes["input_size"])
    inputs = Padded(torch.randn(shape), torch.full(shape[:1], shape[1]))
    with torch.no_grad():
        projected = inputs.with_values(cell.project(inputs.values))
    actions = {
        "dynamic": lambda: training_step(Dynamic(), cell, inputs),
        "scan": lambda: training_step(Scan(), cell, inputs),
        "products": lambda: products(cell, inputs.values),
        "dynamic_recurrence": lambda: loop(cell, projected),
        "scan_recurrence": lambda: scan(cell, projected),
        "traffic": traffic(cell, projected.values.shape[2], inputs.num_elements),
        "fused_lstm": lambda: training_step(Fused(), lstm, inputs),
    }
    times = fastest_ms(actions, int(settings["num_repeats"]))
    times["ratio"] = times["dynamic"] / times["scan"]
    times["recurrence_ratio"] = times["dynamic_recurrence"] / times["scan_recurrence"]
    return times


def main() -> None:
    settings = DEFAULTS | dict(word.partition("=")[::2] for word in sys.argv[1:])
    unknown = settings.keys() - DEFAULTS.keys()
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: write one of {', '.join(DEFAULTS)}")
    names = settings["cells"].split(",")
    if wrong := set(names) - set(CELLS):
        raise SystemExit(f"cells={','.join(wrong)}: write some of {', '.join(CELLS)}")
    torch.set_num_threads(int(settings["threads"]))
    results = {}
    print(f"{'ms':20}" + "".join(f"{name:>12}" for name in names))
    for name in names:
        results[name] = measure(name, settings)
    for column in COLUMNS:
        cells = "".join(f"{results[name][column]:12.1f}" for name in names)
        print(f"{column:20}{cells}")
    machine = {
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
    }
    output = Path(settings["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({**settings, **machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
