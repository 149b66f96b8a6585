"""Predicts how training scales to 2-64 GPUs, and checks the prediction against published figures.

    python scripts/simulate_scaling.py [key=value ...]

    times=published     layer times: published (arithmetic of GNMT v2, scaled to one A100's figure),
                        measure (an LSTM, a softmax and Adam, of these sizes, on this machine), or
                        a JSON file {"step_s", "flops_per_s", "output_flops_per_s", "parameter_s"}
    gpus=1,2,4,8,16,32,64
    rows=128            sentence pairs of each GPU, the same for any number of GPUs
    hidden=1024 words=32000 layers=4 length=25    sizes; length: steps on each side
    step_us=5           times=published: what a step of an LSTM takes however few its rows
    chunk_us=100        what a chunk of a wavefront costs in each layer beside the arithmetic
    num_chunks=5        chunks of time of the wavefront and of the hybrid
    waiting=0.01        (max - mean) / mean of the ranks' work (scripts/benchmark_balance.py)
    inside=nvlink between=infiniband per_node=8   links: pcie3, nvlink, infiniband, ethernet, or
                        GB/s:us, as 230:5 (of one direction; microseconds a message)
    output=FILE plot=FILE

The model is in `scaling_model`. Tokens a second count both sides, as NVIDIA's tables do.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scaling_model import (
    BACKWARD,
    Costs,
    Layer,
    Link,
    Machines,
    Placing,
    data_parallel,
    one_gpu,
    placement,
)

# What is reached of 16 GB/s, of 300 GB/s a direction (A100), of 200 Gbit/s and of 10 Gbit/s.
LINKS = {
    "pcie3": Link(12e9, 10e-6),
    "nvlink": Link(230e9, 5e-6),
    "infiniband": Link(23e9, 10e-6),
    "ethernet": Link(1.1e9, 50e-6),
}
A100_TOKENS_PER_S, A100_TOKENS_PER_S_ON_8 = 140_909, 822_024
DEFAULTS = {
    "times": "published",
    "gpus": "1,2,4,8,16,32,64",
    "rows": "128",
    "hidden": "1024",
    "words": "32000",
    "layers": "4",
    "length": "25",
    "step_us": "5",
    "chunk_us": "100",
    "num_chunks": "5",
    "waiting": "0.01",
    "inside": "nvlink",
    "between": "infiniband",
    "per_node": "8",
    "output": "",
    "plot": "",
}


@dataclass(frozen=True)
class Sizes:
    """An encoder-decoder model of LSTMs: the first `num_first` encoder layers are bidirectional."""

    hidden: int = 1024
    words: int = 32000
    num_layers: int = 4
    length: int = 25
    num_first: int = 1
    num_encoder_layers: int | None = None


@dataclass(frozen=True)
class Times:
    """What arithmetic costs: seconds of a step however few its rows, operations a second of LSTMs
    and of attention and softmax, seconds of the optimizer for a parameter.
    """

    step_s: float
    flops_per_s: float
    output_flops_per_s: float
    parameter_s: float


def network(sizes: Sizes, times: Times) -> list[Layer]:
    """The layers with their times, from 8 h (i + h) operations a token of an LSTM, 2 h V of a
    softmax.
    """
    hidden, steps = sizes.hidden, sizes.length
    activations = 2.0 * hidden * steps

    def lstm(name: str, part: str, inputs: int, directions: int = 1) -> Layer:
        size = 4 * hidden * (inputs + hidden) * directions
        row_s = 2.0 * size * steps / times.flops_per_s
        embedding = sizes.words * hidden if name == "encoder.0" else 0
        fixed_s = steps * times.step_s * directions
        return Layer(name, part, fixed_s, row_s, size + embedding, activations * directions)

    layers = []
    for i in range(sizes.num_encoder_layers or sizes.num_layers):
        part = "encoder_first" if i < sizes.num_first else "encoder"
        inputs = 2 * hidden if 0 < i <= sizes.num_first else hidden
        layers.append(lstm(f"encoder.{i}", part, inputs, 2 if i < sizes.num_first else 1))
    layers += [lstm(f"decoder.{i}", "decoder", 2 * hidden) for i in range(sizes.num_layers)]
    size = hidden * sizes.words + 3 * hidden * hidden
    flops = steps * (2.0 * size + 4.0 * hidden * steps)
    row_s = flops / times.output_flops_per_s
    output = Layer("output", "output", 0.0, row_s, size, 2 * activations)
    return [*layers, output]


def published_times(sizes: Sizes, rows: int, step_s: float, update_s: float) -> Times:
    """Times by which an update of one GPU takes `update_s`; the optimizer moves 32 bytes a
    parameter at 1.3 TB/s.
    """
    parameter_s = 32 / 1.3e12
    trial = network(sizes, Times(step_s, 1.0, 1.0, parameter_s))
    fixed = (1 + BACKWARD) * sum(layer.fixed_s for layer in trial)
    fixed += parameter_s * sum(layer.num_parameters for layer in trial)
    work = (1 + BACKWARD) * rows * sum(layer.row_s for layer in trial)
    if fixed >= update_s:
        raise SystemExit(f"step_us={step_s * 1e6:g}: the steps alone take {fixed:.3f} s an update")
    flops_per_s = work / (update_s - fixed)
    return Times(step_s, flops_per_s, flops_per_s, parameter_s)


def measured_times(sizes: Sizes, rows: int) -> Times:
    """An LSTM layer with 1/8 and with all of the rows and a softmax with 1/8, forward and backward,
    and an Adam step.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lstm = torch.nn.LSTM(sizes.hidden, sizes.hidden, batch_first=True).to(device)
    output = torch.nn.Linear(sizes.hidden, sizes.words).to(device)
    optimizer = torch.optim.Adam(lstm.parameters(), foreach=True)

    def seconds(work: Callable[[], Any]) -> float:
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        return best

    def update(num_rows: int) -> float:
        inputs = torch.randn(num_rows, sizes.length, sizes.hidden, device=device)
        return seconds(lambda: lstm(inputs)[0].sum().backward()) / (1 + BACKWARD)

    def loss(num_tokens: int) -> float:
        inputs = torch.randn(num_tokens, sizes.hidden, device=device)
        targets = torch.zeros(num_tokens, dtype=torch.long, device=device)

        def work() -> None:
            torch.nn.functional.cross_entropy(output(inputs), targets).backward()

        return seconds(work) / (1 + BACKWARD)

    few = max(1, rows // 8)
    less, more = update(few), update(rows)
    row_s = max((more - less) / (rows - few), more / rows / 10)
    num_parameters = sum(p.numel() for p in lstm.parameters())
    return Times(
        max(0.0, more - rows * row_s) / sizes.length,
        16 * sizes.hidden**2 * sizes.length / row_s,
        2 * sizes.hidden * sizes.words * few * sizes.length / loss(few * sizes.length),
        seconds(lambda: optimizer.step()) / num_parameters,
    )


def read_times(path: Path) -> Times:
    """The times of a JSON file. Raises SystemExit where it does not hold them."""
    try:
        return Times(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SystemExit(f"times={path}: {error}") from None


def predictions(
    layers: list[Layer], rows: int, gpus: list[int], machines: Machines, costs: Costs, chunks: int
) -> list[dict[str, Any]]:
    """Speed-up over one GPU of each strategy, for each number of GPUs."""
    one = one_gpu(layers, rows, costs) / rows
    placings = {
        "placement": Placing(),
        "wavefront": Placing(num_chunks=chunks),
        "hybrid": Placing(num_chunks=chunks, split_output=True),
    }
    results = []
    for num in gpus:
        seconds = {"data_parallel": data_parallel(layers, rows, num, machines, costs)}
        for name, placing in placings.items():
            seconds[name] = placement(layers, rows, num, machines, costs, placing)
        results.append({"gpus": num} | {k: one * rows * num / s for k, s in seconds.items()})
    return results


def checks() -> list[dict[str, Any]]:
    """Published figures beside what the model says with nothing fitted but one GPU's time."""
    return [*_gnmt_check(), *_tensorflow_checks(), *_hybrid_checks()]


def _gnmt_check() -> list[dict[str, Any]]:
    rows, sizes = 128, Sizes()
    update_s = rows * 2 * sizes.length / A100_TOKENS_PER_S
    times = published_times(sizes, rows, 5e-6, update_s)
    layers, machines = network(sizes, times), Machines(8, LINKS["nvlink"], LINKS["infiniband"])
    published = A100_TOKENS_PER_S_ON_8 / A100_TOKENS_PER_S
    results = []
    for waiting in (0.0, 0.02, 0.2, 0.4):
        costs = Costs(times.parameter_s, gradient_bytes=2, waiting=waiting)
        one = one_gpu(layers, rows, costs)
        predicted = 8 * one / data_parallel(layers, rows, 8, machines, costs)
        what = f"GNMT v2, 8 A100, data parallel, waiting {waiting:.0%}"
        results.append({"what": what, "published": published, "predicted": predicted})
    return results


def _tensorflow_checks() -> list[dict[str, Any]]:
    """K40m over PCIe, 128 rows in all; TensorFlow runs each step as soon as it can."""
    cases = (
        ("NMT, 4 layers", Sizes(num_first=2, num_encoder_layers=2), 4, True, 2.2, 1.9),
        (
            "NMT, 8 layers",
            Sizes(num_layers=8, num_first=4, num_encoder_layers=4),
            8,
            True,
            3.5,
            2.9,
        ),
        ("GNMT attention, 4 layers", Sizes(), 4, False, 2.6, 1.7),
        ("GNMT attention, 8 layers", Sizes(num_layers=8), 8, False, 4.2, 1.9),
    )
    results = []
    for name, sizes, num, feeding, one_s, many_s in cases:
        times = published_times(sizes, 128, 0.0, one_s)
        layers, costs = network(sizes, times), Costs(times.parameter_s)
        placing = Placing(sizes.length, input_feeding=feeding, split_directions=True)
        machines = Machines(num, LINKS["pcie3"], LINKS["pcie3"])
        seconds = placement(layers, 128 / num, num, machines, costs, placing)
        results.append(
            {
                "what": f"TensorFlow {name}, {num} K40m",
                "published": one_s / many_s,
                "predicted": one_gpu(layers, 128, costs) / seconds,
            }
        )
    return results


def _hybrid_checks() -> list[dict[str, Any]]:
    """The hybrid at 64 rows a GPU, for several shares of a step that more rows do not lengthen."""
    results = []
    sizes, rows, update_s = Sizes(num_first=0), 64, 0.1
    for step_us in (0, 25, 50, 100):
        times = published_times(sizes, rows, step_us * 1e-6, update_s)
        layers, costs = network(sizes, times), Costs(times.parameter_s)
        machines = Machines(4, LINKS["nvlink"], LINKS["infiniband"])
        recurrent = [layer for layer in layers if layer.part != "output"]
        share = sum(layer.fixed_s for layer in recurrent) / sum(
            layer.forward_s(rows) for layer in recurrent
        )
        placing = Placing(num_chunks=sizes.length, split_output=True)
        seconds = placement(layers, rows, 4, machines, costs, placing)
        what = f"Ono et al. hybrid, 4 GPUs, {share:.0%} of a step fixed"
        predicted = 4 * one_gpu(layers, rows, costs) / seconds
        results.append({"what": what, "published": 4.165, "predicted": predicted})
    return results


def link_of(text: str) -> Link:
    """A name of `LINKS`, or GB/s:us."""
    if text in LINKS:
        return LINKS[text]
    speed, _, latency = text.partition(":")
    try:
        return Link(float(speed) * 1e9, float(latency) * 1e-6)
    except ValueError:
        raise SystemExit(f"{text}: no link; write one of {', '.join(LINKS)}, or GB/s:us") from None


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Speed-up over the number of GPUs, both by doubling."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    gpus = [result["gpus"] for result in results]
    axes.plot(gpus, gpus, color="0.7", linestyle=":", label="ideal")
    for name in list(results[0])[1:]:
        axes.plot(gpus, [result[name] for result in results], marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(gpus, labels=[str(num) for num in gpus])
    axes.set_yticks(gpus, labels=[str(num) for num in gpus])
    axes.set_xlabel("GPUs")
    axes.set_ylabel("speed-up, the same rows a GPU")
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    words = DEFAULTS | dict(word.partition("=")[::2] for word in sys.argv[1:])
    unknown = words.keys() - DEFAULTS.keys()
    if unknown:
        raise SystemExit(f"{', '.join(sorted(unknown))}: not known; one of {', '.join(DEFAULTS)}")
    rows = int(words["rows"])
    names = ("hidden", "words", "layers", "length")
    sizes = Sizes(*(int(words[name]) for name in names))
    if words["times"] == "published":
        update_s = rows * 2 * sizes.length / A100_TOKENS_PER_S
        times = published_times(sizes, rows, float(words["step_us"]) * 1e-6, update_s)
    elif words["times"] == "measure":
        times = measured_times(sizes, rows)
    else:
        times = read_times(Path(words["times"]))
    layers = network(sizes, times)
    costs = Costs(times.parameter_s, float(words["chunk_us"]) * 1e-6, 2, float(words["waiting"]))
    inside, between = link_of(words["inside"]), link_of(words["between"])
    machines = Machines(int(words["per_node"]), inside, between)
    gpus = [int(num) for num in words["gpus"].split(",")]
    try:
        results = predictions(layers, rows, gpus, machines, costs, int(words["num_chunks"]))
    except ValueError as error:
        raise SystemExit(f"gpus={words['gpus']}: {error}") from None
    one = one_gpu(layers, rows, costs)
    print(f"one GPU: {one * 1e3:.1f} ms an update, {2 * rows * sizes.length / one:,.0f} tokens/s")
    print("| " + " | ".join(results[0]) + " |")
    print("|" + "---|" * len(results[0]))
    for result in results:
        cells = [f"{v:.2f}" if k != "gpus" else str(v) for k, v in result.items()]
        print("| " + " | ".join(cells) + " |")
    found = checks()
    print("\n| published figure | published | predicted |\n|---|---|---|")
    for check in found:
        print(f"| {check['what']} | {check['published']:.2f} | {check['predicted']:.2f} |")
    if words["output"]:
        report = {
            "options": words,
            "times": dataclasses.asdict(times),
            "predictions": results,
            "checks": found,
        }
        Path(words["output"]).write_text(json.dumps(report, indent=2) + "\n")
    if words["plot"]:
        draw(results, Path(words["plot"]))


if __name__ == "__main__":
    main()
