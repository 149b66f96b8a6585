"""The times of the frames of many clips, found once and remembered.

The one idea: a table in the cache (SQLite, `clip_times.sqlite`) knows of every clip that was ever
opened its size, the time it was changed and the times of its frames; a start looks up instead of
opening, and a clip that is new or was changed is opened alone. Clips are opened by several threads,
as PyAV works outside of Python's lock. One process at a time looks up and opens, others wait, so
that no clip is opened twice. The price: a file that was changed and kept both size and time is not
noticed. A damaged table is made anew.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from filelock import FileLock

from seqloom.data.video.reader import open_clip
from seqloom.errors import DataError

_log = logging.getLogger(__name__)

FORMAT = 1  # of the table and of what it says of a clip
TABLE = "clip_times.sqlite"
OPENED_AT_ONCE = 64  # clips between two times that what is known is kept
COLUMNS = """path TEXT PRIMARY KEY, reader TEXT, size INTEGER, changed INTEGER, decoded INTEGER,
times BLOB, error TEXT"""


@dataclass(frozen=True)
class Signature:
    """What changes when a clip does.

    Attributes:
        num_bytes: of the file, or of all files of a folder.
        changed_ns: when it was changed last.
    """

    num_bytes: int
    changed_ns: int


@dataclass(frozen=True)
class Found:
    """What is known of a clip.

    Attributes:
        times_s: [N] float64; None where it cannot be used.
        error: why not.
    """

    times_s: np.ndarray | None
    error: DataError | None = None


def signature_of(path: Path) -> Signature | None:
    """None where there is nothing at `path`."""
    try:
        if not path.is_dir():
            stat = path.stat()
            return Signature(stat.st_size, stat.st_mtime_ns)
        with os.scandir(path) as entries:
            stats = [entry.stat() for entry in entries if entry.is_file()]
    except OSError:
        return None
    changed = [stat.st_mtime_ns for stat in stats]
    return Signature(sum(stat.st_size for stat in stats), max(changed, default=0))


def find_clips(paths: Sequence[Path], *, folder: Path, decode: bool) -> list[Found]:
    """What is known of each of `paths`, in their order; those that are not known are opened.

    Without `decode` the answer ends with the first clip that cannot be used.

    Args:
        folder: of the table, see `cache.cache_root`.
        decode: every clip is decoded to its end, to know that it can be; once it was, this is
            remembered, and so is why it cannot be. Else a clip is opened only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / TABLE
    with FileLock(table.with_name(f"{TABLE}.lock")):
        try:
            return _find(paths, table, decode=decode)
        except sqlite3.DatabaseError as error:
            _log.warning("%s is damaged (%s) and made again", table, error)
            for path in folder.glob(f"{TABLE}-*"):
                path.unlink()
            table.unlink(missing_ok=True)
            return _find(paths, table, decode=decode)


def _find(paths: Sequence[Path], table: Path, *, decode: bool) -> list[Found]:
    connection = sqlite3.connect(table)
    try:
        connection.execute(f"CREATE TABLE IF NOT EXISTS clips ({COLUMNS})")
        reader = f"{FORMAT} av {version('av')}"
        signatures = [signature_of(path) for path in paths]
        found = {
            row: known
            for row, (path, signature) in enumerate(zip(paths, signatures, strict=True))
            if (known := _known(connection, path, signature, reader, decode=decode)) is not None
        }
        new = [row for row in range(len(paths)) if row not in found]
        if new:
            _log.info("%s %d clips once", "decoding" if decode else "opening", len(new))
        opened = _opened([paths[row] for row in new], decode=decode)
        for number, (row, known) in enumerate(zip(new, opened, strict=True), start=1):
            found[row] = known
            signature = signatures[row]
            if signature is not None and (decode or known.error is None):
                _keep(connection, paths[row], signature, reader, known, decode=decode)
            if number % OPENED_AT_ONCE == 0:
                connection.commit()
            if known.error is not None and not decode:
                break
        connection.commit()
        num_found = next((row for row in range(len(paths)) if row not in found), len(paths))
        return [found[row] for row in range(num_found)]
    finally:
        connection.close()


def _known(
    connection: sqlite3.Connection,
    path: Path,
    signature: Signature | None,
    reader: str,
    *,
    decode: bool,
) -> Found | None:
    if signature is None:
        return None
    row = connection.execute(
        "SELECT times, error FROM clips WHERE path = ? AND reader = ? AND size = ? AND changed = ?"
        " AND decoded >= ?",
        (str(path.resolve()), reader, signature.num_bytes, signature.changed_ns, int(decode)),
    ).fetchone()
    if row is None:
        return None
    times, error = row
    if error is None:
        return Found(np.frombuffer(zlib.decompress(times)))
    # Who does not leave out a clip meets its error itself: perhaps it was not the clip's.
    parts = error.split("\n")
    return Found(None, DataError(*parts)) if decode and len(parts) == 3 else None


def _keep(
    connection: sqlite3.Connection,
    path: Path,
    signature: Signature,
    reader: str,
    found: Found,
    *,
    decode: bool,
) -> None:
    times, error = b"", None
    if found.times_s is not None:
        times = zlib.compress(found.times_s.astype(np.float64).tobytes(), 1)
    if found.error is not None:
        parts = (found.error.value, found.error.why, found.error.instead)
        error = "\n".join(" ".join(part.split()) for part in parts)
    place = (str(path.resolve()), reader, signature.num_bytes, signature.changed_ns)
    connection.execute(
        "INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*place, int(decode), times, error),
    )


def _opened(paths: Sequence[Path], *, decode: bool) -> Iterator[Found]:
    """Each clip opened, in the order of `paths`."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for begin in range(0, len(paths), OPENED_AT_ONCE):
            part = paths[begin : begin + OPENED_AT_ONCE]
            yield from threads.map(_open, part, [decode] * len(part))


def _open(path: Path, decode: bool) -> Found:
    try:
        with open_clip(path) as clip:
            times_s = np.array(clip.times_s, dtype=np.float64)
            num_frames = sum(1 for _ in clip.frames()) if decode else len(times_s)
    except DataError as error:
        return Found(None, error)
    if not num_frames:
        return Found(None, DataError(str(path), "there is no frame in it", "leave the clip out"))
    return Found(times_s)
