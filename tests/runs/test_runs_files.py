"""Files are whole or absent, also where writing fails."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from seqloom.runs import write_atomic
from seqloom.runs.files import json_lines


def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    write_atomic(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["summary.json"]


def test_a_line_ends_at_a_line_feed_and_nowhere_else() -> None:
    rows = ["\u2028 in a text", "\x85 in another", "\x1c"]
    text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"
    assert [json.loads(line) for line in json_lines(text)] == rows
    assert json_lines("") == json_lines(" \n\n") == []
