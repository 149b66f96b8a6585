"""`compare_runs` and `payload`: a comparison, and all of it as one JSON value.

The idea: every format (the page, tables, JSON itself) is made of the same plain value, so they
cannot contradict each other. Numbers have 6 significant digits: 500 runs stay a few MB. What is not
finite is null.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from seqloom.tracking.comparison import energy
from seqloom.tracking.comparison.groups import Group, make_groups
from seqloom.tracking.comparison.runs import ComparedRun, ReadRuns, read_runs
from seqloom.tracking.comparison.scores import (
    Metric,
    main_metric,
    metrics_of,
    number,
    scores_of,
)
from seqloom.tracking.comparison.search import search_payload
from seqloom.tracking.comparison.settings import SEED, Settings, words_of
from seqloom.tracking.comparison.significance import Comparison, compare

DIGITS = 6


@dataclass(eq=False)
class ComparedRuns:
    """Runs, and what was found out of them.

    Attributes:
        main: the metric by which groups are ordered; None where nothing was scored.
        keys: the settings that differ.
        notes: sentences on how to read the numbers.
    """

    read: ReadRuns
    settings: Settings
    metrics: list[Metric]
    main: Metric | None
    keys: list[str]
    groups: list[Group]
    comparisons: list[Comparison]
    watts: float | None = None
    notes: list[str] = field(default_factory=list)


def compare_runs(
    folders: Sequence[Path],
    *,
    metric: str | None = None,
    group_by: Sequence[str] = (),
    watts: float | None = None,
) -> ComparedRuns:
    """Reads the runs in `folders` and compares them.

    Args:
        metric: the main metric (`test/bleu`); None: the first of the usual ones that was tested.
        group_by: settings whose values make a group; (): all that differ but the seed.
        watts: power of a run for the estimate of energy; None: by its machine; 0: none.

    Raises:
        ConfigError: no run has the metric or the setting; names the nearest.
    """
    read = read_runs(folders)
    settings = Settings(read.runs)
    settings.check(group_by)
    metrics = metrics_of(read.runs)
    main = main_metric(metrics, read.runs, metric)
    keys = list(dict.fromkeys([*settings.keys, *(key for key in group_by if key != SEED)]))
    groups = make_groups(read.runs, settings, group_by or settings.keys, metrics, main)
    tested = [item for item in metrics if item.name.startswith("test/") or item == main]
    comparisons, words = compare(groups, tested)
    found = ComparedRuns(read, settings, metrics, main, keys, groups, comparisons, watts)
    found.notes = [*_notes(found), *filter(None, [words]), energy.how(watts)]
    return found


def payload(comparison: ComparedRuns, place: Path | None = None) -> dict[str, Any]:
    """The comparison as JSON's own types.

    Its keys: `title`, `folder`, `created`, `task` (None of several), `tasks`, `main` and `mode`
    (the metric that judges, min or max), `metrics` (`scores.Metric`), `keys` (settings that
    differ), `problems` and `notes` (sentences), `runs` (see `_run`), `groups` (see `_group`; the
    best first, numbers as in `Description`), `significance` (`first` and `second` are places in
    `groups`, numbers as in `Verdict`), `search` (`search.search_payload`, or None). Times are
    seconds, sizes bytes, energy watt hours; what is not known is None.

    Args:
        place: the folder of the page, from which it links the pages of runs; None: the folder that
            the runs share.
    """
    runs, main = comparison.read.runs, comparison.main
    tasks = list(dict.fromkeys(run.task for run in runs if run.task))
    index = {id(run): k for k, group in enumerate(comparison.groups) for run in group.runs}
    at = place or comparison.read.folder
    value = {
        "title": f"{len(runs)} runs of {', '.join(tasks) or 'unknown tasks'}",
        "folder": str(comparison.read.folder),
        "created": datetime.now().isoformat(sep=" ", timespec="minutes"),
        "task": tasks[0] if len(tasks) == 1 else None,
        "tasks": tasks,
        "main": None if main is None else main.name,
        "mode": None if main is None else main.mode,
        "metrics": [item._asdict() for item in comparison.metrics],
        "keys": comparison.keys,
        "problems": comparison.read.problems,
        "notes": comparison.notes,
        "runs": [_run(run, comparison, index.get(id(run)), at) for run in runs],
        "groups": [_group(group) for group in comparison.groups],
        "significance": [_comparison(item) for item in comparison.comparisons],
        "search": search_payload(comparison.read),
    }
    plain = _short(value)
    assert isinstance(plain, dict)
    return plain


def command_of(run: ComparedRun, row: dict[str, Any]) -> str:
    """What trains it again, quoted for a shell: its own command line without its folder, or,
    where that is not known, its task, seed and what sets it apart (`row`)."""
    if run.words and run.summary:
        words = [word for word in run.words if not word.startswith(("run_dir=", "resume="))]
    else:
        words = [f"{key}={words_of(value)}" for key, value in row.items() if key != "task"]
        words = [f"task={run.task}", *words] if run.task else words
        words += [] if run.seed is None else [f"seed={run.seed}"]
    return shlex.join(["python", "train.py", *words])


def _notes(found: ComparedRuns) -> list[str]:
    notes = []
    tasks = sorted({run.task for run in found.read.runs if run.task})
    if len(tasks) > 1:
        notes.append(
            f"These runs are of {len(tasks)} tasks ({', '.join(tasks)}): scores of different "
            "tasks do not compare, so groups are tested only within a task."
        )
    searches = [str(at) for at, sweep in found.read.sweeps.items() if sweep.search is not None]
    if len(searches) > 1:
        notes.append(f"Of {len(searches)} searches the first is shown: {searches[0]}.")
    unknown = [run for run in found.read.runs if not found.settings.known(run)]
    if unknown:
        names = ", ".join(run.name for run in unknown[:5]) + (", ..." if unknown[5:] else "")
        notes.append(f"{len(unknown)} runs without a readable config are in no group: {names}.")
    notes.append(
        "Numbers of a group are of its finished runs: mean, deviation (n - 1) and the 95 % "
        "interval of the mean by Student's t."
    )
    return notes


def _run(run: ComparedRun, comparison: ComparedRuns, group: int | None, at: Path) -> dict[str, Any]:
    row = comparison.settings.of(run, comparison.keys)
    summary, seconds = run.summary, number(run.summary.get("seconds"))
    page = run.folder / "report.html"
    relative = os.path.relpath(page.absolute(), at.absolute()) if page.is_file() else None
    return {
        "name": run.name,
        "folder": str(run.folder),
        "task": run.task,
        "status": run.status,
        "settings": row,
        "metrics": scores_of(run),
        "seed": run.seed,
        "group": group,
        "error": run.error,
        "command": command_of(run, row),
        "parameters": _count(summary.get("parameters")),
        "seconds": seconds,
        "peak_memory_bytes": _count(summary.get("peak_memory_bytes")),
        "energy_wh": energy.energy_wh(run.folder, run.config, seconds, comparison.watts),
        "steps": _count(summary.get("steps")),
        "epochs": _count(summary.get("epochs")),
        "report": relative,
        "curves": {name: curve._asdict() for name, curve in run.curves.items()},
    }


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _group(group: Group) -> dict[str, Any]:
    return {
        "label": group.label,
        "task": group.task,
        "settings": group.settings,
        "num_runs": len(group.runs),
        "num_finished": len(group.finished),
        "num_failed": group.num_failed,
        "seeds": group.seeds,
        "metrics": {name: asdict(numbers) for name, numbers in group.metrics.items()},
    }


def _comparison(item: Comparison) -> dict[str, Any]:
    verdict = item.verdict
    return {
        "metric": item.metric,
        "first": item.first,
        "second": item.second,
        "num_runs": list(verdict.num_runs),
        "difference": verdict.difference,
        "low": verdict.low,
        "high": verdict.high,
        "p_seeds": verdict.p_seeds,
        "p_examples": verdict.p_examples,
        "epsilon": verdict.epsilon,
        "p_corrected": verdict.p_corrected,
        "is_shown": verdict.is_shown,
        "words": verdict.words,
    }


def _short(value: Any) -> Any:
    """Floats in a few digits, and null for what JSON has no word for."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return value
