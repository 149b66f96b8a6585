"""The sides of a problem as a folder: `tokenizer.json` for both, or `source.json` and
`target.json`.

A side of text is the file of its tokenizer, a side of classes its names, a side of features its
size, a side of clips how they are looked at. The same sides always give the same bytes, so a hash
of each file names the vocabulary of a run. Reading one never runs anything from it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from seqloom.data.spec import ClassSide, DataSpec, FeatureSide, Side, TokenSide, VideoSide
from seqloom.data.tokenizers import load_tokenizer
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError, DataError

_SHARED, _SOURCE, _TARGET = "tokenizer.json", "source.json", "target.json"


def save_spec(spec: DataSpec, folder: Path) -> None:
    """Writes the sides of `spec` into `folder`, which is made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    if spec.shared_vocabulary:
        _save_side(spec.source, folder / _SHARED)
    else:
        _save_side(spec.source, folder / _SOURCE)
        _save_side(spec.target, folder / _TARGET)


def load_spec(folder: Path) -> DataSpec:
    """Undoes `save_spec`; a missing or damaged file is a `DataError` that names it."""
    if (folder / _SHARED).is_file():
        side = _load_side(folder / _SHARED)
        return DataSpec(source=side, target=side, shared_vocabulary=True)
    source, target = (_load_side(folder / name) for name in (_SOURCE, _TARGET))
    return DataSpec(source=source, target=target, shared_vocabulary=False)


def _save_side(side: Side, path: Path) -> None:
    if isinstance(side, TokenSide):
        side.tokenizer.save(path)
        return
    record: dict[str, object]
    if isinstance(side, ClassSide):
        record = {"kind": "classes", "names": list(side.names)}
    elif isinstance(side, VideoSide):
        record = {"kind": "clips"} | asdict(side)
    else:
        record = {"kind": "features", "size": side.size, "binary": side.binary}
    path.write_text(json.dumps(record, indent=0) + "\n", encoding="ascii")


def _load_side(path: Path) -> Side:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or "kind" not in record:
        return TokenSide(load_tokenizer(path))  # which says what is wrong with the file
    match record:
        case {"kind": "classes", "names": [*names]} if all(isinstance(n, str) for n in names):
            return ClassSide(tuple(names))
        case {"kind": "features", "size": int(size), "binary": bool(binary)} if size > 0:
            return FeatureSide(size, binary)
        case {"kind": "clips", "sampling": dict(sampling), "transform": dict(transform)}:
            return _video_side(path, sampling, transform)
    raise DataError(str(path), "is no side of a problem", "copy it from the original run")


def _video_side(path: Path, sampling: dict[str, object], transform: dict[str, object]) -> VideoSide:
    try:
        return VideoSide(FrameSampling(**sampling), ClipTransform(**transform))  # type: ignore[arg-type]
    except (TypeError, ConfigError) as error:
        why = f"is no side of a problem ({error})"
        raise DataError(str(path), why, "copy it from the original run") from None
