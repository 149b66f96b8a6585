"""`sweep`: what `python train.py -m ...` does: jobs of a list or of a search, side by side.

The same command goes on with the same sweep: `sweeps/definition.py` finds its folder. A list is
held by one process at a time; several processes may work on one search.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from seqloom.config.overrides import parse
from seqloom.config.runs import OF_SWEEPS
from seqloom.errors import ConfigError, DataError
from seqloom.runs.lock import RunLock, shared
from seqloom.runs.surroundings import without_passwords
from seqloom.sweeps.definition import Definition, check_definition, sweep_folder
from seqloom.sweeps.grid import Grid, Plan, combinations
from seqloom.sweeps.jobs import Job
from seqloom.sweeps.misfits import misfits
from seqloom.sweeps.options import SEVERAL, SweepOptions
from seqloom.sweeps.resources import Slots
from seqloom.sweeps.runner import Runner, check_jobs
from seqloom.sweeps.source import JobSource
from seqloom.sweeps.space import Space, read_space
from seqloom.sweeps.table import LiveTable

FOLDER_KEY = "hydra.sweep.dir"


def sweep(cfg: DictConfig, settings: Sequence[str]) -> None:
    """Runs the sweep of a command line, or goes on with it; prints its folder at the end.

    Args:
        cfg: composed of all settings, the first value of each that has several.
        settings: of the command line, as they were typed.

    Raises:
        ConfigError: no sweep can be made of it, or its folder holds another one.
        JobError: jobs failed; all others have been run.
        DataError: its folder cannot be written; the jobs under way save and end.
        SystemExit: 130 or 143, by a signal.
    """
    options = read_options(cfg, settings)
    definition = _definition(options.settings, options.sweep, options.space)
    check_definition(options.folder, definition)
    plan = combinations(options.settings) if is_list(options) else []
    slots = Slots(
        options.num_parallel,
        cores_per_job=options.cores_per_job,
        gpus_per_job=options.gpus_per_job,
    )
    for line in misfits([overrides for overrides, _ in plan]):
        print(f"warning: {line}", file=sys.stderr)
    if options.sweep["dry_run"]:
        print(describe(options, plan))
        return
    with ExitStack() as held:
        held.enter_context(_writable(options.folder))
        held.enter_context(_held(options))
        check_definition(options.folder, definition)  # Another may have been faster.
        definition.write(options.folder)
        source = make_source(options, plan)
        table = held.enter_context(LiveTable(slots.count))
        runner = Runner(
            source,
            folder=options.folder,
            objectives=list(options.objectives),
            slots=slots,
            table=table,
        )
        record = runner.run()
    counts = ", ".join(f"{count} {state}" for state, count in record.counts().items())
    print(f"{options.folder}: {counts} of {record.num_jobs} jobs")
    print(f"compare them: seqloom report runs={shlex.quote(str(options.folder))}")
    check_jobs(record, options.folder)


def read_options(cfg: DictConfig, settings: Sequence[str]) -> SweepOptions:
    """The sweep that a command line asks for; its folder is chosen, not made."""
    parsed = [parse(text) for text in settings]
    jobs, folder, is_several = [], None, False
    for override in parsed:
        key, text = override.key_or_group, str(override.input_line)
        if key in ("run_dir", "resume"):
            raise ConfigError(
                text, "each job of a sweep has its own folder", f"write {FOLDER_KEY}=DIR for all"
            )
        if key == FOLDER_KEY or key.partition(".")[0] in OF_SWEEPS:
            _check_single_value(override)
        if key == FOLDER_KEY:
            folder = Path(str(override.value()))
        elif key.partition(".")[0] not in OF_SWEEPS and not override.is_hydra_override():
            jobs.append(text)
            is_several = is_several or (key == "task" and override.is_sweep_override())
    own = _plain(cfg.sweep)
    task = SEVERAL if is_several else str(cfg.task.name)
    space = read_space(jobs, own["spaces"]) if own["name"] == "optuna" else None
    if folder is None:
        definition = _definition(jobs, own, space)
        root = Path("outputs") / "sweeps" / task
        folder = sweep_folder(root, definition, restart=own["restart"])
    launcher = _plain(cfg.launcher)
    return SweepOptions(
        folder=folder,
        command=shlex.join(["python", "train.py", "-m", *map(without_passwords, settings)]),
        settings=tuple(jobs),
        task=task,
        monitor=str(cfg.task.monitor),
        mode=str(cfg.task.mode),
        sweep=own,
        space=space,
        num_parallel=launcher["num_parallel"],
        cores_per_job=launcher["cores_per_job"],
        gpus_per_job=launcher["gpus_per_job"],
    )


def is_list(options: SweepOptions) -> bool:
    """Whether the jobs are known beforehand."""
    return options.space is None


def make_source(options: SweepOptions, plan: Plan) -> JobSource:
    """Where the jobs come from; `plan`: of a list, what `combinations` says."""
    if not is_list(options):
        from seqloom.sweeps.study import Study

        return Study(options)
    jobs = [
        Job(number, overrides, options.folder / str(number))
        for number, (overrides, _) in enumerate(plan)
    ]
    return Grid(
        jobs,
        name=options.name,
        command=options.command,
        folder=options.folder,
        objectives=options.objectives,
        apart=[apart for _, apart in plan],
        retry_failed=options.sweep["retry_failed"],
    )


def describe(options: SweepOptions, plan: Plan) -> str:
    """The jobs as lines, without starting any: what `sweep.dry_run=true` prints."""
    if not is_list(options):
        from seqloom.sweeps.study import Study

        return Study.describe(options)
    record = make_source(options, plan).record()
    lines = [f"{options.folder}: {record.num_jobs} jobs, {options.num_parallel} at a time"]
    width = len(str(record.num_jobs))
    for job in record.jobs:
        lines.append(f"{job.number:>{width}}  {job.state:<12}{' '.join(job.settings)}".rstrip())
    return "\n".join(lines)


def _check_single_value(override: Override) -> None:
    """Of what belongs to the sweep as a whole; its folder has a name, without a link."""
    text = str(override.input_line)
    if override.is_sweep_override():
        raise ConfigError(text, "it is the same for all jobs", "choose one value")
    value = override.value()
    if override.key_or_group == FOLDER_KEY and (value in (None, "") or "${" in str(value)):
        raise ConfigError(
            text, "is no name of a folder", f"write {FOLDER_KEY}=DIR, or leave it out"
        )


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Makes `folder`; when it cannot be written, at first or later, that is one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        why = f"it cannot be written ({error.strerror or error})".lower()
        mend = "mend that and type the same command again, or choose another folder"
        raise DataError(str(folder), why, mend) from error


@contextmanager
def _held(options: SweepOptions) -> Iterator[None]:
    """A list is held by one process, a search is shared."""
    if not is_list(options):
        with shared(options.folder):
            yield
        return
    lock = RunLock(options.folder, key=FOLDER_KEY)
    try:
        yield
    finally:
        lock.release()


def _definition(
    settings: Sequence[str], sweep: Mapping[str, Any], space: Space | None
) -> Definition:
    return Definition.of(settings, sweep, space.values if space is not None else None)


def _plain(node: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(node, resolve=True, throw_on_missing=True, enum_to_str=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
