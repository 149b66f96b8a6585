"""The folders of many runs, read once and leniently, for everything that compares them.

The idea: a comparison is most wanted when a part of the runs went wrong, so whatever a folder holds
makes a `ComparedRun`: failed, running and half-written ones too. A file that is damaged is left out
and named in `problems`. What a sweep's own record knows beyond the folders (which trials were
pruned, which jobs wait or failed before they had a folder) is added from its sweep.json. The price:
every config and every metrics.csv is parsed, some milliseconds a run. Refuses only a place in which
there is no run at all.
"""

from __future__ import annotations

import csv
import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seqloom.config.overrides import did_you_mean
from seqloom.errors import ConfigError, DataError
from seqloom.runs.files import YAML_LOADER
from seqloom.runs.lock import is_held
from seqloom.sweeps.outcome import STATES
from seqloom.sweeps.record import RECORD, JobRecord, SweepRecord
from seqloom.tracking.comparison.curves import Curve, read_curves

MAX_POINTS = 200
MAX_POINTS_IN_ALL = 20_000


@dataclass(eq=False)
class ComparedRun:
    """One run, or one job of a sweep that has no folder yet. Empty values stand for what is absent.

    Attributes:
        folder: where it is, or will be.
        name: the folder, as seen from the folder that all runs share.
        task: its name; the empty string where neither summary nor config tells.
        status: finished, failed, interrupted, running, pruned or waiting.
        words: the settings of its command line; a waiting job's are those that set it apart.
        curves: by metric, shortened to some points.
    """

    folder: Path
    name: str
    task: str = ""
    status: str = "interrupted"
    error: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    job: JobRecord | None = None

    @property
    def seed(self) -> int | None:
        """Its seed, where it is known."""
        seed = self.summary.get("seed", self.config.get("seed"))
        return seed if isinstance(seed, int) else None

    def section(self, name: str) -> dict[str, Any]:
        """The mapping `name` of the summary; empty where there is none."""
        value = self.summary.get(name)
        return value if isinstance(value, dict) else {}


@dataclass(eq=False)
class ReadRuns:
    """Runs in the order of their names, numbers as numbers; `folder` is what they share.

    Attributes:
        sweeps: the records of the sweeps among them, by folder.
        problems: a sentence for each file that could not be read.
    """

    folder: Path
    runs: list[ComparedRun]
    sweeps: dict[Path, SweepRecord] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def run_folders(text: str) -> list[Path]:
    """The run folders at or under every place that `text` names: folders and patterns (`a/*`),
    separated by commas.

    Raises:
        ConfigError: a place that is not there, or no run in all of them.
    """
    found: dict[Path, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        # A folder may have a bracket in its name.
        places = [part] if os.path.isdir(part) else sorted(glob.glob(part, recursive=True))
        places = [place for place in places if os.path.isdir(place)]
        if not places:
            above = next((path for path in Path(part).parents if path.is_dir()), Path())
            near = [str(path) for path in above.iterdir() if path.is_dir()]
            raise ConfigError(f"runs={part}", "there is no such folder", did_you_mean(part, near))
        for place in places:
            found |= dict.fromkeys(_walk(Path(place)))
    if not found:
        raise ConfigError(
            f"runs={text}", "there is no run", "name a run folder, or one with runs in it"
        )
    return sorted(found, key=_natural)


def read_runs(folders: Sequence[Path]) -> ReadRuns:
    """Reads the runs in `folders`, at least one; raises nothing on account of what they hold."""
    shared = common_folder(folders)
    read = ReadRuns(shared, [])
    max_points = max(20, min(MAX_POINTS, MAX_POINTS_IN_ALL // len(folders)))
    for folder in folders:
        name = os.path.relpath(folder, shared)
        read.runs.append(_read_run(folder, name, max_points, read.problems))
    _add_records(read)
    return read


def common_folder(folders: Sequence[Path]) -> Path:
    """The folder that holds all of `folders`; of a single one its parent."""
    absolute = [folder.absolute() for folder in folders]
    return Path(os.path.commonpath([path.parent for path in absolute]))


def _walk(place: Path) -> Iterator[Path]:
    """Run folders; what is inside one (checkpoints, W&B's files) is not searched."""
    for root, names, files in os.walk(place):
        started = "config.yaml" in files and {"run.lock", "train.log", "metrics.csv"} & {*files}
        if "summary.json" in files or started:
            names.clear()
            yield Path(root)
        names.sort()


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts "2" before "10"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.parts]


def _read_run(folder: Path, name: str, max_points: int, problems: list[str]) -> ComparedRun:
    run = ComparedRun(folder, name)

    def attempt(file: str, read: Any) -> Any:
        path = folder / file
        try:
            return read(path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            if file != "metrics.csv":  # A run that has logged nothing yet has no curves.
                problems.append(f"{name}: there is no {file}")
        except (OSError, ValueError, RecursionError, yaml.YAMLError, csv.Error) as error:
            problems.append(f"{name}: {file} cannot be read: {' '.join(str(error).split())[:160]}")
        return {}

    run.config = attempt("config.yaml", _mapping_of_yaml)
    run.summary = attempt("summary.json", _mapping_of_json)
    run.curves = attempt("metrics.csv", lambda text: read_curves(text, max_points))
    task = run.config.get("task")
    named = task.get("name") if isinstance(task, dict) else None
    run.task = str(run.summary.get("task") or named or "")
    words = run.summary.get("overrides")
    run.words = [str(word) for word in words] if isinstance(words, list) else []
    status = str(run.summary.get("status", "interrupted"))
    if status not in STATES:
        problems.append(f"{name}: summary.json has the status {status!r}, which there is not")
        status = "interrupted"
    # Who is killed cannot write that it has ended; but only who lives holds the lock.
    is_over = status == "running" and is_held(folder) is False
    run.status = "interrupted" if is_over else status
    error = run.summary.get("error")
    run.error = None if error is None else str(error)
    return run


def _mapping_of_yaml(text: str) -> dict[str, Any]:
    return _mapping(yaml.load(text, YAML_LOADER))


def _mapping_of_json(text: str) -> dict[str, Any]:
    return _mapping(json.loads(text))


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("it holds no mapping")
    return {str(key): item for key, item in value.items()}


def _add_records(read: ReadRuns) -> None:
    """What the records of sweeps know beyond the folders of their jobs."""
    by_folder = {run.folder.absolute(): run for run in read.runs}
    for place in dict.fromkeys(run.folder.absolute().parent for run in read.runs):
        if not (place / RECORD).is_file():
            continue
        try:
            record = SweepRecord.read(place)
        except DataError as error:
            read.problems.append(str(error))
            continue
        read.sweeps[place] = record
        for job in record.jobs:
            _add_job(read, by_folder.get((place / job.folder).absolute()), place, job)
    read.runs.sort(key=lambda run: _natural(Path(run.name)))


def _add_job(read: ReadRuns, run: ComparedRun | None, place: Path, job: JobRecord) -> None:
    if run is None:
        folder = place / job.folder
        name = os.path.relpath(folder, read.folder)
        run = ComparedRun(folder, name, read.runs[0].task, words=list(job.settings))
        run.status, run.error = job.state, job.error
        read.runs.append(run)
    run.job = job
    # A folder alone cannot tell that a search stopped it, or that its objective was no number.
    if job.state == "pruned" or (job.state == "failed" and run.status != "running"):
        run.status, run.error = job.state, job.error or run.error
