"""`RunLock`: one process at a time writes into a run folder.

The lock is a file made with O_EXCL that names the process and its machine. A lock whose process is
dead on this machine is taken over (a flock on the folder makes that safe for two takers); one of
another machine cannot be judged from here and is refused. Released at exit; a SIGKILL leaves a
stale file, which the next run takes over.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seqloom.errors import ConfigError
from seqloom.runs.files import write_atomic

NAME = "run.lock"
_SHARED = "*-*.lock"  # of each of several processes: HOST-PID.lock


class RunLock:
    """Holds `folder`/run.lock from construction until `release` or the end of the process.

    Args:
        key: what the user named the folder by, for the message.

    Raises:
        ConfigError: another living process holds it, or one on another machine.
    """

    def __init__(self, folder: Path, *, key: str = "run_dir") -> None:
        self.path = folder / NAME
        self._key = key
        self._pid = os.getpid()
        with flocked(folder):
            if self.path.exists():
                self._refuse_living(folder)
                self.path.unlink()
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with os.fdopen(file, "w", encoding="utf-8") as stream:
                json.dump(identity(self._pid), stream)
        atexit.register(self.release)

    def release(self) -> None:
        """Removes the lock; a second call, or one in a forked child, does nothing."""
        if self._pid == os.getpid():
            self._pid = -1
            self.path.unlink(missing_ok=True)
            atexit.unregister(self.release)

    def _refuse_living(self, folder: Path) -> None:
        holder = _holder(self.path)
        if holder is None:
            return
        host, pid = str(holder["host"]), int(holder["pid"])
        if host != socket.gethostname():
            raise ConfigError(
                f"{self._key}={folder}",
                f"it is in use by process {pid} on {host}, which this machine cannot see",
                f"wait for it, or delete {self.path} if that process is gone",
            )
        if identity(pid) == holder:
            raise ConfigError(
                f"{self._key}={folder}",
                f"it is in use by process {pid}",
                f"wait until it ends, or choose another {self._key}",
            )


def _holder(path: Path) -> dict[str, Any] | None:
    """Who wrote the lock; None where there is none, or one torn by a kill while it was written."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        host, pid = str(holder["host"]), int(holder["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {**holder, "host": host, "pid": pid}


def is_held(folder: Path) -> bool | None:
    """Whether a living process holds `folder`; None where that cannot be told from here, for the
    lock is of another machine."""
    return _lives(folder / NAME)


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """One of several processes that work on `folder` side by side: a lock file of its own, removed
    at the end; a stale one of this machine is removed by whoever comes next."""
    with flocked(folder):
        for path in folder.glob(_SHARED):
            if _lives(path) is False:
                path.unlink(missing_ok=True)
    path = folder / f"{socket.gethostname()}-{os.getpid()}.lock"
    write_atomic(path, json.dumps(identity(os.getpid())))
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def is_worked_on(folder: Path) -> bool | None:
    """`is_held` of a folder that one process holds, or several share."""
    found = [is_held(folder), *map(_lives, folder.glob(_SHARED))]
    return True if True in found else None if None in found else False


def _lives(path: Path) -> bool | None:
    holder = _holder(path)
    if holder is None:
        return False
    return identity(holder["pid"]) == holder if holder["host"] == socket.gethostname() else None


@contextmanager
def flocked(folder: Path) -> Iterator[None]:
    """One process at a time, until it is done or dead."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def identity(pid: int) -> dict[str, str | int | None]:
    """Names a living process; `started` tells it from a later one with the same number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return {}
    except PermissionError:
        pass  # It lives, and belongs to somebody else.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        started = stat.rpartition(")")[2].split()[19]
    except OSError:
        started = None
    return {"host": socket.gethostname(), "pid": pid, "started": started}
