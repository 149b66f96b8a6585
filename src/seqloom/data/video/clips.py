"""`Clip`: what a list says of one clip, and lists of clips as a tree of folders keeps them.

The one idea: a list is made without opening a clip, in an order that does not depend on the file
system. A clip is a file with a video's suffix, or a folder with pictures in it. What is neither is
passed over, as lists of a data set lie beside its clips. The price: a list of many clips is strings
in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqloom.data.video.reader import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from seqloom.errors import DataError


@dataclass(frozen=True)
class Clip:
    """One line of a list.

    Attributes:
        path: of the clip, whether it is there or not.
        target: its class, or its sentence.
        name: how its list calls it: what stays the same when the data set is moved.
        place: where the list names it, for messages.
        group: what the list divides clips by (`train`, `S5`); empty: nothing.
    """

    path: Path
    target: str
    name: str
    place: str
    group: str = ""


def require_folder(root: Path, key: str) -> Path:
    """`root` if it is a folder; otherwise a DataError that says to set `key`."""
    if not root.is_dir():
        raise DataError(str(root), "there is no such folder", f"set {key} to the clips' folder")
    return root


def is_clip(path: Path) -> bool:
    """A video file by its suffix, or a folder that holds a picture."""
    if path.is_dir():
        with os.scandir(path) as entries:
            return any(entry.name.lower().endswith(IMAGE_SUFFIXES) for entry in entries)
    return path.suffix.lower() in VIDEO_SUFFIXES


def clips_under(folder: Path) -> list[Path]:
    """Every clip in `folder` and the folders in it, sorted; hidden ones are passed over."""
    found: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if is_clip(entry):
            found.append(entry)
        elif entry.is_dir():
            found += clips_under(entry)
    return found


def class_folders(root: Path) -> list[Clip]:
    """The clips at root/CLASS/clip, class after class; a DataError where there is none."""
    clips = [
        Clip(path, folder.name, str(path.relative_to(root)), str(path))
        for folder in sorted(root.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and is_clip(path)
    ]
    if not clips:
        raise DataError(
            str(root),
            "there is no clip in a folder of its class",
            f"put clips at {root.name}/CLASS/CLIP, videos ({', '.join(VIDEO_SUFFIXES)}) or folders"
            " of pictures",
        )
    return clips


def check_separate(splits: Mapping[str, Sequence[Clip]]) -> None:
    """Raises DataError for a clip that is in two splits: what is learnt would be tested.

    Two splits that are one and the same list are meant to be.
    """
    owners: dict[Path, tuple[str, Clip]] = {}
    for split, clips in {id(clips): (split, clips) for split, clips in splits.items()}.values():
        for clip in clips:
            other, first = owners.setdefault(clip.path.resolve(), (split, clip))
            if other != split:
                where = "" if first.place == str(first.path) else f" ({first.place})"
                raise DataError(
                    clip.place,
                    f"{clip.name} is in the {split} split and in the {other} split{where}",
                    "leave it in one of them",
                )
