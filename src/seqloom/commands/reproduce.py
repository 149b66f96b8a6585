"""`reproduce`: trains a run again from what its folder holds, and says whether it comes out equal.

The one idea: the second run is a run like any other, in a folder and a process of its own, started
by the first one's config.yaml (so present defaults do not matter) and under the first session's
thread variables; then the two folders are compared, bit for bit (`agreement`). What differs around
them is told before, data that differs is refused before anything is trained. A run that was resumed
is trained in one go, for that must give the same; how far it is trained, and what is never the same
twice, is in `repetition`. The price: the whole training once more.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqloom.commands.repetition import config_again, notes, num_saved
from seqloom.config import trust_named_files
from seqloom.config.overrides import quoted
from seqloom.errors import ConfigError, DataError, SeqloomError
from seqloom.runs import RunFolder, Summary
from seqloom.runs.provenance import NUMERIC, read_environment, read_patch
from seqloom.runs.signals import handled
from seqloom.runs.surroundings import describe, differing, without_home
from seqloom.sweeps.jobs import OF_A_RUN

MAX_ROWS, CELL_WIDTH = 20, 48
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ReproductionError(SeqloomError):
    """The second training did not come to its end."""


def reproduce(run: Path, output: Path | None = None, cell_file: str | None = None) -> int:
    """Prints what differs around the two runs, and then what differs between them.

    Args:
        run: the folder of a run that is finished or interrupted.
        output: where to train it again; None: `run`-reproduced[-N], beside it.
        cell_file: the file of a run whose cell is the user's own, which is not run unasked.

    Returns the exit code: 0 where everything is identical, else 1.

    Raises:
        ConfigError: there is no run, it cannot be repeated, or `output` is taken.
        DataError: the data is missing or not what it was, or a checkpoint is damaged.
        ReproductionError: training failed.
    """
    environment = dict(os.environ)
    _check_output(output)
    then = RunFolder.open(run)
    summary = then.read_summary()
    until = num_saved(then, summary)
    named = [] if cell_file is None else [f"cell.file={cell_file}"]
    trust_named_files(named)
    cfg = config_again(then, summary, until, named)
    sessions = (read_environment(then.path) or {"sessions": []})["sessions"]
    _print_surroundings(then, sessions)
    for line in notes(cfg, then, summary, sessions, until):
        print(f"note: {line}")
    _check_data(cfg, summary)
    now = _new_folder(cfg, summary, output or _beside(then.path))
    print(f"training again in {now.path}", flush=True)
    _train(now, named, _as_then(environment, sessions))
    return _verdict(then, now, until)


def _check_output(path: Path | None) -> None:
    """Raises ConfigError for a folder that holds something, and for what is no folder."""
    if path is None or not path.exists():
        return
    if not path.is_dir() or any(path.iterdir()):
        why = "it already holds something" if path.is_dir() else "it is not a folder"
        raise ConfigError(f"output={path}", why, "name a folder that is not there yet")


def _print_surroundings(folder: RunFolder, sessions: list[dict[str, Any]]) -> None:
    if not sessions:
        print("surroundings: unknown then (no environment.json)")
        return
    now, patch = describe()
    rows = differing(sessions[0], now, (read_patch(folder.path, sessions[0]), patch))
    here = without_home(os.getcwd())
    if sessions[0].get("directory") not in (None, here):
        rows.append(("directory", str(sessions[0]["directory"]), here))
    if not rows:
        print("surroundings: the same, as far as environment.json tells")
        return
    print("surroundings differ:")
    table = [[_cell(text) for text in row] for row in [("", "then", "now"), *rows[:MAX_ROWS]]]
    widths = [max(len(row[column]) for row in table) for column in (0, 1)]
    for name, before, after in table:
        print(f"  {name:<{widths[0]}}  {before:<{widths[1]}}  {after}".rstrip())
    if len(rows) > MAX_ROWS:
        print(f"  and {len(rows) - MAX_ROWS} more")


def _cell(text: str) -> str:
    return text if len(text) <= CELL_WIDTH else f"{text[: CELL_WIDTH - 3]}..."


def _check_data(cfg: DictConfig, summary: Summary) -> None:
    """Raises DataError where the data is not that of the run, ConfigError without its device."""
    from seqloom.commands import assembly
    from seqloom.commands.console import console_log

    if assembly.main_device(cfg).type != "cpu" and not cfg.deterministic:
        print("note: deterministic=false on a GPU: equal bits are not promised")
    expected = summary.fingerprints.get("data")
    if expected is None:
        print("note: the run does not say which data it had")
        return
    with console_log(is_first=False):
        datamodule = assembly.build_datamodule(cfg)
        datamodule.prepare_data()
        datamodule.setup("fit")
    if datamodule.fingerprint != expected:
        raise DataError(
            f"data fingerprint {datamodule.fingerprint[:12]}",
            f"the run was trained on other data ({expected[:12]})",
            "restore the files, or the versions of the packages that make it",
        )


def _beside(run: Path) -> Path:
    """The first of RUN-reproduced, RUN-reproduced-2 ... that is not there."""
    path = run.absolute()
    for number in itertools.count(1):
        name = f"{path.name}-reproduced" + (f"-{number}" if number > 1 else "")
        if not path.with_name(name).exists():
            return run.with_name(name) if run.name else path.with_name(name)
    raise AssertionError("unreachable")


def _new_folder(cfg: DictConfig, summary: Summary, path: Path) -> RunFolder:
    """A folder that holds a run which has not begun; its config is the first one's."""
    from seqloom.commands.values import plain_values

    cfg.run_dir = str(path)
    with RunFolder.create(cfg.task.name, run_dir=path) as folder:
        folder.write_config(plain_values(cfg))
        folder.write_summary(
            Summary(task=cfg.task.name, status="interrupted", overrides=summary.overrides)
        )
    return RunFolder(path)


