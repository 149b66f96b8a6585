"""One plain text file as one string: found by its name with or without an ending, plain or gzip.

Text is UTF-8; a byte order mark is dropped and everything else is kept as it is, ends of lines
too, so that the string encodes to the file's bytes. Refuses an empty file and bytes that are no
UTF-8, and names the line.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from seqloom.data.readers import BYTE_ORDER_MARK, require
from seqloom.errors import DataError

ENDINGS = ("", ".txt", ".gz", ".txt.gz")


def find_text(root: Path, name: str) -> Path:
    """The first of `name`, `name.txt`, `name.gz` and `name.txt.gz` under `root`; a `DataError`
    with the nearest names where there is none.
    """
    found = (path for end in ENDINGS if (path := root / f"{name}{end}").is_file())
    return next(found, None) or require(root / name)


def read_text(path: Path) -> str:
    """The whole file; what cannot be is a `DataError`."""
    try:
        packed = path.read_bytes()
        data = gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        why = f"the gzip file is truncated or damaged ({error})"
        raise DataError(str(path), why, "copy or download the file again") from error
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read ({error.strerror})", "mend its access rights"
        ) from error
    data = data.removeprefix(BYTE_ORDER_MARK)
    if not data:
        raise DataError(str(path), "the file is empty", "fill it, or name another file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = f"byte 0x{data[error.start]:02x} is not UTF-8 ({error.reason})"
        raise DataError(f"{path}:{line}", why, "save the file as UTF-8") from error
