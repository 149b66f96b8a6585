"""Variants of an experiment, trained one after the other under the same budget, as one table.

    python scripts/compare_runs.py comparison=FILE [folder=DIR] [num_parallel=N] [key=value ...]

A comparison is a YAML file (see scripts/comparisons/): settings common to all, named variants with
settings of their own, the metrics of the table, and, to compare like with like, the number of
parameters that every variant should have: `size_key` (a hidden size) is then searched for each, in
multiples of `size_multiple`. With `folds`, every variant is trained once for each (leave one person
out, say), and metrics are means over folds, with those of each fold beside them for the first
metric. Every run is one of `train.py` in a folder of its own under `folder`, `num_parallel` at a
time; one that has finished is not trained again. Further `key=value` words are settings of all.
Prints the table as Markdown and writes `table.md` and `table.json` into `folder`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import seqloom  # isort: skip  # first: its cure lets lightning import torchvision
from seqloom.commands import assembly
from seqloom.config import plain
from seqloom.config.overrides import compose_config
from seqloom.runs import RunFolder, Summary

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
assert seqloom.__version__


@dataclass(frozen=True)
class Comparison:
    """A comparison file.

    Attributes:
        common: settings of every run.
        variants: settings of each, by name.
        metrics: columns of the table.
        parameters: how many every variant should have; None leaves sizes as they are.
        size_key, size_multiple: the setting by which a variant gets its size, and its grain.
        folds: settings of each fold, by name; empty: one run a variant.
    """

    common: list[str]
    variants: dict[str, list[str]]
    metrics: list[str]
    parameters: int | None = None
    size_key: str = "model.hidden_size"
    size_multiple: int = 16
    folds: dict[str, list[str]] = field(default_factory=dict)


def num_parameters(settings: list[str]) -> int:
    """Of the model that the settings describe; the data is prepared where it is not yet."""
    cfg = plain(compose_config(settings))
    datamodule = assembly.build_datamodule(cfg)
    datamodule.prepare_data()
    datamodule.setup("fit")
    learner = assembly.build_learner(cfg, datamodule.spec)
    return sum(parameter.numel() for parameter in learner.parameters())


def sized(comparison: Comparison, settings: list[str]) -> list[str]:
    """The settings with the size whose number of parameters is nearest to what is asked for."""
    if comparison.parameters is None:
        return settings

    def with_size(units: int) -> list[str]:
        return [*settings, f"{comparison.size_key}={units * comparison.size_multiple}"]

    low, high = 1, 1
    while num_parameters(with_size(high)) < comparison.parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = num_parameters(with_size(middle)) >= comparison.parameters
        low, high = (low, middle) if enough else (middle, high)
    return min(
        (with_size(units) for units in (low, high)),
        key=lambda words: abs(num_parameters(words) - (comparison.parameters or 0)),
    )


def trained(settings: list[str], folder: Path) -> Summary:
    """The summary of a finished run in `folder`, which is trained where there is none."""
    if not (folder / "summary.json").is_file():
        command = [sys.executable, str(TRAIN), *settings, f"run_dir={folder}"]
        subprocess.run(command, check=True)
    return RunFolder.open(folder).read_summary()


def row(
    name: str, settings: list[str], runs: dict[str, Summary], metrics: list[str]
) -> dict[str, Any]:
    """One line of the table: the means of a variant's runs, which are named by their folds."""
    summaries = list(runs.values())
    values = {metric: [_value(summary, metric) for summary in summaries] for metric in metrics}
    folds = zip(runs, values[metrics[0]], strict=True) if len(runs) > 1 else ()
    return {
        "variant": name,
        "parameters": summaries[0].parameters,
        "updates": round(statistics.mean(summary.steps for summary in summaries)),
        "seconds": round(statistics.mean(summary.seconds for summary in summaries)),
        "tokens_per_s": _mean([_tokens_per_s(summary) for summary in summaries]),
        **{metric: _mean(found) for metric, found in values.items()},
        **dict(folds),
        "settings": settings,
    }


def _tokens_per_s(summary: Summary) -> float | None:
    return summary.throughput.get("train/target_tokens_per_s")


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if len(known) == len(values) else None


def _value(summary: Summary, metric: str) -> float | None:
    """A test metric, or the best checkpoint's validation metric."""
    best = summary.best.get("metrics", {})
    return summary.metrics.get(metric, best.get(metric))


def markdown(rows: list[dict[str, Any]]) -> str:
    columns = [name for name in rows[0] if name != "settings"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    file = Path(words.pop("comparison"))
    folder = Path(words.pop("folder", f"outputs/comparisons/{file.stem}"))
    comparison = Comparison(**yaml.safe_load(file.read_text(encoding="utf-8")))
    num_parallel = int(words.pop("num_parallel", "1"))
    given = [f"{key}={value}" for key, value in words.items()]
    settings = {
        name: sized(comparison, [*comparison.common, *own, *given])
        for name, own in comparison.variants.items()
    }
    with ThreadPoolExecutor(num_parallel) as pool:
        runs = {
            name: {
                fold: pool.submit(trained, [*words_of, *own], folder / name / fold)
                for fold, own in (comparison.folds or {"": []}).items()
            }
            for name, words_of in settings.items()
        }
        rows = [
            row(
                name, settings[name], {f: run.result() for f, run in of.items()}, comparison.metrics
            )
            for name, of in runs.items()
        ]
    table = markdown(rows)
    (folder / "table.md").write_text(table, encoding="utf-8")
    (folder / "table.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table)


if __name__ == "__main__":
    main()
