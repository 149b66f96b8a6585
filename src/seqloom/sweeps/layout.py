"""The table of a sweep's jobs on a terminal: a line each, and nothing that does not fit.

The idea: numbers and states stay whole; what room is left is shared by the settings, which lose
their middle, and the progress, which is a bar, or where there is something to be said (an error, no
sign of life) that note. In a narrow window the latest value and the bar go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.table import Column, Table
from rich.text import Text

from seqloom.sweeps.progress import span
from seqloom.sweeps.record import SweepRecord
from seqloom.sweeps.standings import ENDED, Standing, best

STYLES = {
    "finished": "green",
    "running": "cyan",
    "failed": "bold red",
    "pruned": "magenta",
    "interrupted": "yellow",
    "waiting": "dim",
}
_BAR_WIDTH = 12
_NARROW = 80
_GAP = 2
_SETTINGS, _LATEST = 1, 3  # Places of columns.


def table(
    record: SweepRecord, shown: Sequence[Standing], standings: Sequence[Standing], width: int
) -> Table:
    """The table of the jobs in `shown`, a line each, in a window of `width` characters: numbers
    stay whole, settings lose their middle and notes their end."""
    names, leader, is_narrow = list(record.objectives), best(record, standings), width < _NARROW
    cells = [_cells(s, len(names), is_narrow, is_best=s is leader) for s in shown]
    heads = ["job", "settings", "state", names[0] if names else "", "best", *names[1:]]
    columns = [Column(head, justify=_side(head)) for head in (*heads, "progress", "left")]
    if is_narrow:
        del columns[_LATEST]
    natural = [
        max([len(str(column.header)), *(row[place].cell_len for row in cells)])
        for place, column in enumerate(columns)
    ]
    progress = len(columns) - 2
    room = width - sum(natural) - _GAP * (len(columns) - 1) + natural[_SETTINGS] + natural[progress]
    kept = min(natural[progress], max(_BAR_WIDTH + 5, room // 2))
    natural[_SETTINGS] = min(natural[_SETTINGS], max(8, room - kept))
    natural[progress] = min(natural[progress], max(4, room - natural[_SETTINGS]))
    for column, size in zip(columns, natural, strict=True):
        column.width, column.no_wrap = size, True
    found = Table(*columns, box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    for row in cells:
        row[_SETTINGS].plain = shorten(row[_SETTINGS].plain, natural[_SETTINGS])
        found.add_row(*row)
    return found


def _cells(standing: Standing, num_values: int, is_narrow: bool, *, is_best: bool) -> list[Text]:
    job, progress = standing.job, standing.progress
    mark = "bold" if is_best else ""
    more = [number(value) for value in job.values[1:num_values]]
    more += [""] * (num_values - 1 - len(more))
    return [
        Text(str(job.number)),
        Text(standing.label, style=mark),
        Text(progress.state, style=STYLES[progress.state]),
        *([] if is_narrow else [Text(number(progress.latest))]),
        Text(number(progress.best), style=mark),
        *map(Text, more),
        _advance(standing, is_narrow),
        Text("" if progress.left_s is None else span(progress.left_s)),
    ]


def _side(head: str) -> Literal["left", "right"]:
    return "left" if head in ("settings", "state", "progress") else "right"


def shorten(text: str, room: int) -> str:
    """At most `room` characters of `text`; what is too long loses its middle: both the first and
    the last setting tell jobs apart."""
    if len(text) <= room:
        return text
    tail = (room - 1) // 2
    return f"{text[: room - 1 - tail]}\u2026{text[len(text) - tail :]}"


def _advance(standing: Standing, is_narrow: bool) -> Text:
    """A bar and a percentage, or in their place what there is to be said."""
    progress = standing.progress
    if progress.note:
        return Text(progress.note, style=STYLES[progress.state])
    if progress.state in ENDED:
        return Text(span(progress.seconds) if progress.seconds else "", style="dim")
    if progress.fraction is None:
        return Text(f"step {progress.step:,}" if progress.step else "", style="dim")
    percent = f"{progress.fraction:4.0%}"
    if is_narrow:
        return Text(percent)
    full = round(progress.fraction * _BAR_WIDTH)
    bar = Text("\u2501" * full, style=STYLES["running"])
    return bar.append("\u2501" * (_BAR_WIDTH - full), style="bright_black").append(
        f" {percent}", ""
    )


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
