"""`sync`: every run's offline part for Weights & Biases made whole, and uploaded where one can.

A run that was killed leaves a torn part or none, since W&B holds the last rows in memory; the run
folder has them all, so the part is written anew from it, under the same id. What is uploaded is
always a whole run, so uploading it again replaces what was there. Runs that are being trained are
left alone. The price: a rebuilt part has its own start time, and no system measurements.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from seqloom.errors import ConfigError, DataError
from seqloom.runs import RunFolder, find_runs, short_name
from seqloom.sweeps.jobs import SWEEP_VARIABLE

EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": 130, "running": 137}  # 137: SIGKILL

_OPTIONS = ("project", "entity", "group", "upload_checkpoint", "upload_examples")


def sync(runs: Path, rebuild: bool = False, upload: bool = True) -> int:
    """Rebuilds and uploads the run in `runs`, or every run under it, and says what it did.

    Args:
        rebuild: write the parts anew that are whole, too.
        upload: upload the parts that are not uploaded, if there is an account.

    Returns 1 when a run could not be read or an upload failed, else 0.

    Raises ConfigError when there is no run.
    """
    found = find_runs(runs) if runs.is_dir() else []
    if not found:
        raise ConfigError(
            f"runs={runs}", "there is no run", "name a run folder, or one with runs in it"
        )
    with _without_mode():
        has_account = wandb_account()
    parts, num_failed = [], 0
    for folder in found:
        try:
            part = _whole_part(folder, rebuild)
        except DataError as error:
            print(f"{folder.path}: {error}")
            num_failed += 1
        else:
            parts += [part] if part is not None else []
    if upload and not has_account:
        print("nothing uploaded: no account, see wandb login")
    elif upload:
        num_failed += _upload_all(parts)
    return 1 if num_failed else 0


def _whole_part(folder: RunFolder, rebuild: bool) -> Path | None:
    """The run's one offline part, written anew where it must be; None: the run is left alone.

    Raises DataError where the folder cannot be read, or W&B does not take what it holds.
    """
    from seqloom.tracking.logged_run import LoggedRun
    from seqloom.tracking.wandb_logger import is_whole, wandb_id
    from seqloom.tracking.wandb_parts import find_parts, keep_only

    try:
        locked = RunFolder.resume(folder.path)
    except ConfigError as error:
        print(f"{folder.path}: left alone ({error})")
        return None
    with locked:
        run = LoggedRun(folder, folder.read_config(), is_resumed=True)
        identity = wandb_id(run)
        parts = find_parts(folder.path, identity)
        whole = [part for part in parts if is_whole(part, folder.metrics)]
        if whole and not rebuild:
            keep_only(whole[-1], folder.path, identity)
            print(f"{whole[-1]}: whole")
            return whole[-1]
        if not parts and not rebuild and _was_online(folder, identity):
            print(f"{folder.path}: left alone (it was logged online; see rebuild=true)")
            return None
        _rebuild(run)
        part = find_parts(folder.path, identity)[-1]
        if not is_whole(part, folder.metrics):
            raise DataError(str(part), "W&B did not take every step", "see its logs/")
        print(f"{part}: rebuilt from {folder.metrics.name}")
        return part


def _rebuild(run: Any) -> None:
    """Writes a part from the run folder, which then stands for all older ones."""
    from seqloom.tracking.wandb_logger import WandbLogger

    options = (run.config.get("logger") or {}).get("wandb") or {}
    known = {name: options[name] for name in _OPTIONS if name in options}
    with _as_it_was(run.folder):
        logger = WandbLogger(run=run, mode="offline", **known)
        logger.truncate_after(sys.maxsize)
        logger.log_outcome()
        logger.finish(EXIT_CODES[run.folder.read_summary().status])


def _as_it_was(folder: RunFolder) -> AbstractContextManager[None]:
    """The variables by which a run of a sweep is told what it belongs to; offline in any case."""
    parent = folder.path.absolute().parent
    is_swept = any((parent / name).is_file() for name in ("sweep.json", "sweep.yaml"))
    sweep = short_name(parent) if is_swept else None
    return _variables({"WANDB_MODE": "offline", SWEEP_VARIABLE: sweep})


def _without_mode() -> AbstractContextManager[None]:
    """What is uploaded is meant to be, also where WANDB_MODE keeps runs offline."""
    return _variables({"WANDB_MODE": None})


@contextmanager
def _variables(wanted: dict[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _was_online(folder: RunFolder, identity: str) -> bool:
    return any((folder.path / "wandb").glob(f"run-*-{identity}"))


def _upload_all(parts: list[Path]) -> int:
    """Uploads what is not yet; says how many failed."""
    from seqloom.tracking.wandb_parts import is_uploaded

    num_failed = 0
    for part in parts:
        if is_uploaded(part):
            print(f"{part}: uploaded before")
        elif upload_part(part):
            print(f"{part}: uploaded")
        else:
            print(f"{part}: not uploaded")
            num_failed += 1
    return num_failed


def upload_part(part: Path) -> bool:
    """Uploads one offline part by W&B's own command; whether W&B then marked it as uploaded."""
    from seqloom.tracking.wandb_parts import is_uploaded

    with _without_mode():
        subprocess.run([sys.executable, "-m", "wandb", "sync", str(part)], check=False)
    return is_uploaded(part)


def wandb_account() -> bool:
    """Whether there is a W&B account to upload to."""
    from seqloom.tracking.wandb_logger import has_account

    return has_account()
