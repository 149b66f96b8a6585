"""Decoding speed of a trained run over its test split: greedy and beam search.

    python scripts/benchmark_decoding.py run=DIR [num_repeats=3] [output=FILE] [key=value ...]

Reads the test batches first, then times each search over all of them (encoding, search, turning
ids into text; not loading the model), `num_repeats` times, and quotes the fastest and the median.
Beside it stands the time of the matrix products of the decoder's steps alone. Further words
override the run's config (`decoding.beam_size=10`, `batching.batch_size=128`).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from seqloom.commands import assembly
from seqloom.commands.loading import LoadedRun, load_run
from seqloom.data.batch import Batch
from seqloom.decoding import BeamSearch, GreedySearch


def test_batches(loaded: LoadedRun) -> list[Batch]:
    datamodule = assembly.build_datamodule(loaded.cfg, vocabulary_dir=loaded.folder.vocabulary)
    datamodule.prepare_data()
    datamodule.setup("test")
    return list(datamodule.test_dataloader())


class CountedSteps:
    """A `Decodable` that counts the steps and rows that a search asks of its model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.rows: list[int] = []

    def start(self, source: Any) -> Any:
        return self.model.start(source)

    def step(self, tokens: torch.Tensor, state: Any) -> Any:
        self.rows.append(len(tokens))
        return self.model.step(tokens, state)

    def select(self, state: Any, rows: torch.Tensor) -> Any:
        return self.model.select(state, rows)


def decode_all(loaded: LoadedRun, search: Any, batches: list[Batch]) -> tuple[int, list[int]]:
    """Number of output tokens, and the rows of every step."""
    model = CountedSteps(loaded.learner.model)
    decode = loaded.spec.target.tokenizer.decode
    num_tokens = 0
    for batch in batches:
        for best, *_ in search(model, batch.source):
            decode(best.tokens)
            num_tokens += len(best.tokens)
    return num_tokens, model.rows


def product_seconds(loaded: LoadedRun, rows: list[int]) -> float:
    """The products of the decoder's layers, readout and output layer for steps of so many rows."""
    model = loaded.learner.model
    weights = [p for m in (model.lower, model.upper) for p in m.parameters() if p.ndim == 2]
    weights += [model.readout.weight, model.output.projection.weight]
    seconds = 0.0
    for count in sorted(set(rows)):
        for weight in weights:
            inputs = torch.randn(count, weight.shape[1])
            matrix, best = weight.detach().T, float("inf")
            for _ in range(3):
                start = time.perf_counter()
                torch.mm(inputs, matrix)
                best = min(best, time.perf_counter() - start)
            seconds += best * rows.count(count)
    return seconds


def measure(loaded: LoadedRun, name: str, search: Any, batches: list[Batch], num: int) -> Any:
    times = []
    for _ in range(num):
        start = time.perf_counter()
        num_tokens, rows = decode_all(loaded, search, batches)
        times.append(time.perf_counter() - start)
    num_sentences = sum(len(batch.index) for batch in batches)
    products = product_seconds(loaded, rows)
    return {
        "search": name,
        "seconds_min": min(times),
        "seconds_median": statistics.median(times),
        "sentences_per_s": num_sentences / min(times),
        "tokens_per_s": num_tokens / min(times),
        "num_steps": len(rows),
        "products_s": products,
        "fraction_of_bound": products / min(times),
    }


def main() -> None:
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    run, num = Path(words.pop("run")), int(words.pop("num_repeats", 3))
    output = words.pop("output", None)
    loaded = load_run(run, overrides=[f"{key}={value}" for key, value in words.items()])
    batches = test_batches(loaded)
    limits = {"max_length_ratio": 1.5, "max_length_offset": 10}
    searches: dict[str, Any] = {
        "run's own": loaded.learner.search,
        "greedy": GreedySearch(**limits),
        "beam 5": BeamSearch(beam_size=5, length_penalty=1.0, **limits),
    }
    results = [measure(loaded, name, search, batches, num) for name, search in searches.items()]
    print(f"float32, as every search, {torch.get_num_threads()} threads")
    for result in results:
        print("  ".join(f"{k} {v:.3g}" if k != "search" else f"{v:10}" for k, v in result.items()))
    if output is not None:
        Path(output).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
