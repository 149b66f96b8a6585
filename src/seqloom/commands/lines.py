"""Lines in and lines out, as a program in a pipe handles them.

The one idea: take what is there. `windows` gives all lines that can be read without waiting, at
most so many at a time, so a file comes in large windows (which batch well) and a typed line, or
one line from another program that waits for its answer, comes at once. A line ends with a line
feed and nothing else; a carriage return before it is dropped. Refuses bytes that are not UTF-8,
naming the line. Price: a pipe is polled with `select`, so POSIX only.
"""

from __future__ import annotations

import os
import select
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from seqloom.errors import ConfigError, DataError

READ_BYTES = 1 << 20


@contextmanager
def opened_input(path: str) -> Iterator[int]:
    """A file descriptor to read `path` from; `-` is standard input."""
    if path == "-":
        yield sys.stdin.fileno()
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(
            f"input={path}",
            error.strerror or str(error),
            "name a text file, or - for standard input",
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def windows(descriptor: int, name: str, max_lines: int) -> Iterator[list[str]]:
    """Windows of 1 to `max_lines` decoded lines, in order, without their line ends.

    Args:
        name: what errors call the input.

    Raises DataError with the number of the first line that is not UTF-8, after all lines before it
    were given.
    """
    rest: list[bytes] = []  # pieces of a line whose end was not read yet
    ready: list[bytes] = []
    num_given, ended = 0, False
    while not ended or ready:
        while not ended and len(ready) < max_lines and (not ready or _is_readable(descriptor)):
            chunk = os.read(descriptor, READ_BYTES)
            ended = not chunk
            first, *others = chunk.split(b"\n")
            rest.append(first)
            if others:
                ready += [b"".join(rest), *others[:-1]]
                rest = others[-1:]
            elif ended and any(rest):
                ready.append(b"".join(rest))
        window, ready = ready[:max_lines], ready[max_lines:]
        texts, problem = _decode(window, name, num_given)
        if texts:
            yield texts
        if problem is not None:
            raise problem
        num_given += len(texts)


def _is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def _decode(window: list[bytes], name: str, num_before: int) -> tuple[list[str], DataError | None]:
    texts: list[str] = []
    for line in window:
        try:
            texts.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            place = f"{name}:{num_before + len(texts) + 1}"
            why = f"byte {error.start + 1} of the line is not UTF-8"
            return texts, DataError(place, why, "convert the file with `iconv -t UTF-8`")
    return texts, None


@contextmanager
def opened_output(path: str) -> Iterator[TextIO]:
    """A text stream to write to: `-` is standard output; a file appears whole or not at all."""
    if path == "-":
        yield sys.stdout
        return
    target = Path(path)
    if not target.parent.is_dir():
        raise ConfigError(f"output={path}", "there is no such folder", "make it first")
    if target.is_dir():
        raise ConfigError(f"output={path}", "is a folder", "name a file in it")
    if target.exists() and not target.is_file():  # a device or a named pipe: never replaced
        with target.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        return
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
