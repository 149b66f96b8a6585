"""`Part`: one offline folder of Weights & Biases, read back by W&B's own definition of its records.

A part (`wandb/offline-run-TIME-ID`) holds a log of records in blocks of 32 KiB, the format of
LevelDB, with a header of 7 bytes. W&B writes whole blocks, so a killed process leaves a part
without its end, often an empty one: a part is only trusted as far as it can be read. Refuses
nothing: what is no part has no rows.
"""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

_MAGIC = b":W&B"
_FILE_HEADER_BYTES = 7
_BLOCK_BYTES = 32 * 1024
_CHUNK_HEADER = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class Part:
    """What one offline folder holds.

    Attributes:
        path: the folder.
        rows: the logged values by name, of each row in order; `_step`, `_timestamp` among them.
        config, summary: at the end, by key.
        exit_code: None where the part has no end.
        run: W&B's record of the run (its id, group, job type, tags); None in an empty part.
    """

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    run: Any = None

    @property
    def steps(self) -> list[int]:
        return [row["_step"] for row in self.rows]

    @classmethod
    def read(cls, path: Path) -> Part:
        from wandb.proto import wandb_internal_pb2

        rows: list[dict[str, Any]] = []
        config: dict[str, Any] = {}
        summary: dict[str, Any] = {}
        exit_code, run = None, None
        for file in sorted(path.glob("*.wandb")):
            for content in read_log(file):
                record = wandb_internal_pb2.Record.FromString(content)  # type: ignore[attr-defined]
                kind = record.WhichOneof("record_type")
                if kind == "history":
                    rows.append(_merged({}, record.history.item))
                elif kind == "config":
                    _merged(config, record.config.update)
                elif kind == "summary":
                    _merged(summary, record.summary.update)
                elif kind == "exit":
                    exit_code = record.exit.exit_code
                elif kind == "run":
                    run = record.run
                    _merged(config, run.config.update)
        return cls(path, rows, config, summary, exit_code, run)


def find_parts(folder: Path, identity: str) -> list[Path]:
    """The offline folders of the W&B run `identity` in a run folder, the oldest first."""
    return sorted((folder / "wandb").glob(f"offline-run-*-{identity}"))


def is_uploaded(part: Path) -> bool:
    """W&B has left its mark beside the file."""
    return any(part.glob("*.wandb.synced"))


def keep_only(part: Path, folder: Path, identity: str) -> None:
    """Removes the offline folders that `part` stands for."""
    for other in find_parts(folder, identity):
        if other.resolve() != part.resolve():
            shutil.rmtree(other, ignore_errors=True)


def await_free_second(folder: Path, identity: str) -> None:
    """Waits while W&B would give a new part the name of an old one, which has whole seconds."""
    names = {part.name for part in find_parts(folder, identity)}
    while f"offline-run-{datetime.now():%Y%m%d_%H%M%S}-{identity}" in names:
        time.sleep(0.05)


def read_log(path: Path) -> Iterator[bytes]:
    """The records of a `.wandb` file, up to its end or to where it was torn."""
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        return
    position, record = _FILE_HEADER_BYTES, b""
    while True:
        left = _BLOCK_BYTES - position % _BLOCK_BYTES
        if left < _CHUNK_HEADER.size:  # A block's end is too short for another chunk.
            position += left
        start = position + _CHUNK_HEADER.size
        if start > len(data):
            return
        _, length, kind = _CHUNK_HEADER.unpack_from(data, position)
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or start + length > len(data):
            return
        record = b"" if kind in (_FULL, _FIRST) else record
        record += data[start : start + length]
        position = start + length
        if kind in (_FULL, _LAST):
            yield record


def _merged(values: dict[str, Any], items: Any) -> dict[str, Any]:
    """`values` with W&B's items laid over: a key, or the way to a nested one, and JSON."""
    for item in items:
        keys = list(item.nested_key) or [item.key]
        inner = values
        for key in keys[:-1]:
            inner[key] = inner[key] if isinstance(inner.get(key), dict) else {}
            inner = inner[key]
        inner[keys[-1]] = json.loads(item.value_json)
    return values
