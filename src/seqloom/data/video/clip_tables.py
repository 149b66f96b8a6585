"""Lists of clips in tables: .csv, .tsv or .jsonl, each also with .gz behind it.

A .csv may quote with ", a .tsv knows no quoting, a .jsonl has an object a line whose values are
text or numbers. The first line of .csv and .tsv names the columns. The idea: a row is checked while
it is read, so that every error names file and line. The price: a list is held as text while it is
read. Refuses a row with more or fewer values than columns, and a table without rows.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from seqloom.data.readers import require
from seqloom.data.text_files import read_text
from seqloom.data.video.clips import Clip
from seqloom.errors import DataError

ENDINGS = (".csv", ".tsv", ".jsonl")


def table_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row as its place (`file:line`) and its values by the names of columns."""
    ending = next((e for e in ENDINGS if path.name.removesuffix(".gz").endswith(e)), None)
    if ending is None:
        raise DataError(
            str(path), "is no table", f"name a file that ends in {', '.join(ENDINGS)} (or with .gz)"
        )
    text = read_text(require(path))
    num_rows = 0
    for row in _json_rows(path, text) if ending == ".jsonl" else _csv_rows(path, text, ending):
        num_rows += 1
        yield row
    if not num_rows:
        raise DataError(f"{path}:1", "there is no row", "add a line for each clip")


def _csv_rows(path: Path, text: str, ending: str) -> Iterator[tuple[str, dict[str, str]]]:
    lines = text.splitlines(keepends=True)
    if ending == ".tsv":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, strict=True)
    names: list[str] = []
    before = 0
    try:
        for values in reader:
            place, before = f"{path}:{before + 1}", reader.line_num
            if not values:
                continue
            if not names:
                names = values
            elif len(values) != len(names):
                raise DataError(
                    place,
                    f"{len(values)} values for {len(names)} columns",
                    "quote values that hold the separator",
                )
            else:
                yield place, dict(zip(names, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}", f"is not CSV ({error})", "mend it") from None


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(place, f"not JSON ({error})", "write an object a line") from None
        if not isinstance(row, dict):
            raise DataError(
                place, f"not an object but {type(row).__name__}", "write an object a line"
            )
        yield (
            place,
            {key: str(value) for key, value in row.items() if isinstance(value, str | int | float)},
        )


def table_clips(
    path: Path, *, input_column: str, target_column: str, group_column: str | None
) -> list[Clip]:
    """A clip a row; paths are relative to the table's folder.

    Args:
        input_column: the path of the clip.
        target_column: its class or sentence.
        group_column: what splits are told by; None: groups stay empty.
    """
    columns = {"input_column": input_column, "target_column": target_column}
    if group_column is not None:
        columns["split_column"] = group_column
    clips = []
    for place, row in table_rows(path):
        for key, column in columns.items():
            if not row.get(column, "").strip():
                raise DataError(
                    place,
                    f"has no {column} (columns: {', '.join(row)})",
                    f"name the column by data.{key}"
                    + (", or write null to draw the splits" if key == "split_column" else ""),
                )
        name = row[input_column]
        group = "" if group_column is None else row[group_column]
        clips.append(
            Clip(path.parent / name, row[target_column].strip(), name, place, group.strip())
        )
    return clips
