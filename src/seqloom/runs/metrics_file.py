"""`MetricsFile`: metrics.csv, the record of truth of a run, written as it happens.

One row a step, one column a metric; values of one step that come later are merged into its row.
Each row reaches the file before `append` returns. A metric that appears for the first time rewrites
the file with a wider header, atomically. Price: a rewrite for each of the few dozen names. A last
line torn by SIGKILL is dropped on opening; a row never becomes shorter (`seconds` takes zeros), so
nobody ever reads the end of an older row behind a new one.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path

from seqloom.runs.files import write_atomic

KEYS = ("step", "epoch", "seconds")  # the columns that are no metrics


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows in order, each with the columns that have a value; [] when there is no file."""
    if not path.exists():
        return []
    with open(path, "rb", buffering=0) as file:
        # At once: the rest of a row that grows meanwhile would be taken for a row.
        text = file.read(os.fstat(file.fileno()).st_size).decode()
    whole, _, _ = text.rpartition("\n")
    rows = csv.DictReader(io.StringIO(whole))
    return [{name: float(cell) for name, cell in row.items() if cell} for row in rows]


class MetricsFile:
    """Appends to `path`; an existing file is continued, its clock too.

    Columns: `step` (index of the optimiser step, from 0), `epoch`, `seconds` (since the run began,
    over all resumes), then the metrics in the order of their first appearance.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = read_metrics(path)
        self._columns = list(dict.fromkeys([*KEYS, *(name for row in self._rows for name in row)]))
        self._row_start = 0  # Byte offset of the last row.
        # Rows that are dropped later took their time too.
        self._offset_s = self._rows[-1].get("seconds", 0.0) if self._rows else 0.0
        self._started = time.monotonic()
        self._open()

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records `metrics` (which may hold `epoch`) at `step`, flushed to the file."""
        is_new = not self._rows or self._rows[-1]["step"] != step
        if is_new:
            self._rows.append({"step": step, "epoch": 0})
        row = self._rows[-1]
        row |= {name: float(value) for name, value in metrics.items()}
        row |= {"step": step, "seconds": self._offset_s + time.monotonic() - self._started}
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._rewrite()
            return
        if is_new:
            self._row_start = self._file.seek(0, os.SEEK_END)
        num_before = self._file.seek(0, os.SEEK_END) - self._row_start
        self._file.seek(self._row_start)
        self._file.write(self._line(row, min_bytes=num_before).encode())
        self._file.flush()

    def truncate_after(self, step: int) -> None:
        """Drops the rows of steps later than `step`, which a resumed run is about to repeat."""
        self._rows = [row for row in self._rows if row["step"] <= step]
        self._rewrite()

    def close(self) -> None:
        self._file.close()

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = self._line(dict(zip(self._columns, self._columns, strict=True)))
        lines = [self._line(row) for row in self._rows]
        write_atomic(self._path, text + "".join(lines))
        self._file = open(self._path, "r+b")  # noqa: SIM115
        end = self._file.seek(0, os.SEEK_END)
        self._row_start = end - len(lines[-1].encode()) if lines else end

    def _rewrite(self) -> None:
        self._file.close()
        self._open()

    def _line(self, row: Mapping[str, float | str], *, min_bytes: int = 0) -> str:
        """A row of numbers, which are ASCII, at least so long; or the header."""
        cells = {name: _cell(row.get(name, "")) for name in self._columns}
        if isinstance(seconds := row.get("seconds"), float):
            cells["seconds"] = f"{seconds:.6f}"
        text = _joined(cells)
        if len(text) < min_bytes:
            cells["seconds"] += "0" * (min_bytes - len(text))
            text = _joined(cells)
        return text


def _joined(cells: Mapping[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells.values())
    return text.getvalue()


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else repr(float(value))
