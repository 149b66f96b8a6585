"""`RowReader`: the rows of a growing metrics.csv as they come, for who follows a run from outside.

The idea: the file grows at its end, so a look at it costs one `stat` while nothing has happened,
and else the new bytes. The last row is looked at again, for values of one step may come later, and
a file that was written anew (a new column, a resumed run) is read from its beginning. Nothing is
written or locked, and no state of the file is an error.
"""

from __future__ import annotations

import csv
import math
import os
import time
from pathlib import Path
from typing import BinaryIO

from seqloom.runs.metrics_file import KEYS

_SETTLED_NS = 50_000_000  # Two writes may have one time stamp; later than this they have not.


class RowReader:
    """The rows of a metrics.csv as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark: tuple[int, int, int] | None = None  # The file when it was last looked at.
        self._header = b""
        self._columns: list[str] = []
        self._start = 0  # Byte offset of the last row, which may still grow.
        self._step = -math.inf
        self._given: set[str] = set()  # Metrics of that step.

    def new_rows(self) -> list[dict[str, float]]:
        """What was logged since the last call, in order, each value once.

        Each row has "step", "epoch", "seconds" and metrics. Where values of a step came after its
        row was handed out, they come as a row of the same step. Steps that a resumed run repeats
        are not handed out again. [] where there is no file; a torn line waits until it is whole.
        """
        try:
            with open(self._path, "rb") as file:
                about = os.fstat(file.fileno())
                mark = (about.st_ino, about.st_size, about.st_mtime_ns)
                if mark == self._mark:
                    return []
                self._mark = mark if time.time_ns() - about.st_mtime_ns > _SETTLED_NS else None
                header = file.readline()
                if header != self._header or not self._is_start(file, about.st_size):
                    self._begin(header)
                file.seek(self._start)
                whole, newline, _ = file.read().rpartition(b"\n")
        except OSError:
            return []
        if not newline or not self._columns:
            return []
        found, start = [], self._start
        for line in whole.split(b"\n"):
            row = self._row(line)
            if row is not None:
                self._start = start
                found.append(self._fresh(row))
            start += len(line) + 1
        return [row for row in found if row is not None]

    def _is_start(self, file: BinaryIO, size: int) -> bool:
        """Whether a row still begins where the last one did."""
        if not self._header or size < self._start:
            return False
        file.seek(self._start - 1)
        return file.read(1) == b"\n"

    def _begin(self, header: bytes) -> None:
        is_whole = header.endswith(b"\n")
        self._header = header if is_whole else b""
        self._start = len(self._header)
        text = self._header.decode("utf-8", errors="replace")
        self._columns = next(csv.reader([text]), [])

    def _row(self, line: bytes) -> dict[str, float] | None:
        cells = line.split(b",")
        if len(cells) != len(self._columns):
            return None
        try:
            row = {n: float(cell) for n, cell in zip(self._columns, cells, strict=True) if cell}
        except ValueError:
            return None
        return row if "step" in row else None

    def _fresh(self, row: dict[str, float]) -> dict[str, float] | None:
        if row["step"] < self._step:
            return None
        if row["step"] > self._step:
            self._step, self._given = row["step"], row.keys() - set(KEYS)
            return row
        new = row.keys() - self._given - set(KEYS)
        self._given |= new
        return {name: row[name] for name in row if name in KEYS or name in new} if new else None
