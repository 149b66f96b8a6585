"""The processes of a run watch each other: when one is gone, all end, and the user reads why.

The one idea: a process that waits in a collective learns late or never that another has died, so a
thread of the first looks after those that it started, and a thread in each of them looks after the
first. What ends a run is the first cause: a process that lost the others says nothing, one with an
error of its own leaves it in the run folder, and for one that was killed its exit status speaks.
Lightning's own watch kills everything, the first process too, so no summary is written. The price:
its launcher is replaced by name. Processes of another launcher (torchrun, srun) are watched by it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from seqloom.errors import SeqloomError, one_line
from seqloom.runs import write_atomic

PERIOD_S = 0.5
PATIENCE_S = 5.0
"""How long the first process may need to notice by itself, and another to tell what it died of."""
FAREWELL_S = 20.0
"""How long processes may need to end after a signal that all of them answer by saving."""
_INTERRUPTED = (130, 143)


class ProcessError(SeqloomError):
    """Another process of the run failed."""


class Watch(threading.Thread):
    """Looks after the processes of one run that this one started.

    Args:
        processes: those of ranks 1, 2, ...
        folder: the run's, where a process leaves the error that ended it.
        give_up: called in the thread, where this process does not end by itself when another
            has failed; it must not return.
    """

    def __init__(
        self,
        processes: list[subprocess.Popen[bytes]],
        folder: Path,
        give_up: Callable[[ProcessError], None],
    ) -> None:
        super().__init__(daemon=True, name="watch")
        self._processes, self._folder, self._give_up = processes, folder, give_up
        self._is_over = threading.Event()
        # Held by whoever ends the run: the thread here, or the process's own way out.
        self._ending = threading.Lock()

    def run(self) -> None:
        while not self._is_over.wait(PERIOD_S):
            codes = [process.poll() for process in self._processes]
            if not any(codes):
                continue
            is_calm = all(code in (None, 0, *_INTERRUPTED) for code in codes)
            if self._is_over.wait(FAREWELL_S if is_calm else PATIENCE_S):
                return
            with self._ending:
                if not self._is_over.is_set():
                    error = self.failure() or ProcessError(*_UNKNOWN)
                    self.end()
                    self._give_up(error)

    def failure(self) -> ProcessError | None:
        """What ended the process that failed first; None while none is known to have failed."""
        ended = [(rank, p.poll()) for rank, p in enumerate(self._processes, start=1)]
        told = [(error_path(self._folder, rank), rank) for rank, _ in ended]
        first = min((pair for pair in told if pair[0].exists()), key=_written_s, default=None)
        for rank, code in ended:
            if code is not None and code < 0 and -code != signal.SIGINT:
                name = signal.Signals(-code).name
                hint = ", perhaps for lack of memory" if -code == signal.SIGKILL else ""
                why = f"it was killed by {name}{hint}"
                return ProcessError(f"process of rank {rank}", why, "resume the run")
        if first is not None:
            path, rank = first
            why = path.read_text(encoding="utf-8").strip()
            return ProcessError(f"process of rank {rank}", why, "see train.log")
        return None

    def stop(self) -> None:
        """This process leaves by itself: the thread will not end the run any more."""
        with self._ending:
            self._is_over.set()

    def end(self, patience_s: float = 0.0) -> None:
        """Ends all processes, by force those that are there after `patience_s`."""
        deadline = time.monotonic() + patience_s
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()  # It may wait in a collective, deaf to other signals.
                process.wait()
        for rank in range(1, len(self._processes) + 1):
            error_path(self._folder, rank).unlink(missing_ok=True)


_UNKNOWN = ("processes", "one of them has ended, and told no reason", "see train.log")


class WatchedLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher, whose own watch is given no process to look after.

    Attributes:
        started: told of the processes once they are there.
    """

    started: Callable[[list[subprocess.Popen[bytes]]], None]

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        self.started(self.procs)
        self.procs = []


@contextmanager
def watched(
    trainer: Trainer, folder: Path, give_up: Callable[[ProcessError], None]
) -> Iterator[None]:
    """While `trainer` works, a process that fails ends the run, and none outlives the block.

    Raises ProcessError in place of the error of a process that only lost the others.
    """
    watches: list[Watch] = []

    def start(processes: list[subprocess.Popen[bytes]]) -> None:
        watches.append(Watch(processes, folder, give_up))
        watches[-1].start()

    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        replaced = WatchedLauncher(
            launcher.cluster_environment, launcher.num_processes, launcher.num_nodes
        )
        replaced.started = start
        trainer.strategy._launcher = replaced
    patience_s = FAREWELL_S
    try:
        yield
    except Exception as error:
        patience_s = 0.0
        raise _first_cause(error, watches) from error
    finally:
        for watch in watches:
            watch.stop()
            watch.end(patience_s)


def _first_cause(error: Exception, watches: list[Watch]) -> Exception:
    deadline = time.monotonic() + PATIENCE_S
    while watches and lost_others(error) and time.monotonic() < deadline:
        for watch in watches:
            found = watch.failure()
            if found is not None:
                return found
        time.sleep(PERIOD_S / 5)
    return error


def lost_others(error: BaseException) -> bool:
    """Whether `error` only says that another process is gone."""
    is_gloo = isinstance(error, RuntimeError) and "gloo" in str(error)
    return is_gloo or isinstance(error, dist.DistError)


@contextmanager
def told_to_first(folder: Path, rank: int) -> Iterator[None]:
    """In a process that the first one started: its error reaches the user through that one, and it
    ends when that one is gone.

    Raises SystemExit in place of an error.
    """
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True, name="watch").start()
    try:
        yield
    except Exception as error:
        if not lost_others(error):
            write_atomic(error_path(folder, rank), one_line(error) + "\n")
        # Not by raising: the first process tells it, and closing a process group may take long.
        sys.stderr.flush()
        os._exit(getattr(error, "exit_code", 1))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PERIOD_S)
    os._exit(1)


def error_path(folder: Path, rank: int) -> Path:
    """Where the process of `rank` leaves its last words."""
    return folder / f"rank_{rank}.error"


def _written_s(pair: tuple[Path, int]) -> float:
    return pair[0].stat().st_mtime
