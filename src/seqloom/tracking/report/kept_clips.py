"""The clips that a run kept: `clips/clips.json` and the pictures it names, checked first.

The idea: a file is named by a plain name inside the folder and must begin as a JPEG or an mp4 does;
a clip that breaks its own description is left out, one whose video alone is missing stays.
The price: files are opened twice, here and when the page embeds them.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# (bytes, where they stand) by which a kind of file begins.
JPEG, MP4 = (b"\xff\xd8\xff", 0), (b"ftyp", 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Pictures of prediction `index`, at T times.

    `evidence[t][c]` is the probability of class c after frame t; classes and evidence are empty for
    captions. The contact sheet shows the frames `sheet_frames` (places in `times_s`) row by row,
    `columns` a row, `cell` (width, height) pixels each.
    """

    index: int
    times_s: list[float]
    classes: list[str]
    evidence: list[list[float]]
    sheet: Path
    sheet_frames: list[int]
    columns: int
    cell: tuple[int, int]
    video: Path | None


def read_clips(folder: Path, text: str) -> tuple[list[Clip], list[str]]:
    """(clips, what is wrong with others) of the text of clips.json in `folder`.

    Raises ValueError or TypeError where the text is no JSON list.
    """
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise ValueError("not a JSON list")
    clips: dict[int, Clip] = {}
    problems = []
    for place, row in enumerate(rows):
        try:
            clip = _clip(folder, row)
        except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            problems.append(f"clips/clips.json: clip {place + 1} was left out: {reason}")
            continue
        if row.get("video") is not None and clip.video is None:
            problems.append(f"clips/clips.json: the video of clip {place + 1} is not there")
        clips.setdefault(clip.index, clip)
    return list(clips.values()), problems


def _clip(folder: Path, row: dict[str, Any]) -> Clip:
    times_s = [float(time) for time in row["times_s"]]
    classes = [str(name) for name in row["classes"]]
    evidence = [[float(p) for p in line] for line in row["evidence"]]
    frames = [int(k) for k in row["sheet_frames"]]
    columns, (width, height) = int(row["columns"]), (int(side) for side in row["cell"])
    if not times_s or not all(math.isfinite(time) for time in times_s):
        raise ValueError("its times are no numbers")
    if evidence and [len(line) for line in evidence] != [len(classes)] * len(times_s):
        raise ValueError("its evidence does not fit its times and classes")
    if not all(0 <= p <= 1.001 for line in evidence for p in line):
        raise ValueError("its evidence is not made of probabilities")
    if (
        not frames
        or not all(0 <= k < len(times_s) for k in frames)
        or min(columns, width, height) < 1
    ):
        raise ValueError("its contact sheet is not described")
    sheet = _file(folder, row["sheet"], JPEG)
    if sheet is None:
        raise ValueError("its contact sheet is not there")
    return Clip(
        index=int(row["index"]),
        times_s=times_s,
        classes=classes,
        evidence=evidence,
        sheet=sheet,
        sheet_frames=frames,
        columns=columns,
        cell=(width, height),
        video=_file(folder, row.get("video"), MP4),
    )


def _file(folder: Path, name: Any, kind: tuple[bytes, int]) -> Path | None:
    """The file, or None where it is absent, elsewhere, or of another kind."""
    if not isinstance(name, str) or Path(name).name != name:
        return None
    path, (mark, start) = folder / name, kind
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return path if file.read(16)[start:].startswith(mark) else None
