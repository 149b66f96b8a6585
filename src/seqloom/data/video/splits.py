"""Which clip belongs to which split: by the lists that a data set publishes, by groups, or drawn by
a seed.

The one idea: what a split holds depends on the lists and the seed alone. A data set that has no
validation split gives up a share of its training clips, of each class alike; one that has none for
the test is tested on the validation clips, which the log says. The price: shares that are drawn
take no heed of clips that were cut from one recording; groups do. Lists are those of UCF101
(trainlist01.txt, testlist01.txt, classInd.txt), HMDB51 (CLASS_test_split1.txt) and Kinetics
(train.csv, val.csv or validate.csv, test.csv). A line that cannot be is an error that names it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from seqloom.data.readers import require
from seqloom.data.text_files import read_text
from seqloom.data.video.clip_tables import table_rows
from seqloom.data.video.clips import Clip, clips_under, is_clip
from seqloom.errors import DataError

_log = logging.getLogger(__name__)

ENDS = {"train": 0.7, "val": 0.85, "test": 1.0}  # of each split that is drawn, as shares
HMDB51_GROUPS = {"0": "", "1": "train", "2": "test"}
KINETICS_LISTS = {
    "train": ("train.csv",),
    "val": ("val.csv", "validate.csv"),
    "test": ("test.csv",),
}

Splits = dict[str, list[Clip]]
"""The clips of train, val and test; a split that is not there was not divided off."""


def drawn(clips: Sequence[Clip], *, seed: int, by_target: bool = True) -> Splits:
    """70% of each class for training, 15% for validation and the rest for the test, each in the
    order of `clips`.

    Args:
        by_target: of each class alike; else of all together.
    """
    owner = _owners(clips, list(ENDS.values()), seed=seed, by_target=by_target)
    return {
        split: [clip for clip, number in zip(clips, owner, strict=True) if number == index]
        for index, split in enumerate(ENDS)
    }


def completed(splits: Splits, *, val_share: float, seed: int, by_target: bool = True) -> Splits:
    """`splits` with all three: a missing validation split is a share of the training clips, a
    missing test split is the validation split.
    """
    if "val" not in splits:
        train = splits["train"]
        kept = _owners(train, [1 - val_share, 1.0], seed=seed, by_target=by_target)
        _log.info("no clips are for validation: %g of the training clips are", val_share)
        parts = [
            [clip for clip, number in zip(train, kept, strict=True) if number == index]
            for index in (0, 1)
        ]
        if not parts[1] and len(train) > 1:
            parts = [train[:-1], train[-1:]]
        splits = splits | {"train": parts[0], "val": parts[1]}
    if "test" not in splits:
        _log.info("no clips are for the test: the validation clips are the test clips")
        splits = splits | {"test": splits["val"]}
    return splits


def _owners(
    clips: Sequence[Clip], ends: Sequence[float], *, seed: int, by_target: bool
) -> np.ndarray:
    """[N] to which of the shares (that end at `ends`) each clip goes.

    What rounding takes from a share in one class is given back in the next, so that many small
    classes together are divided as one large one.
    """
    classes = np.array([clip.target if by_target else "" for clip in clips])
    owner = np.zeros(len(clips), dtype=np.int64)
    rng, num_seen = np.random.default_rng(seed), 0
    num_given = np.zeros(len(ends) - 1, dtype=np.int64)  # to a share or to one before it
    for name in np.unique(classes):
        rows = rng.permutation(np.nonzero(classes == name)[0])
        num_seen += len(rows)
        due = np.round(np.array(ends[:-1]) * num_seen).astype(np.int64) - num_given
        bounds = np.maximum.accumulate(np.clip(due, 0, len(rows)))
        for index, part in enumerate(np.split(rows, bounds)):
            owner[part] = index
        num_given += bounds
    return owner


def official(
    kind: str, root: Path, lists: Path, *, number: int, skip_missing: bool
) -> Iterator[Clip]:
    """The clips under `root` in the order of the lists in the folder `lists`, each with its split
    as its group.

    Args:
        kind: ucf101, hmdb51 or kinetics.
        number: of UCF101 and HMDB51 lists, 1 to 3.
        skip_missing: a clip that is listed but not there is left to the reader to find missing.
    """
    reader = {"ucf101": _ucf101, "hmdb51": _hmdb51}.get(kind)
    clips = _kinetics(root, lists) if reader is None else reader(root, lists, number)
    for clip in clips:
        path = found_clip(clip.path)
        if path is None and not skip_missing:
            raise DataError(
                clip.place,
                f"there is no clip {clip.path}",
                "copy it there, or write data.on_error=skip to leave out what is missing",
            )
        yield replace(clip, path=path or clip.path)


def found_clip(path: Path) -> Path | None:
    """The clip at `path`, or the folder of pictures of the same name without its suffix."""
    if path.exists():
        return path
    folder = path.with_suffix("")
    return folder if folder != path and folder.is_dir() and is_clip(folder) else None


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The place and the words of every line that has some."""
    for number, line in enumerate(read_text(require(path)).splitlines(), start=1):
        if words := line.split():
            yield f"{path}:{number}", words


