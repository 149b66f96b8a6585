"""A training step of a deep stack: layer by layer, in chunks, and in chunks with a thread a layer.

    python scripts/benchmark_wavefront.py [key=value ...]

    layers=4 hidden=512 batch=16 steps=128   sizes of the LSTM stack; all rows have all steps
    chunks=1,2,4,8,16                        numbers of chunks; 1 is layer by layer
    unrollings=fused,dynamic                 how a layer is run over a chunk
    num_repeats=3                            the fastest of them is quoted
    output=outputs/benchmark_wavefront.json

Forward and backward of the sum of the outputs, in milliseconds, on one CPU: what cutting costs
(`chunks`), and whether threads win it back (`threads`: forward in a pool of as many threads as
layers; autograd's backward has one thread for a CPU in any case). `devices` is no measurement but
what the measured time in chunks would be with a device a layer, moves taken as free: it is divided
by the layers, and L + C - 1 ticks are as long as C (the bubble of the first and last ticks).
"""

from __future__ import annotations

import functools
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from seqloom.cells import LSTM
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.recurrent import (
    LayerByLayer,
    LayerSchedule,
    RecurrentStack,
    StackOptions,
    stack_of_layers,
)
from seqloom.layers.wavefront import Unit, Wavefront
from seqloom.sequences import Padded
from seqloom.unrolling import Dynamic, Fused, Unrolling

DEFAULTS = {
    "layers": "4",
    "hidden": "512",
    "batch": "16",
    "steps": "128",
    "chunks": "1,2,4,8,16",
    "unrollings": "fused,dynamic",
    "num_repeats": "3",
    "output": "outputs/benchmark_wavefront.json",
}
UNROLLINGS: dict[str, Callable[[], Unrolling]] = {"fused": Fused, "dynamic": Dynamic}


class Threaded(Wavefront):
    """The units of a tick in threads."""

    def __init__(self, num_chunks: int, pool: ThreadPoolExecutor) -> None:
        super().__init__(num_chunks)
        self.pool = pool

    def run_tick(self, tick: int, units: Sequence[Unit], work: Callable[[Unit], None]) -> None:
        list(self.pool.map(work, units))


def training_step(stack: RecurrentStack, schedule: LayerSchedule, inputs: Padded) -> None:
    stack.schedule = schedule
    outputs, _ = stack(inputs, stack.initial_states(inputs.values, inputs.batch_size))
    outputs.values.sum().backward()
    stack.zero_grad()


def fastest_ms(steps: dict[str, Callable[[], None]], num_repeats: int) -> dict[str, float]:
    """The fastest of several runs of each, taken in turns, after one that is not counted."""
    best = dict.fromkeys(steps, float("inf"))
    for repeat in range(num_repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat:
                best[name] = min(best[name], (time.perf_counter() - start) * 1e3)
    return best


def row_of(options: dict[str, str], unrolling: str, num_chunks: int) -> dict[str, Any]:
    hidden, num_layers = int(options["hidden"]), int(options["layers"])
    stack = stack_of_layers(
        hidden,
        num_layers,
        cell=LSTM,
        unrolling=UNROLLINGS[unrolling](),
        output_size=hidden,
        dropout=SequenceDropout(probability=0, locked=False),
        options=StackOptions(),
    )
    batch, steps = int(options["batch"]), int(options["steps"])
    inputs = Padded(torch.randn(batch, steps, hidden), torch.full((batch,), steps))
    whole, chunked = LayerByLayer(), Wavefront(num_chunks)
    with ThreadPoolExecutor(num_layers) as pool:
        schedules: dict[str, LayerSchedule] = {
            "whole": whole,
            "chunks": chunked,
            "threads": Threaded(num_chunks, pool),
        }
        steps_of: dict[str, Callable[[], None]] = {
            name: functools.partial(training_step, stack, schedule, inputs)
            for name, schedule in schedules.items()
        }
        times = fastest_ms(steps_of, int(options["num_repeats"]))
    ticks = num_layers + num_chunks - 1
    times["devices"] = times["chunks"] / num_layers * ticks / num_chunks
    return {"unrolling": unrolling, "num_chunks": num_chunks, **times}


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if unknown := given.keys() - DEFAULTS.keys():
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(DEFAULTS)}")
    options = DEFAULTS | given
    columns = ("whole", "chunks", "threads", "devices")
    print(f"{'unrolling':<10}{'chunks':>7}" + "".join(f"{name:>10}" for name in columns))
    rows = []
    for unrolling in options["unrollings"].split(","):
        for num_chunks in map(int, options["chunks"].split(",")):
            row = row_of(options, unrolling, num_chunks)
            rows.append(row)
            times = "".join(f"{row[name]:10.1f}" for name in columns)
            print(f"{unrolling:<10}{num_chunks:>7}{times}", flush=True)
    machine = {"processor": platform.processor(), "num_threads": torch.get_num_threads()}
    path = Path(options["output"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"options": options, **machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