def _as_then(environment: dict[str, str], sessions: list[dict[str, Any]]) -> dict[str, str]:
    """`environment` with the variables of the first session that decide how numbers add up."""
    result = {name: value for name, value in environment.items() if name not in OF_A_RUN}
    variables = sessions[0].get("variables") if sessions else None
    if isinstance(variables, Mapping):
        result = {name: value for name, value in result.items() if name not in NUMERIC}
        result |= {name: str(variables[name]) for name in NUMERIC if variables.get(name)}
    return result


def _train(folder: RunFolder, named: list[str], environment: dict[str, str]) -> None:
    """Goes on with the run that has not begun, in a process of its own.

    Raises SystemExit (130, 143) when a signal ended it, ReproductionError when it failed.
    """
    words = ["-m", "seqloom", "train", f"resume={quoted(str(folder.path))}", *named]
    # A group of its own: from a terminal it would get Ctrl-C twice, which ends it at once.
    process = subprocess.Popen([sys.executable, *words], env=environment, process_group=0)
    with handled(lambda signum, frame: process.send_signal(signum), _SIGNALS):
        code = process.wait()
    if code in (130, 143):
        print(f"nothing was compared; {folder.path} holds what was trained so far: delete it")
        raise SystemExit(code)
    if code:
        raise ReproductionError(
            str(folder.path), f"training again ended with exit code {code}", f"see {folder.log}"
        )


def _verdict(then: RunFolder, now: RunFolder, until: int | None) -> int:
    from seqloom.commands.agreement import compare

    found = compare(then, now, up_to=until)
    counts = (
        f"{found.num_tensors} tensors",
        f"{found.num_rows} rows of metrics",
        f"{found.num_predictions} predictions",
    )
    if found.differences:
        print(f"\ndifferent, of {', '.join(counts)}:")
        for line in found.differences:
            print(f"  {line}")
        return 1
    print(f"\nidentical: all {counts[0]} bit for bit, {', '.join(counts[1:])}")
    return 0
