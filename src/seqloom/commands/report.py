"""`report`: the page of one run, or the comparison of many, from nothing but their folders. Free
of torch.

One run: its page is written anew. Several: one comparison is written, as a page or in another
form, and the runs' own pages are written only where they are missing, or asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from seqloom.errors import ConfigError, DataError
from seqloom.runs.files import write_atomic
from seqloom.tracking.comparison.page import write_comparison
from seqloom.tracking.comparison.payload import compare_runs, payload
from seqloom.tracking.comparison.runs import common_folder, run_folders
from seqloom.tracking.comparison.tables import FORMATS
from seqloom.tracking.report import write_report

PAGE = "report.html"


def report(
    runs: str,
    form: str = "html",
    output: str | None = None,
    metric: str | None = None,
    group_by: str | None = None,
    pages: bool = False,
    watts: float | None = None,
) -> None:
    """Writes what `runs` (folders and patterns, by commas) came to, and prints where it is.

    Args:
        form: html, markdown, csv, json or latex; all but html go to standard output.
        output: a file instead, or `-` for standard output.
        metric: the metric that judges; None: the usual one.
        group_by: settings, by commas, whose values make a group; None: all that differ.
        pages: writes the page of every run anew.
        watts: see `tracking.comparison.energy`.

    Raises:
        ConfigError: there is no run, metric or setting of that name.
        DataError: the output cannot be written.
    """
    folders = run_folders(runs)
    is_plain = form == "html" and metric is group_by is output is None
    if is_plain and len(folders) == 1:
        print(write_report(folders[0]))
        return
    keys = [key.strip() for key in group_by.split(",") if key.strip()] if group_by else []
    found = compare_runs(folders, metric=metric, group_by=keys, watts=watts)
    place = _page_place(runs, folders, output) if form == "html" else None
    if form == "html":
        found.read.problems += _write_pages(folders, pages)
    value = payload(found, None if place is None else place.parent)
    if place is not None:
        _write(place, lambda: write_comparison(value, place))
        return
    # Lone surrogates (from JSON escapes) have no UTF-8 form.
    text = FORMATS[form](value).encode("utf-8", "replace").decode()
    if output is None or output == "-":
        sys.stdout.write(text)
    else:
        file = Path(output)
        _write(file, lambda: write_atomic(file, text))


def _write_pages(folders: list[Path], anew: bool) -> list[str]:
    """The runs' own pages, those that are missing or all; returns what could not be written."""
    problems = []
    for folder in folders:
        if anew or not (folder / PAGE).is_file():
            try:
                write_report(folder)
            except OSError as error:
                problems.append(f"{folder / PAGE} cannot be written: {error.strerror}")
    return problems


def _page_place(runs: str, folders: list[Path], output: str | None) -> Path:
    """Where the page goes: into the folder that was named, or that holds all runs; never over the
    page of one of them."""
    if output == "-":
        raise ConfigError("output=-", "a page is a file", "write output=FILE, or another format")
    named = Path(runs)
    folder = named if named.is_dir() and named not in folders else common_folder(folders)
    if output is None and folder == folder.parent:
        raise ConfigError(f"runs={runs}", "they share no folder for a page", "write output=FILE")
    place = folder / PAGE if output is None else Path(output)
    if place.absolute() in {(folder / PAGE).absolute() for folder in folders}:
        raise ConfigError(f"output={place}", "it is the page of a run", "choose another output")
    return place


def _write(path: Path, write: Callable[[], object]) -> None:
    """Calls `write`, which makes `path`, and prints the path. Raises DataError where it cannot."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        why = "it is a folder" if path.is_dir() else "there is no such folder"
        raise DataError(f"output={path}", why, "name a file in a folder that is there")
    try:
        write()
    except OSError as error:
        why = f"it cannot be written ({error.strerror})"
        raise DataError(f"output={path}", why, "write output=FILE with another place") from None
    print(path)
