"""Arrays that are dear to compute, kept on disk under a key that names all that they depend on.

The one idea: the key is a hash of the encoder, of how frames are chosen and cut, and of what the
clip holds, so nothing is ever out of date: what changes is another entry. An entry is a file of our
own form: a line of JSON (key, dtype, shape, the SHA-256 of what follows), then the plain bytes. It
is written beside its place and renamed, so processes may write the same one at once. Whatever is
not whole - cut off, altered, under a foreign name - is as good as absent. Nothing in it is code.
The prices: every load reads and hashes the whole entry, and entries that nobody asks for any more
stay until the folder is deleted. A clip is not read again while its size and time of change stay.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from seqloom.data.cache import file_digest, fingerprint_of
from seqloom.data.spec import VideoSide
from seqloom.errors import DataError

FORMAT, VERSION = "seqloom.features", 1
MAX_HEADER_BYTES = 4096
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": torch.uint8,
    "int64": torch.int64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class FeatureStore:
    """A folder of tensors by key.

    Args:
        folder: made by the first `save`.
    """

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the entry of `key` lies or would lie."""
        return self.folder / key[:2] / f"{key}.features"

    def load(self, key: str) -> Tensor | None:
        """What was saved under `key`, on the CPU; None where that is absent or not whole."""
        try:
            content = self.path(key).read_bytes()
        except OSError:
            return None
        head, newline, payload = content.partition(b"\n")
        try:
            header = json.loads(head[:MAX_HEADER_BYTES])
            shape, dtype = [int(size) for size in header["shape"]], DTYPES[header["dtype"]]
            about = header["format"], header["version"], header["key"]
            digest = header["sha256"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        is_ours = (
            about == (FORMAT, VERSION, key) and newline == b"\n" and min(shape, default=0) >= 0
        )
        if not is_ours or digest != hashlib.sha256(payload).hexdigest():
            return None
        if len(payload) != dtype.itemsize * torch.Size(shape).numel():
            return None
        if not payload:
            return torch.empty(shape, dtype=dtype)
        # A copy that can be written to, as collation and torch expect.
        return torch.frombuffer(bytearray(payload), dtype=dtype).reshape(shape)

    def save(self, key: str, values: Tensor) -> None:
        """Writes `values`, whole or not at all; replaces what was there.

        Raises DataError where the disk does not take it.
        """
        values = values.detach().cpu().contiguous()
        payload = values.reshape(-1).view(torch.uint8).numpy().tobytes() if values.numel() else b""
        header = {
            "format": FORMAT,
            "version": VERSION,
            "key": key,
            "dtype": NAMES[values.dtype],
            "shape": list(values.shape),
            "sha256": hashlib.sha256(payload).hexdigest(),
        }
        path = self.path(key)
        partial = path.with_name(f".{key}.{os.getpid()}.{threading.get_ident()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(json.dumps(header).encode("ascii") + b"\n" + payload)
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise DataError(
                str(path),
                f"features cannot be kept there ({error.strerror})",
                "free space, or set data.cache_dir to a folder that can be written",
            ) from None


class StoredFeatures:
    """The features of a split's clips by row, for `VideoData.use_features`; workers read them too.

    Args:
        keys: of each row.
        clips: of each row, for errors.
    """

    def __init__(self, *, store: FeatureStore, keys: Sequence[str], clips: Sequence[Path]) -> None:
        self._store, self._keys, self._clips = store, tuple(keys), tuple(clips)

    def __len__(self) -> int:
        return len(self._keys)

    def __call__(self, row: int) -> Tensor:
        """[T', ...] of a row. Raises DataError where the entry went lost after the start."""
        values = self._store.load(self._keys[row])
        if values is None:
            raise DataError(
                str(self._store.path(self._keys[row])),
                f"the kept features of {self._clips[row]} were deleted or damaged while in use",
                "go on with resume=RUN, which computes them again",
            )
        return values


def feature_key(*, encoder: str, side: VideoSide, clip: str) -> str:
    """64 hexadecimal digits for the features of one clip.

    Args:
        encoder: a hash of the encoder's weights and settings.
        side: how frames are chosen and cut.
        clip: a hash of what the clip holds, see `ClipDigests`.
    """
    return fingerprint_of(
        {
            "version": VERSION,
            "encoder": encoder,
            "sampling": asdict(side.sampling),
            "transform": asdict(side.transform),
            "clip": clip,
        }
    )


class ClipDigests:
    """SHA-256 of clips, computed once for each state of a file.

    Args:
        path: the file that remembers them; processes may share it.
    """

    def __init__(self, *, path: Path) -> None:
        self._path = path

    def of(self, clips: Sequence[Path]) -> list[str]:
        """A hash of the content of each clip: of a file, or of a folder's files and their names.

        Raises DataError where there is no such clip.
        """
        known = self._read()
        states = {str(clip.absolute()): _state(clip) for clip in clips}
        fresh: dict[str, list[str]] = {}
        for clip in clips:
            place = str(clip.absolute())
            if known.get(place, [""])[0] != states[place] and place not in fresh:
                fresh[place] = [states[place], _content(clip)]
        if fresh:
            self._add(fresh)
        known |= fresh
        return [known[str(clip.absolute())][1] for clip in clips]

    def _read(self) -> dict[str, list[str]]:
        try:
            record = json.loads(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(record, dict):
            return {}
        return {
            place: entry
            for place, entry in record.items()
            if isinstance(entry, list) and list(map(type, entry)) == [str, str]
        }

    def _add(self, fresh: dict[str, list[str]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        with FileLock(self._path.with_name(f"{self._path.name}.lock")):
            partial.write_text(json.dumps(self._read() | fresh, indent=0), encoding="ascii")
            partial.replace(self._path)


def _files(clip: Path) -> list[Path]:
    files = sorted(path for path in clip.iterdir() if path.is_file()) if clip.is_dir() else [clip]
    return [path for path in files if path == clip or not path.name.startswith(".")]


def _state(clip: Path) -> str:
    """Names, sizes and times of change: what stays as long as nobody touches the clip."""
    try:
        facts = [(path.name, path.stat()) for path in _files(clip)]
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
        raise DataError(str(clip), why, "correct the path of the clip") from None
    state = json.dumps([[name, fact.st_size, fact.st_mtime_ns] for name, fact in facts])
    return hashlib.sha256(state.encode()).hexdigest()


def _content(clip: Path) -> str:
    try:
        if not clip.is_dir():
            return file_digest(clip)
        return fingerprint_of({path.name: file_digest(path) for path in _files(clip)})
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
        raise DataError(str(clip), why, "correct the path of the clip") from None
