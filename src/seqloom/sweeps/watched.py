"""`Watched`: a folder that somebody looks at again and again: a sweep, one run, or many runs.

The idea: whatever it is becomes the record of a sweep, so the same table and the same page show
it. A folder of runs that is no sweep is searched every few seconds, never inside of a run; what
runs is shown, and what ended last. Nothing in it is written or locked. The price: a run that has
just begun is seen some seconds late.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqloom.errors import DataError
from seqloom.runs import short_name
from seqloom.runs.lock import is_worked_on
from seqloom.runs.metrics_file import KEYS
from seqloom.sweeps.curves import Curve
from seqloom.sweeps.record import RECORD, JobRecord, SweepRecord
from seqloom.sweeps.standings import Standing, Standings, best

MAX_RUNS = 200  # Of a folder of runs: those that did something last.
MAX_CURVES = 24  # More lines than these nobody can tell apart.
TRAIN_LOSS = "train/loss"
_MAX_DEPTH = 5
_SEARCH_S = 5.0  # Between two searches,
_SEARCH_SHARE = 0.02  # which may take this part of the time.


@dataclass(frozen=True)
class View:
    """What was seen in one look.

    Attributes:
        record: of the sweep, or made up for runs that are none; None: nothing is there yet.
        is_over: whether nothing runs, and nothing more will by what is known.
    """

    record: SweepRecord | None
    standings: list[Standing]
    is_over: bool


class Watched:
    """Looks at `root`, which need not be there yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._place = Path(os.path.abspath(root))  # With a name, also where `root` is ".".
        self._standings = Standings()
        self._record: SweepRecord | None = None
        self._record_mark: tuple[int, int] | None = None
        self._numbers: dict[str, int] = {}  # Of runs that belong to no sweep, by their folder.
        self._shown: list[str] = []
        self._next_search_s = 0.0
        self._curves: dict[str, dict[str, Curve]] = {}

    def look(self) -> View:
        """How everything stands now. Never raises."""
        self._read_record()
        if self._record is not None:
            is_live = is_worked_on(self.root) is not False
            standings = self._standings.read(self._record, self.root, is_live=is_live)
            return View(self._record, standings, _is_over(self._record, standings, is_live))
        self._search()
        standings = self._alone()
        if not standings:
            return View(None, [], is_over=False)
        record = self._made_up(standings)
        return View(record, standings, _is_over(record, standings, False))

    def curves(self, view: View) -> dict[str, dict[int, list[tuple[float, float]]]]:
        """(step, value) of the objective and of the training loss, by the numbers of jobs: those
        that run, then the best and the last ones, at most `MAX_CURVES`."""
        if view.record is None:
            return {}
        leader = best(view.record, view.standings)
        begun = [s for s in view.standings if s.progress.state != "waiting"]
        begun.sort(key=lambda s: (s.progress.state != "running", s is not leader, -s.job.number))
        found: dict[str, dict[int, list[tuple[float, float]]]] = {}
        for standing in begun[:MAX_CURVES]:
            reader = self._standings.readers[standing.job.folder]
            curves = self._curves.setdefault(standing.job.folder, {})
            for row in reader.new_rows():
                for name in row.keys() & {reader.objective, TRAIN_LOSS} - set(KEYS):
                    curves.setdefault(name, Curve()).add(row["step"], row[name])
            for name, curve in sorted(curves.items(), key=lambda item: item[0] == TRAIN_LOSS):
                found.setdefault(name, {})[standing.job.number] = curve.points()
        return found

    def _read_record(self) -> None:
        """Keeps what it knows where the file is not whole."""
        try:
            about = os.stat(self.root / RECORD)
            mark = (about.st_ino, about.st_mtime_ns)
            if mark != self._record_mark:
                self._record, self._record_mark = SweepRecord.read(self.root), mark
        except (OSError, DataError):
            return

    def _search(self) -> None:
        """Not often, and the more seldom the longer it takes."""
        now = time.monotonic()
        if self._shown and now < self._next_search_s:
            return
        times = {folder: _times(self.root / folder) for folder in _runs(self.root)}
        for folder in sorted(times, key=lambda folder: (times[folder][0], folder)):
            self._numbers.setdefault(folder, len(self._numbers))
        newest = sorted(times, key=lambda folder: times[folder][1], reverse=True)[:MAX_RUNS]
        self._shown = sorted(newest, key=lambda folder: self._numbers[folder])
        self._next_search_s = now + max(_SEARCH_S, (time.monotonic() - now) / _SEARCH_SHARE)

    def _alone(self) -> list[Standing]:
        jobs = [
            JobRecord(
                self._numbers[folder],
                folder,
                [self._place.name if folder == "." else folder],
                "running",
            )
            for folder in self._shown
        ]
        record = SweepRecord("", "", {}, len(jobs), jobs)
        return self._standings.read(record, self.root, is_live=False)

    def _made_up(self, standings: list[Standing]) -> SweepRecord:
        readers = [self._standings.readers[s.job.folder] for s in standings]
        objectives = {reader.objective: reader.mode for reader in readers if reader.objective}
        name = short_name(self.root)
        # Runs of several tasks have no objective in common.
        common = objectives if len(objectives) == 1 else {}
        return SweepRecord(name, "", common, len(standings), [s.job for s in standings])


def _is_over(record: SweepRecord, standings: list[Standing], is_live: bool) -> bool:
    if any(s.progress.state == "running" for s in standings):
        return False
    is_waiting = any(s.progress.state == "waiting" for s in standings)
    return not is_live or not (is_waiting or len(standings) < record.num_jobs)


def _runs(root: Path) -> Iterator[str]:
    """Folders of runs at or under `root`, relative to it; not what lies in them, nor behind
    links."""
    rest = [(root, 0)]
    while rest:
        folder, depth = rest.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError:
            continue
        names = {entry.name for entry in found}
        if names & {"config.yaml", "summary.json"}:
            yield os.path.relpath(folder, root)
        elif depth < _MAX_DEPTH:
            below = [entry for entry in found if entry.is_dir(follow_symlinks=False)]
            rest += [(Path(entry.path), depth + 1) for entry in below if entry.name[0] != "."]


def _times(folder: Path) -> tuple[float, float]:
    """When a run was begun (its config is written once) and when it last did something: just now
    where it is locked."""
    begun, last = math.inf, 0.0
    for name in ("config.yaml", "summary.json", "metrics.csv", "run.lock"):
        try:
            changed = os.stat(folder / name).st_mtime
        except OSError:
            continue
        begun, last = min(begun, changed), math.inf if name == "run.lock" else max(last, changed)
    return begun, last
