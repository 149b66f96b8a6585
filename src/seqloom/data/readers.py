"""Parallel text as people keep it, read as a stream into a source and a target `TextBuffer`.

A split is named by its stem. The first of these that is under the folder is read:
    stem.en + stem.de   a line each, line n of both is a pair (each may end in .gz)
    stem.tsv[.gz]       a pair a line; a first line that names a language is a header, and columns
                        are found by name (others are ignored); without a header the two columns
                        are source TAB target; there is no quoting
    stem.jsonl[.gz]     an object a line, its keys the languages (others are ignored)
A stem may also be the whole name of such a table. Text is UTF-8; a byte order mark is dropped, CRLF
is accepted.
The idea: a line is checked while it is read, so every error names file and line; the price is a
pass in Python. An empty line on one side stays an empty line (the length policy counts and drops
it); an empty file is refused.
"""

from __future__ import annotations

import difflib
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from seqloom.data.buffers import TextBuffer
from seqloom.errors import DataError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TABLE_ENDINGS = (".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz")
MAX_NAMES = 12  # names of a folder that an error lists


def read_parallel_text(
    root: Path, stem: str, *, source_language: str, target_language: str
) -> tuple[TextBuffer, TextBuffer]:
    """The split `stem` under `root`, line i of both a pair; what cannot be is a `DataError`."""
    if not root.is_dir():
        raise DataError(str(root), "there is no such folder", "set data.root to the text's folder")
    languages = (source_language, target_language)
    if stem.endswith(TABLE_ENDINGS):
        return _read_table(require(root / stem), languages)
    sides = [_present(root, stem, (f".{name}", f".{name}.gz")) for name in languages]
    table = _present(root, stem, TABLE_ENDINGS)
    if table is not None and None in sides:
        return _read_table(table, languages)
    source_path, target_path = (
        side or require(root / f"{stem}.{name}")
        for side, name in zip(sides, languages, strict=True)
    )
    return _read_sides(source_path, target_path)


def _present(root: Path, stem: str, endings: tuple[str, ...]) -> Path | None:
    """The first file of the stem with one of the endings."""
    return next((path for e in endings if (path := root / f"{stem}{e}").is_file()), None)


def require(path: Path) -> Path:
    """`path` if it is a file, otherwise an error that names what is in its folder."""
    if path.is_file():
        return path
    folder = path.parent
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    stems = {name.split(".")[0]: name for name in reversed(names)}
    near = difflib.get_close_matches(path.name, names, n=1)
    near = near or [stems[stem] for stem in difflib.get_close_matches(path.name, stems, n=1)]
    listed = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    hint = f"the nearest name is {near[0]}" if near else "set data.root and the names of the splits"
    raise DataError(
        str(path), f"no such file (nor .gz); the folder holds {listed or 'nothing'}", hint
    )


def _read_sides(source_path: Path, target_path: Path) -> tuple[TextBuffer, TextBuffer]:
    """Two files, line by line."""
    source = TextBuffer.from_lines(_lines(source_path))
    target = TextBuffer.from_lines(_lines(target_path))
    if len(source) != len(target):
        shorter, longer = sorted([(len(source), source_path), (len(target), target_path)])
        raise DataError(
            f"{shorter[1]}:{shorter[0]}",
            f"the file ends after {shorter[0]} lines, but {longer[1].name} has {longer[0]}",
            "give both files the same number of lines, line n of both a pair",
        )
    return source, target


def _read_table(path: Path, languages: tuple[str, str]) -> tuple[TextBuffer, TextBuffer]:
    """One file with both sides in a line."""
    is_tsv = path.name.endswith((".tsv", ".tsv.gz"))
    pairs = _tsv_pairs(path, languages) if is_tsv else _jsonl_pairs(path, languages)
    source, target = TextBuffer.from_pairs(pairs)
    if not len(source):
        raise DataError(
            f"{path}:1", "there is a header but no pair", "add lines, or name another file"
        )
    return source, target


def _tsv_pairs(path: Path, languages: tuple[str, str]) -> Iterator[tuple[str, str]]:
    source, target, num_columns = 0, 1, 2
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split("\t")
        if number == 1 and not set(languages).isdisjoint(fields):
            missing = [language for language in languages if language not in fields]
            if missing:
                why = f"the header ({', '.join(fields)}) has no column {missing[0]}"
                raise DataError(
                    f"{path}:1",
                    why,
                    "name the columns by data.source_language and data.target_language",
                )
            source, target = (fields.index(language) for language in languages)
            num_columns = len(fields)
            continue
        if len(fields) != num_columns:
            why = f"{len(fields)} columns, expected {num_columns}"
            mend = (
                "separate source and target by one TAB, or write a header with the language names"
            )
            raise DataError(f"{path}:{number}", why, mend)
        yield fields[source], fields[target]


def _jsonl_pairs(path: Path, languages: tuple[str, str]) -> Iterator[tuple[str, str]]:
    mend = f'write an object a line: {{"{languages[0]}": "...", "{languages[1]}": "..."}}'
    for number, line in enumerate(_lines(path), start=1):
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(place, f"not JSON ({error})", mend) from error
        if not isinstance(row, dict):
            raise DataError(place, f"not an object but {type(row).__name__}", mend)
        for language in languages:
            _check_text(row, language, place, mend)
        yield row[languages[0]], row[languages[1]]


def _check_text(row: dict[str, object], language: str, place: str, mend: str) -> None:
    if language not in row:
        keys = ", ".join(row) or "none"
        raise DataError(place, f'there is no key "{language}" (keys: {keys})', mend)
    text = row[language]
    if not isinstance(text, str):
        raise DataError(place, f'"{language}" is not a string but {type(text).__name__}', mend)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        why = f'"{language}" holds half of a surrogate pair (\\u{ord(text[error.start]):04x})'
        raise DataError(place, why, "write the character in UTF-8, or both halves") from error


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file without their ends; only LF and CRLF end a line."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                line = raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw
                yield _decode(line.removesuffix(b"\n").removesuffix(b"\r"), path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        why = f"the gzip file is truncated or damaged ({error})"
        raise DataError(f"{path}:{number + 1}", why, "copy or download the file again") from error
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read ({error.strerror})", "mend its access rights"
        ) from error
    if number == 0:
        raise DataError(f"{path}:1", "the file is empty", "fill it, or name another file")


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} of the line (0x{line[error.start]:02x})"
        why = f"{byte} is not UTF-8 ({error.reason})"
        raise DataError(f"{path}:{number}", why, "save the file as UTF-8") from error
