"""Prepared folders: made once, whole or absent, found again by the fingerprint in their name.

A folder is written beside its place and renamed into it with a manifest of its files; processes
that want the same one wait for each other at a file lock. The price: a manifest holds sizes, and
hashes only of the small JSON files, so that a start does not read gigabytes; a flipped bit in an
array is not noticed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

_log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
Facts = dict[str, int]


def cache_root(folder: str | None) -> Path:
    """`folder`, else the environment's SEQLOOM_CACHE, else ~/.cache/seqloom."""
    return Path(folder or os.environ.get("SEQLOOM_CACHE") or "~/.cache/seqloom").expanduser()


def fingerprint_of(parts: Mapping[str, object]) -> str:
    """64 hexadecimal digits that change with any value of `parts` (plain values only)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's contents, so that a change is noticed and a copy is not."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def ensure(folder: Path, make: Callable[[Path], Facts]) -> None:
    """Makes `folder` by `make(its temporary place)` unless it is there and whole.

    What `make` answers is kept as the folder's facts.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if is_whole(folder):
            return
        if folder.exists():
            _log.warning("%s is damaged and made again", folder)
            shutil.rmtree(folder)
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        facts = make(partial)
        files = {path.name: _describe(path) for path in sorted(partial.iterdir())}
        manifest = json.dumps({"files": files, "facts": facts}, indent=1)
        (partial / MANIFEST).write_text(manifest, encoding="ascii")
        partial.rename(folder)


def is_whole(folder: Path) -> bool:
    """Whether every file of the manifest is there as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="ascii"))
        return all(_describe(folder / name) == known for name, known in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def facts_of(folder: Path) -> Facts:
    """What `make` answered when a whole `folder` was made."""
    facts: Facts = json.loads((folder / MANIFEST).read_text(encoding="ascii"))["facts"]
    return facts


def _describe(path: Path) -> list[int | str]:
    size = path.stat().st_size
    return [size, file_digest(path)] if path.suffix == ".json" else [size]
