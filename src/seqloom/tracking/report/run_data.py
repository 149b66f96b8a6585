"""What a run folder holds, read once and leniently, for the sections of the report.

The idea: a report is most wanted when a run went wrong, so no file is required and none can stop
the page: what is absent is None or empty, what is damaged is left out and named in `problems`.
The price: a wrong file is a sentence on the page and not an error. Refuses only a folder that
does not exist.
"""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from seqloom.errors import DataError
from seqloom.runs.files import json_lines
from seqloom.runs.metrics_file import KEYS
from seqloom.tracking.report.kept_clips import Clip, read_clips

TEXT_METRICS = ("/bleu", "/chrf")


class Point(NamedTuple):
    """One logged value; `value` may be NaN or infinite, `seconds` and `epoch` may be unknown."""

    step: float
    seconds: float | None
    epoch: float | None
    value: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """A line of predictions.jsonl; `index` is its place in the file, from 0."""

    index: int
    input: str
    target: str
    prediction: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention of prediction `index`: `weights[t][s]` of output piece t on input piece s."""

    index: int
    input_pieces: list[str]
    output_pieces: list[str]
    weights: list[list[float]]


@dataclass(eq=False)
class RunData:
    """The contents of a run folder. Empty values stand for files that are absent or unreadable."""

    folder: Path
    config_text: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, list[Point]] = field(default_factory=dict)
    predictions: list[Prediction] = field(default_factory=list)
    attention: list[Attention] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The summary's status, or `unknown`."""
        return str(self.summary.get("status") or "unknown")

    @property
    def task(self) -> str:
        """The name of the task, or the empty string where neither summary nor config tells."""
        task = self.config.get("task")
        name = task.get("name") if isinstance(task, dict) else task
        return str(self.summary.get("task") or name or "")

    @property
    def is_text(self) -> bool:
        """Whether predictions are sentences that are scored as such: an encoder-decoder wrote
        them, or a metric says so, or no word of a task is known."""
        names = [*self.section("metrics"), *self.metrics]
        return (
            self.setting("task", "topology") == "encoder_decoder"
            or not self.task
            or any(name.endswith(TEXT_METRICS) for name in names)
        )

    def section(self, name: str) -> dict[str, Any]:
        """The mapping `name` of the summary (`metrics`, `best`, ...); empty where there is none."""
        value = self.summary.get(name)
        return value if isinstance(value, dict) else {}

    def setting(self, group: str, name: str) -> Any:
        """`group.name` of the config, or None."""
        value = self.config.get(group)
        return value.get(name) if isinstance(value, dict) else None

    def why_missing(self) -> str:
        """A clause that says why a file of a run may not be there, from the run's status."""
        return {
            "running": "the run has not come that far yet",
            "failed": "the run failed before it was written",
            "interrupted": "the run was interrupted before it was written",
        }.get(self.status, "the run folder does not hold it")


def read_run(folder: Path) -> RunData:
    """Read a run folder. Raises DataError where there is no such folder, and nothing else."""
    if not folder.is_dir():
        raise DataError(str(folder), "there is no such run folder", "give the folder of a run")
    run = RunData(folder)
    readers: dict[str, Callable[[RunData, str], None]] = {
        "config.yaml": _read_config,
        "summary.json": _read_summary,
        "metrics.csv": _read_metrics,
        "predictions.jsonl": _read_predictions,
        "attention.json": _read_attention,
        "clips/clips.json": _read_clips,
    }
    for name, reader in readers.items():
        path = folder / name
        if not path.is_file():
            continue
        try:
            reader(run, path.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError, csv.Error) as error:
            reason = " ".join(str(error).split())[:200]
            run.problems.append(f"{name} cannot be read: {reason}")
    return run


def _read_config(run: RunData, text: str) -> None:
    run.config_text = text
    config = yaml.safe_load(text)
    if isinstance(config, dict):
        run.config = config


def _read_summary(run: RunData, text: str) -> None:
    summary = json.loads(text)
    if not isinstance(summary, dict):
        raise ValueError("not a JSON object")
    run.summary = summary


def _read_metrics(run: RunData, text: str) -> None:
    """One list of points a column; cells that are empty or not numbers are no points."""
    for number, row in enumerate(csv.DictReader(text.splitlines())):
        step = _number(row.get("step"))
        at = (
            step if step is not None and math.isfinite(step) else float(number),
            _finite(row.get("seconds")),
            _finite(row.get("epoch")),
        )
        for name, cell in row.items():
            value = _number(cell)
            if name and value is not None and name not in KEYS:
                run.metrics.setdefault(name, []).append(Point(*at, value))


def _read_predictions(run: RunData, text: str) -> None:
    """A line that is no object (the last one of a killed run) is left out and counted."""
    num_damaged = 0
    for line in json_lines(text):
        try:
            row = json.loads(line)
            source, target, output = (
                text_of(row[key]) for key in ("input", "target", "prediction")
            )
            score = _finite(row.get("score"))
            index = len(run.predictions)
            run.predictions.append(Prediction(index, source, target, output, score))
        except (ValueError, KeyError, TypeError, AttributeError):
            num_damaged += 1
    if num_damaged:
        lines = "line was" if num_damaged == 1 else "lines were"
        run.problems.append(f"predictions.jsonl: {num_damaged:,} damaged {lines} left out")


def _read_attention(run: RunData, text: str) -> None:
    """Pictures in order; one without an "index" belongs to the prediction of its own place."""
    num_damaged = 0
    for place, row in enumerate(json.loads(text)):
        weights = row["weights"]
        if not weights:  # a model without attention
            continue
        index = int(row.get("index", place))
        attention = Attention(index, row["input_pieces"], row["output_pieces"], weights)
        fits = len(weights) == len(attention.output_pieces) and all(
            len(line) == len(attention.input_pieces) and all(math.isfinite(w) for w in line)
            for line in weights
        )
        if fits:
            run.attention.append(attention)
        else:
            num_damaged += 1
    if num_damaged:
        run.problems.append(
            f"attention.json: {num_damaged} pictures were left out: "
            "their weights do not fit their pieces or are not finite"
        )


def _read_clips(run: RunData, text: str) -> None:
    """Clips of predictions that were read too: without them nobody knows what a clip shows."""
    clips, problems = read_clips(run.folder / "clips", text)
    run.clips = [clip for clip in clips if 0 <= clip.index < len(run.predictions)]
    run.problems += problems
    num_lost = len(clips) - len(run.clips)
    if num_lost:
        run.problems.append(f"clips/clips.json: {num_lost} clips have no prediction")


def text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _finite(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and math.isfinite(number) else None
