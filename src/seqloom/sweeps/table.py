"""`LiveTable`: what a person sees of a sweep while it runs.

On a terminal a table that is drawn anew: what runs, what ended lately and what comes next, never
more than fits the window, and above it how the whole stands. Elsewhere (a log file, CI) one line
for each change of a state. All of it goes to standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seqloom.sweeps.layout import STYLES, number, table
from seqloom.sweeps.progress import span
from seqloom.sweeps.record import SweepRecord
from seqloom.sweeps.standings import ENDED, Standing, Standings, best, counts, left_s

_FRAME_LINES = 4  # The head line, the names of the columns, the rest, and one for the cursor.
_DOT = " \u00b7 "


class LiveTable:
    """Shows a sweep; a context manager, inside of which `show` is called again and again.

    Args:
        num_slots: jobs at a time, for the time left; None: as many as run at the moment.
        console: where to; the standard error stream by default.
    """

    def __init__(self, num_slots: int | None = None, *, console: Console | None = None) -> None:
        self._num_slots = num_slots
        self._console = console or Console(stderr=True)
        self._standings = Standings()
        self._states: dict[int, str] | None = None
        self._lately: list[int] = []  # Jobs in the order in which they were seen to end.
        self._live: Live | None = None

    def __enter__(self) -> LiveTable:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, record: SweepRecord, folder: Path) -> None:
        """Shows how the sweep in `folder` stands, which the caller runs: its record is true."""
        self.draw(record, self._standings.read(record, folder, is_live=True))

    def draw(self, record: SweepRecord, standings: Sequence[Standing]) -> None:
        """The same for standings that were read already."""
        before = self._states
        self._states = {s.job.number: s.progress.state for s in standings}
        changed = [s for s in standings if _is_new(before, s)]
        self._lately += [s.job.number for s in changed if s.progress.state in ENDED]
        if self._live is None:
            self._tell(record, standings, changed, is_first=before is None)
            return
        width, height = self._console.size
        shown = select(standings, self._lately, max(1, height - _FRAME_LINES))
        parts: list[Table | Text] = [
            self._head(record, standings),
            table(record, shown, standings, width),
        ]
        rest = counts([s for s in standings if s not in shown])
        if rest:
            parts.append(Text(f"not shown: {_listed(rest)}", style="dim", no_wrap=True))
        self._live.update(Group(*parts), refresh=True)

    def _head(self, record: SweepRecord, standings: Sequence[Standing]) -> Text:
        rest_s = left_s(standings, record.num_jobs, self._num_slots)
        text = headline(record, standings, rest_s)
        return Text(text, style="bold", no_wrap=True, overflow="ellipsis")

    def _tell(
        self,
        record: SweepRecord,
        standings: Sequence[Standing],
        changed: Sequence[Standing],
        *,
        is_first: bool,
    ) -> None:
        if is_first:
            self._print(headline(record, standings))
        num_ended = sum(s.progress.state in ENDED for s in standings)
        num_ended -= sum(s.progress.state in ENDED for s in changed)
        for standing in changed:
            text = change(record, standing)
            if standing.progress.state in ENDED:
                num_ended += 1
                text += f" ({num_ended} of {record.num_jobs} ended)"
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def headline(
    record: SweepRecord, standings: Sequence[Standing], rest_s: float | None = None
) -> str:
    """How the whole stands: "copy/NIGHT: 12 jobs: 3 finished, 2 running, 7 waiting".

    Args:
        rest_s: seconds that are left, where they are known.
    """
    states = counts(standings)
    # Trials of a search that nobody has asked for yet.
    states["waiting"] = states.get("waiting", 0) + max(0, record.num_jobs - len(standings))
    jobs = "job" if record.num_jobs == 1 else "jobs"
    text = f"{record.name}: {record.num_jobs} {jobs}: {_listed(states)}"
    text += "" if rest_s is None else f"{_DOT}about {span(rest_s)} left"
    leader = best(record, standings)
    if leader is not None:
        text += f"{_DOT}best {_values(record, leader)} (job {leader.job.number})"
    return text


def change(record: SweepRecord, standing: Standing) -> str:
    """A line for a job whose state is new: "job 3 finished: cell=gru seed=2: val/loss 0.412, 41 s".

    Its number is the name of its folder.
    """
    job, progress = standing.job, standing.progress
    word = "started" if progress.state == "running" else progress.state
    parts = [f"job {job.number} {word}", standing.label]
    end = [progress.note] if progress.note else []
    if progress.state == "finished" and record.objectives:
        end.append(_values(record, standing))
    if progress.state in ENDED and progress.seconds:
        end.append(span(progress.seconds))
    return ": ".join([part for part in (*parts, ", ".join(end)) if part])


def select(standings: Sequence[Standing], lately: Sequence[int], num_lines: int) -> list[Standing]:
    """At most `num_lines` jobs, in their order: what runs, then, sharing the room that is left,
    what ended last and what comes next, then what ended before.

    Args:
        lately: numbers of jobs that were seen to end, the last one at the end.
    """
    if len(standings) <= num_lines:
        return list(standings)
    rank = {number: place for place, number in enumerate(lately)}
    running = [s for s in standings if s.progress.state == "running"]
    ended = [s for s in standings if s.progress.state in ENDED]
    ended.sort(key=lambda s: (rank.get(s.job.number, -1), s.job.number), reverse=True)
    waiting = [s for s in standings if s.progress.state == "waiting"]
    room = max(0, num_lines - len(running))
    num_next = min(len(waiting), max(room // 4, room - len(ended)))
    chosen = [*running, *ended[: room - num_next], *waiting[:num_next]][:num_lines]
    return sorted(chosen, key=lambda s: s.job.number)


def _is_new(before: dict[int, str] | None, standing: Standing) -> bool:
    """Whether the state is another than at the last look; at the first look nothing is new."""
    if before is None:
        return False
    return before.get(standing.job.number, "waiting") != standing.progress.state


def _listed(states: dict[str, int]) -> str:
    return ", ".join(f"{states[state]} {state}" for state in STYLES if states.get(state))


def _values(record: SweepRecord, standing: Standing) -> str:
    values = [standing.value, *standing.job.values[1:]]
    return ", ".join(
        f"{name} {number(value)}" for name, value in zip(record.objectives, values, strict=False)
    )