def _ucf101(root: Path, lists: Path, number: int) -> Iterator[Clip]:
    classes: dict[str, str] = {}
    index = lists / "classInd.txt"
    for place, words in _lines(index) if index.is_file() else ():
        if len(words) != 2:
            raise DataError(place, "is no number and class", "get the list anew")
        classes[words[1]] = words[0]
    for group in ("train", "test"):
        for place, words in _lines(lists / f"{group}list{number:02d}.txt"):
            name, _, file = words[0].partition("/")
            if not file or len(words) > 2:
                raise DataError(place, "is no CLASS/CLIP and number", "get the list anew")
            if classes and (name not in classes or (len(words) == 2 and classes[name] != words[1])):
                raise DataError(
                    place, f"{index.name} gives {name} another number, or none", "get both anew"
                )
            yield Clip(root / name / file, name, words[0], place, group)


def _hmdb51(root: Path, lists: Path, number: int) -> Iterator[Clip]:
    ending = f"_test_split{number}.txt"
    files = sorted(lists.glob(f"*{ending}")) if lists.is_dir() else []
    if not files:
        require(lists / f"CLASS{ending}")
    for file in files:
        name = file.name.removesuffix(ending)
        for place, words in _lines(file):
            if len(words) != 2 or words[1] not in HMDB51_GROUPS:
                raise DataError(place, "is no clip and 0, 1 or 2", "get the list anew")
            if group := HMDB51_GROUPS[words[1]]:
                yield Clip(root / name / words[0], name, f"{name}/{words[0]}", place, group)


def _kinetics(root: Path, lists: Path) -> Iterator[Clip]:
    known = {path.name if path.is_dir() else path.stem: path for path in clips_under(root)}
    for group, names in KINETICS_LISTS.items():
        present = [lists / name for name in names if (lists / name).is_file()]
        if not present and group == "train":
            require(lists / names[0])
        for place, row in table_rows(present[0]) if present else ():
            missing = [key for key in ("label", "youtube_id") if not row.get(key)]
            if missing:
                raise DataError(place, f"has no {missing[0]}", "get the list anew")
            name = row["youtube_id"]
            long_name = "_".join([name, *_padded_times(row, place)])
            path = known.get(long_name) or known.get(name)
            yield Clip(path or root / f"{long_name}.mp4", row["label"], long_name, place, group)


def _padded_times(row: dict[str, str], place: str) -> list[str]:
    """Begin and end in six digits, as the usual downloads name clips; none where none is given."""
    times = [row[key] for key in ("time_start", "time_end") if row.get(key)]
    for text in times:
        if not re.fullmatch(r"\d+(\.\d+)?", text):
            raise DataError(place, f"{text} is no number of seconds", "get the list anew")
    return [f"{int(float(text)):06d}" for text in times]
