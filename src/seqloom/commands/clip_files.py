"""Which clips `input=` names, in the order in which they are answered.

A clip is a video file or a folder of pictures. An input names one, or a folder of them (all below
it, in the order of their paths), or a pattern (`'clips/*.mp4'`, quoted, so that the shell leaves it
alone), or a list with a path a line (a `.txt` file, or `-` for standard input); paths of a list are
seen from where the command runs, and empty lines are skipped. Clips come while the list does.
Refuses an input that names none. The price: files are known by how their names end, so a clip with
a strange name must be named itself, or in a list; names that begin with a dot are passed over.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from seqloom.commands.lines import opened_input, windows
from seqloom.data.video.clips import clips_under, is_clip
from seqloom.data.video.reader import VIDEO_SUFFIXES
from seqloom.errors import ConfigError

WILDCARDS = frozenset("*?[")


def named_clips(input_path: str, max_clips: int) -> Iterator[list[str]]:
    """Paths of clips in groups of 1 to `max_clips`; of a list, those that are there without
    waiting.

    Whether the clips exist is only asked where the input is no list.

    Raises:
        ConfigError: the input is not there or names no clip.
        DataError: a line of a list is not UTF-8.
    """
    if input_path == "-" or input_path.endswith(".txt"):
        with opened_input(input_path) as source:
            for window in windows(source, input_path, max_clips):
                paths = [line.strip() for line in window if line.strip()]
                if paths:
                    yield paths
        return
    yield from _groups(_found(input_path), max_clips)


def _found(input_path: str) -> list[str]:
    path = Path(input_path).expanduser()
    if path.is_dir():
        clips = _clips_of(path)
    elif path.exists():
        clips = [input_path]
    elif WILDCARDS & set(input_path):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
        # A set: `**` matches a folder and again what is in it.
        clips = sorted({clip for match in matches for clip in _clips_of(match)}, key=Path)
    else:
        raise ConfigError(
            f"input={input_path}",
            "there is no such file or folder",
            "name a clip, a folder of clips, a quoted pattern, or a .txt file with a path a line",
        )
    if not clips:
        raise ConfigError(
            f"input={input_path}",
            "there is no clip (a file that ends in "
            f"{', '.join(VIDEO_SUFFIXES)}, or a folder of pictures)",
            "name another folder or pattern, or list the clips in a .txt file",
        )
    return clips


def _clips_of(path: Path) -> list[str]:
    """The clip at `path`, or the clips below it; none where it is neither."""
    if is_clip(path):
        return [str(path)]
    return [str(clip) for clip in clips_under(path)] if path.is_dir() else []


def _groups(clips: list[str], max_clips: int) -> Iterator[list[str]]:
    return (clips[start : start + max_clips] for start in range(0, len(clips), max_clips))


def shown_path(path: str) -> str:
    """The path as one column of UTF-8 text; tabs and line breaks in it are shown as escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
