"""The vocabulary of a problem as a folder: `tokenizer.json` for both sides, or `source.json` and
`target.json`.

The same tokenizers always give the same bytes, so a hash of each file names the vocabulary of a
run.
"""

from __future__ import annotations

from pathlib import Path

from seqloom.data.spec import DataSpec, TokenSide
from seqloom.data.tokenizers import load_tokenizer

_SHARED, _SOURCE, _TARGET = "tokenizer.json", "source.json", "target.json"


def save_spec(spec: DataSpec, folder: Path) -> None:
    """Writes the tokenizers of `spec` into `folder`, which is made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    if spec.shared_vocabulary:
        spec.source.tokenizer.save(folder / _SHARED)
    else:
        spec.source.tokenizer.save(folder / _SOURCE)
        spec.target.tokenizer.save(folder / _TARGET)


def load_spec(folder: Path) -> DataSpec:
    """Undoes `save_spec`; a missing or damaged file is a `DataError` that names it."""
    if (folder / _SHARED).is_file():
        side = TokenSide(load_tokenizer(folder / _SHARED))
        return DataSpec(source=side, target=side, shared_vocabulary=True)
    source, target = (TokenSide(load_tokenizer(folder / name)) for name in (_SOURCE, _TARGET))
    return DataSpec(source=source, target=target, shared_vocabulary=False)
