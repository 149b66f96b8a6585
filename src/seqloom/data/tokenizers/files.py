"""The file of a tokeniser: one JSON object with its options and its content, as plain text and
numbers.

The same tokeniser always writes the same bytes, so that a hash of the file names the vocabulary.
Refuses what is not such a file; reading one never runs anything from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqloom.data.tokenizers.options import TokenizerOptions
from seqloom.errors import DataError

FORMAT, VERSION = "seqloom.tokenizer", 1


def write_tokenizer(path: Path, options: TokenizerOptions, content: Mapping[str, object]) -> None:
    """Writes the file, whole or not at all."""
    record = {"format": FORMAT, "version": VERSION, "options": asdict(options), **content}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(record, indent=0) + "\n", encoding="ascii")
    temporary.replace(path)


def read_tokenizer(path: Path) -> dict[str, Any]:
    """The object of the file; DataError where it is not a tokeniser's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read ({error.strerror})", "name a tokeniser's file"
        ) from None
    except (ValueError, RecursionError):
        raise malformed(path, "is not JSON") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise malformed(path, "is not the file of a tokeniser")
    if record.get("version") != VERSION:
        raise malformed(path, f"has version {record.get('version')!r}, not {VERSION}")
    return record


def malformed(path: Path, why: str) -> DataError:
    return DataError(str(path), why, "train the tokeniser again")
