"""Lines: all of them, in order, as soon as they are there; a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seqloom.commands.lines import opened_input, opened_output, windows
from seqloom.errors import ConfigError, DataError


def lines_of(path: Path, max_lines: int = 3) -> list[str]:
    with opened_input(str(path)) as descriptor:
        return [line for window in windows(descriptor, path.name, max_lines) for line in window]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\r\n\r\nb", ["a", "", "b"]),
        (b"a\n\n\nb\n", ["a", "", "", "b"]),
        ("a\u2028b\x0cc\rd\n".encode(), ["a\u2028b\x0cc\rd"]),
        (b"1\n2\n3\n4\n5\n6\n7", list("1234567")),
    ],
)
def test_a_line_ends_with_a_line_feed_and_nothing_else(
    tmp_path: Path, content: bytes, lines: list[str]
) -> None:
    path = tmp_path / "input"
    path.write_bytes(content)
    assert lines_of(path) == lines


def test_a_very_long_line_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_text("\u00e4" * 3_000_000 + "\nb")
    assert [len(line) for line in lines_of(path)] == [3_000_000, 1]


def test_windows_are_full_where_more_is_there(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_text("x\n" * 10)
    with opened_input(str(path)) as descriptor:
        assert [len(window) for window in windows(descriptor, "x", 4)] == [4, 4, 2]


def test_a_line_in_a_pipe_is_given_before_the_next_is_written() -> None:
    reading, writing = os.pipe()
    given = windows(reading, "-", 100)
    os.write(writing, b"first\nsec")
    assert next(given) == ["first"]
    os.write(writing, b"ond\nthird\n")
    assert next(given) == ["second", "third"]
    os.close(writing)
    assert list(given) == []
    os.close(reading)


def test_bad_utf8_names_the_line_after_those_before_it(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"1\n2\n3\n4\nf\xfc\n6\n")
    with opened_input(str(path)) as descriptor:
        given = windows(descriptor, path.name, 3)
        assert [next(given), next(given)] == [["1", "2", "3"], ["4"]]
        with pytest.raises(DataError, match=r"input:5: byte 2"):
            next(given)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"), opened_input(str(tmp_path / "absent")):
        pass


def test_an_output_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with opened_output(str(path)) as stream:
        stream.write("done\n")
        assert not path.exists()
    assert path.read_text() == "done\n"
    with pytest.raises(ZeroDivisionError), opened_output(str(path)) as stream:
        stream.write(str(1 // 0))
    assert [entry.name for entry in tmp_path.iterdir()] == ["output"]
    assert path.read_text() == "done\n"


@pytest.mark.parametrize("name", ["absent/file", "."])
def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError), opened_output(str(tmp_path / name)):
        pass
