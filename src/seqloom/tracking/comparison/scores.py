"""Which metric judges, and in which direction each one is good.

The idea: a field has its usual score, so the first of `PREFERENCE` that the runs tested stands for
them, unless another is asked for; where nothing was tested, what chose the best checkpoint does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from seqloom.config.overrides import did_you_mean
from seqloom.errors import ConfigError
from seqloom.sweeps.statistics.description import Mode
from seqloom.tracking.comparison.runs import ComparedRun
from seqloom.tracking.report.overview import metric_title
from seqloom.tracking.report.templating import FRACTION_METRICS

PREFERENCE = (
    *("bleu", "exact_match", "f1", "accuracy", "frame_accuracy", "chrf", "wer", "cer"),
    *("bits_per_token", "perplexity", "mse", "mae", "nll"),
)
# What is better when it is more. Everything else that Seqloom logs is an error or a cost.
GREATER_IS_BETTER = ("bleu", "chrf", "exact_match", "f1", "accuracy", "frame_accuracy")


class Metric(NamedTuple):
    """A metric: `test/exact_match`, `Exact match`, `max`.

    `is_percent` is for a share of 1 that papers print in per cent.
    """

    name: str
    title: str
    mode: Mode
    is_percent: bool


def scores_of(run: ComparedRun) -> dict[str, float | None]:
    """The test metrics of a run, and the validation metrics at its best checkpoint."""
    best = run.section("best")
    at_best = best.get("metrics")
    found = {name: value for name, value in run.section("metrics").items() if _is_test(name)}
    for name, value in at_best.items() if isinstance(at_best, dict) else ():
        if name.startswith("val/"):
            found[name] = value
    if isinstance(best.get("monitor"), str):
        found[best["monitor"]] = best.get("score")
    return {name: number(value) for name, value in found.items()}


def number(value: object) -> float | None:
    """`value` where it is a number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]


def metrics_of(runs: Sequence[ComparedRun]) -> list[Metric]:
    """Every metric that a run has a score of: tested ones first, the usual ones before others."""
    modes: dict[str, Mode] = {}
    for run in runs:
        task = run.config.get("task")
        if isinstance(task, dict) and task.get("mode") in ("min", "max"):
            modes[str(task.get("monitor"))] = task["mode"]
    names = {name for run in runs for name in scores_of(run)}
    return [_metric(name, modes) for name in sorted(names, key=_rank)]


def main_metric(
    metrics: Sequence[Metric], runs: Sequence[ComparedRun], wanted: str | None
) -> Metric | None:
    """The metric `wanted` (`test/bleu`, or `bleu`), or the one that judges; None without scores.

    Raises:
        ConfigError: no run has the metric `wanted`; names the nearest.
    """
    by_name = {metric.name: metric for metric in metrics}
    if wanted is not None:
        for name in (wanted, f"test/{wanted}", f"val/{wanted}"):
            if name in by_name:
                return by_name[name]
        raise ConfigError(
            f"metric={wanted}", "no run has it", did_you_mean(wanted, by_name, "metric=")
        )
    tested = Counter(name for run in runs for name in scores_of(run) if _is_test(name))
    # Of several tasks, the metric of the most runs.
    most = max(tested.values(), default=0)
    usual = [metric for metric in metrics if tested[metric.name] == most and most]
    monitored = Counter(str(run.section("best").get("monitor")) for run in runs)
    monitors = [by_name[name] for name, _ in monitored.most_common() if name in by_name]
    return next(iter([*usual, *monitors, *metrics]), None)


def _metric(name: str, modes: dict[str, Mode]) -> Metric:
    base = name.rpartition("/")[2]
    default: Mode = "max" if base in GREATER_IS_BETTER else "min"
    return Metric(name, _title(name), modes.get(name, default), base in FRACTION_METRICS)


def _title(name: str) -> str:
    split = name.partition("/")[0]
    return metric_title(name) + ("" if split == "test" else f" ({split})")


def _is_test(name: str) -> bool:
    return name.startswith("test/")


def _rank(name: str) -> tuple[bool, int, str]:
    base = name.rpartition("/")[2]
    place = PREFERENCE.index(base) if base in PREFERENCE else len(PREFERENCE)
    return (not _is_test(name), place, name)
