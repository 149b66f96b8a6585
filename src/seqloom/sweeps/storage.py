"""Where a study is kept: a journal in the sweep's folder, or a database.

The one idea of the journal: every change is a line of JSON at the end of one file, so nothing that
is loaded runs code, and several processes, also of several machines on a shared folder, may write.
A line that a kill tore is cut off before the next is written; without that the two would be glued
together and the file could never be read again. The lock is the kernel's, so that it ends with
its process. A database is named by a URL, whose password is never repeated in a message.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import StudyDirection

from seqloom.errors import ConfigError

JOURNAL = "study.journal"


class JournalLock(BaseJournalFileLock):
    """One writer at a time, who finds whole lines only; a process that dies lets go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        _cut_torn_line(self._descriptor)
        return True

    def release(self) -> None:
        os.close(self._descriptor)


def find_study(folder: Path, url: str | None, name: str) -> optuna.Study | None:
    """The study `name` as it is; None where there is none yet.

    Raises ConfigError: it cannot be read or reached.
    """
    if url is None and not (folder / JOURNAL).exists():
        return None
    with _explained(folder, url):
        try:
            return optuna.load_study(study_name=name, storage=_open_storage(folder, url))
        except KeyError:
            return None


def open_study(
    folder: Path,
    url: str | None,
    name: str,
    directions: Sequence[str],
    sampler: BaseSampler,
    pruner: BasePruner,
) -> optuna.Study:
    """Opens the study `name`, or makes it.

    Args:
        folder: of the sweep; holds the journal, unless `url` names a database.
        directions: "min" or "max" for each objective.

    Raises ConfigError: it cannot be read or reached, or it has other objectives.
    """
    wanted = [
        StudyDirection.MINIMIZE if direction == "min" else StudyDirection.MAXIMIZE
        for direction in directions
    ]
    with _explained(folder, url):
        study = optuna.create_study(
            storage=_open_storage(folder, url),
            study_name=name,
            directions=wanted,
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )
        study.get_trials(deepcopy=False)
    if study.directions != wanted:
        raise ConfigError(
            f"sweep.study_name={name}",
            "it has other objectives",
            "choose another name, or the same sweep.objectives",
        )
    return study


@contextmanager
def _explained(folder: Path, url: str | None) -> Iterator[None]:
    """Optuna says nothing, and what goes wrong is one line."""
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        yield
    except Exception as error:  # Whatever a driver of a database, or a damaged journal, raises.
        where = f"{folder / JOURNAL}" if url is None else "sweep.storage"
        reason = f"the study cannot be opened ({type(error).__name__})"
        mend = "begin anew: sweep.restart=true" if url is None else "check the URL and its server"
        raise ConfigError(where, reason, mend) from error


def _open_storage(folder: Path, url: str | None) -> BaseStorage:
    if url is not None:
        return RDBStorage(url)
    path = folder / JOURNAL
    lock = JournalLock(path)
    lock.acquire()  # For what a kill left there.
    lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _cut_torn_line(descriptor: int) -> None:
    """Cuts off what follows the last whole line; costs one byte where nothing does."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    data = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, data.rfind(b"\n") + 1)
