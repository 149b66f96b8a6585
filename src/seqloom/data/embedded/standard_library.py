"""Python source code that every interpreter carries: its standard library, without tests.

The idea: the files are ordered by a hash of their names and fall into splits by it, so splits are
disjoint by file, and any first part of a split is a mixture of the whole library.
The price: another version of Python is another text. A file that is not UTF-8 is left out.
"""

from __future__ import annotations

import hashlib
import sysconfig
from functools import cache
from pathlib import Path, PurePath

from seqloom.errors import DataError

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
SPLIT_TWENTIETHS = {"train": range(18), "val": range(18, 19), "test": range(19, 20)}


@cache
def library_text(split: str) -> str:
    """The files of the split `train`, `val` or `test`, one after the other, each ending with the
    end of a line. Raises DataError where the interpreter has no sources.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    texts = (_source(root / name) for name in _names(root) if split_of(name) == split)
    text = "".join(texts)
    if not text:
        raise DataError(
            str(root), "this interpreter has no sources of its library", "use data=text_file"
        )
    return text


def split_of(name: PurePath) -> str:
    """The split of a file, by its path inside the library."""
    twentieth = int(_hash(name), 16) % 20
    return next(split for split, part in SPLIT_TWENTIETHS.items() if twentieth in part)


def _names(root: Path) -> list[PurePath]:
    names = (path.relative_to(root) for path in root.rglob("*.py"))
    return sorted((name for name in names if not LEFT_OUT & set(name.parts)), key=_hash)


def _hash(name: PurePath) -> str:
    return hashlib.sha256(name.as_posix().encode()).hexdigest()


def _source(path: Path) -> str:
    try:
        text = path.read_bytes().decode().replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return ""
    return text if text.endswith("\n") or not text else f"{text}\n"
