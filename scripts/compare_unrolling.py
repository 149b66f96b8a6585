"""Static against dynamic against fused against scan: build time, steps, memory, wasted steps.

    python scripts/compare_unrolling.py [key=value ...]

    cells=lstm,gru,min_gru        names of cells
    unrollings=dynamic,static,static_compiled,fused,scan
    memory=keep,checkpoint,swap   what is kept for the backward pass
    lengths=10,100,1000,10000     T: the longest row; the others are between T / 4 and T
    batch=16 input=32 hidden=128  sizes
    num_segments=null             of checkpoint and swap; null: about sqrt(T)
    limit_s=60                    a combination that takes longer is given up
    output=outputs/compare_unrolling.json   the plot lies beside it, as .png

Each combination is measured in a process of its own, on training steps (forward and backward of a
sum of squares, with the gradient of the inputs). Peak: resident memory of the second step at its
highest, above that before the first, when parameters and inputs are there and outputs are not.
Wasted: steps computed for padding, in percent of the real ones. A cell runs only as it allows.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import seqloom.cells
from seqloom.cells import Cell
from seqloom.sequences import Padded
from seqloom.unrolling import Dynamic, Fused, Scan, Static, Unrolling
from seqloom.unrolling.base import possible

MEGABYTE = 1e6
MAX_STEPS = 8
CELLS: dict[str, Any] = {
    re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower(): value
    for name, value in vars(seqloom.cells).items()
    if isinstance(value, type) and issubclass(value, Cell)
}
DEFAULTS = {
    "cells": "lstm,gru,min_gru",
    "unrollings": "dynamic,static,static_compiled,fused,scan",
    "memory": "keep,checkpoint,swap",
    "lengths": "10,100,1000,10000",
    "batch": "16",
    "input": "32",
    "hidden": "128",
    "num_segments": "null",
    "limit_s": "60",
    "output": "outputs/compare_unrolling.json",
}


@dataclass(frozen=True)
class Case:
    """One combination."""

    cell: str
    unrolling: str
    memory: str
    num_steps: int
    batch_size: int
    input_size: int
    hidden_size: int
    num_segments: int | None

    def make_cell(self) -> Cell:
        torch.manual_seed(0)
        cell: Cell = CELLS[self.cell](input_size=self.input_size, hidden_size=self.hidden_size)
        return cell

    def make_unrolling(self) -> Unrolling:
        segments = None if self.memory == "keep" else self.num_segments
        if self.unrolling.startswith("static"):
            return Static(
                num_steps=self.num_steps,
                compile=self.unrolling == "static_compiled",
                memory=self.memory,
                num_segments=segments,
            )
        kinds = {"dynamic": Dynamic, "fused": Fused, "scan": Scan}
        return kinds[self.unrolling](memory=self.memory, num_segments=segments)

    def make_inputs(self) -> Padded:
        generator = torch.Generator().manual_seed(1)
        lengths = torch.randint(
            max(1, self.num_steps // 4), self.num_steps + 1, (self.batch_size,), generator=generator
        )
        lengths[0] = self.num_steps
        shape = (self.batch_size, self.num_steps, self.input_size)
        return Padded(torch.randn(shape, generator=generator), lengths)

    def wasted_percent(self, inputs: Padded) -> float:
        computed = inputs.batch_size * inputs.max_length
        if self.unrolling == "dynamic":
            computed = inputs.num_elements
        return 100 * (computed / inputs.num_elements - 1)


def resident_bytes(field: str) -> int:
    """`VmRSS` (now) or `VmHWM` (the highest) of this process."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def forget_peak() -> None:
    """Gives freed memory back to the system, and lets VmHWM begin anew."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def training_step(unrolling: Unrolling, cell: Cell, inputs: Padded) -> float:
    """Seconds of a forward and a backward pass."""
    inputs.values.grad = None
    cell.zero_grad(set_to_none=True)
    start = time.perf_counter()
    state = cell.initial_state(inputs.values, inputs.batch_size)
    outputs, _ = unrolling(cell, inputs, state)
    outputs.values.square().sum().backward()
    return time.perf_counter() - start


def measure(case: Case, limit_s: float) -> dict[str, float]:
    """The numbers of one combination, in this process."""
    begin = time.perf_counter()
    cell, unrolling, inputs = case.make_cell(), case.make_unrolling(), case.make_inputs()
    inputs.values.requires_grad_()
    build = time.perf_counter() - begin
    # What torch loads on its first use is no part of a step.
    tiny = dataclasses.replace(case, num_steps=1, batch_size=1, num_segments=None)
    training_step(tiny.make_unrolling(), cell, tiny.make_inputs())
    forget_peak()
    before = resident_bytes("VmRSS")
    first = training_step(unrolling, cell, inputs)
    forget_peak()
    later = [training_step(unrolling, cell, inputs)]
    peak = resident_bytes("VmHWM") - before
    while len(later) < MAX_STEPS and time.perf_counter() - begin + later[-1] < limit_s / 2:
        later.append(training_step(unrolling, cell, inputs))
    return {
        "build_s": build,
        "first_step_s": first,
        "later_step_s": statistics.median(later),
        "peak_mb": peak / MEGABYTE,
        "outputs_mb": case.batch_size * case.num_steps * cell.output_size * 4 / MEGABYTE,
        "wasted_percent": case.wasted_percent(inputs),
    }


def measure_apart(case: Case, limit_s: float) -> dict[str, Any]:
    """`measure` in a fresh process; `failed` says why there are no numbers."""
    words = ["case=" + json.dumps(dataclasses.asdict(case)), f"limit_s={limit_s}"]
    command = [sys.executable, __file__, *words]
    try:
        # A cache of its own, so that compiling is compiling; and time to import torch.
        with tempfile.TemporaryDirectory() as cache:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=limit_s + 10,
                env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
            )
    except subprocess.TimeoutExpired:
        return {**dataclasses.asdict(case), "failed": "over the limit"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {**dataclasses.asdict(case), "failed": lines[-1]}
    return {**dataclasses.asdict(case), **json.loads(done.stdout.splitlines()[-1])}


def cases(words: dict[str, str]) -> Iterable[Case]:
    """Every combination that its cell allows."""
    segments = None if words["num_segments"] == "null" else int(words["num_segments"])
    sizes = int(words["batch"]), int(words["input"]), int(words["hidden"])
    for cell in words["cells"].split(","):
        for unrolling in words["unrollings"].split(","):
            for memory in words["memory"].split(","):
                for num_steps in map(int, words["lengths"].split(",")):
                    case = Case(cell, unrolling, memory, num_steps, *sizes, segments)
                    if unrolling.removesuffix("_compiled") in possible(case.make_cell()):
                        yield case


def line(result: dict[str, Any]) -> str:
    name = f"{result['cell']:10} {result['unrolling']:15} {result['memory']:10}"
    name += f" {result['num_steps']:>7,}"
    if "failed" in result:
        return f"{name}  {result['failed']}"
    return (
        f"{name} {result['build_s']:8.3f} {result['first_step_s']:8.3f} "
        f"{result['later_step_s']:8.4f} {result['peak_mb']:8.1f} {result['outputs_mb']:8.1f} "
        f"{result['wasted_percent']:7.0f}"
    )


def plot(results: list[dict[str, Any]], file: Path) -> None:
    """Time and memory over T, a row a cell."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(result["cell"] for result in results))
    figure, axes = pyplot.subplots(
        len(names), 2, figsize=(11, 4 * len(names)), squeeze=False, layout="constrained"
    )
    styles = {"keep": "-", "checkpoint": "--", "swap": ":"}
    colors = {name: f"C{n}" for n, name in enumerate(DEFAULTS["unrollings"].split(","))}
    for row, name in zip(axes, names, strict=True):
        mine = [r for r in results if r["cell"] == name and "failed" not in r]
        for kind in dict.fromkeys((r["unrolling"], r["memory"]) for r in mine):
            points = [r for r in mine if (r["unrolling"], r["memory"]) == kind]
            steps = [point["num_steps"] for point in points]
            look = {"color": colors[kind[0]], "linestyle": styles[kind[1]], "marker": "."}
            label = " ".join(kind)
            row[0].loglog(steps, [p["later_step_s"] for p in points], label=label, **look)
            row[1].loglog(steps, [max(p["peak_mb"], 0.1) for p in points], label=label, **look)
        for axis, what in zip(row, ("a later step, s", "peak memory, MB"), strict=True):
            axis.set(title=name, xlabel="T", ylabel=what)
            axis.grid(alpha=0.3)
        row[0].legend(fontsize=7)
    figure.savefig(file, dpi=120)


def main() -> None:
    given = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if "case" in given:
        print(json.dumps(measure(Case(**json.loads(given["case"])), float(given["limit_s"]))))
        return
    unknown = given.keys() - DEFAULTS.keys()
    if unknown:
        sys.exit(f"{', '.join(sorted(unknown))}: no such key; there are {', '.join(DEFAULTS)}")
    words = {**DEFAULTS, **given}
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {words}")
    titles = ("build s", "first s", "later s", "peak MB", "out MB", "waste %")
    head = f"{'cell':10} {'unrolling':15} {'memory':10} {'T':>7} "
    print(head + " ".join(f"{title:>8}" for title in titles))
    results = []
    for case in cases(words):
        results.append(measure_apart(case, float(words["limit_s"])))
        print(line(results[-1]), flush=True)
    output = Path(words["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=2) + "\n")
    plot(results, output.with_suffix(".png"))
    print(f"wrote {output} and {output.with_suffix('.png')}")


if __name__ == "__main__":
    main()
