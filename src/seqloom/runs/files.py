"""Files that are whole or absent: written beside their place, synced, then renamed over it.

A reader never sees half a file and a power cut never leaves one. Price: one `fsync` a write.
"""

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import yaml

# The safe loader; ten times as fast where PyYAML was built with its library.
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def write_atomic(path: Path, text: str) -> None:
    """Replaces `path` by a UTF-8 file with `text`; its folder must exist.

    Where that fails, what was written goes: on a full disk a later, smaller file may need its room.
    """
    partial = partial_path(path)
    try:
        with open(partial, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        replace_synced(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def json_value(value: Any) -> Any:
    """The same with null for numbers that JSON has no word for, and tuples as lists."""
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_lines(text: str) -> list[str]:
    """The lines of a file with one JSON value a line, without blank ones.

    Not by splitlines(): U+2028 and its like may stand unescaped inside a JSON string.
    """
    return [line for line in text.split("\n") if line.strip()]


def partial_path(path: Path) -> Path:
    """Where this process writes what becomes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def replace_synced(partial: Path, path: Path) -> None:
    """Renames a finished file over `path`, after its bytes have reached the disk."""
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256_of_file(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_vocabulary(folder: Path) -> dict[str, str]:
    """The SHA-256 of each tokenizer in `folder`, by name; what a killed write left is none."""
    return {path.name: sha256_of_file(path) for path in sorted(folder.glob("*.json"))}
