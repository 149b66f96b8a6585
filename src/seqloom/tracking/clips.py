"""Clips that a run keeps for its reader: which ones, and their frames as a sheet and a video.

The idea: clips of a data set move away or stay behind, so what the report shows is copied into the
run folder, small, in forms that every browser draws: a JPEG with frames side by side and an H.264
video, at the times at which the model saw them. `clips.json` tells the rest in plain values.

The price: the videos show the frames that the model read, not those in between; at most 300 frames
a clip, at most 640 pixels a side. A clip whose video cannot be made small enough, or on a machine
without an H.264 encoder, keeps its contact sheet alone.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqloom.metrics.prediction import Prediction
from seqloom.runs import write_atomic
from seqloom.tracking.clip_pictures import evenly, write_sheet, write_video

logger = logging.getLogger(__name__)

MAX_FRAMES = 300


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipPicture:
    """One clip as the model saw it.

    Attributes:
        index: its place in the run's predictions.
        times_s: [T] seconds, ascending; T is at least 1.
        frames: [T, H, W, 3] uint8, RGB.
        classes: the names of C classes; none for captions.
        evidence: T x C probabilities after each frame; empty for captions.
    """

    index: int
    times_s: np.ndarray
    frames: np.ndarray
    classes: tuple[str, ...] = ()
    evidence: Sequence[Sequence[float]] = ()

    def __post_init__(self) -> None:
        assert self.frames.dtype == np.uint8
        assert self.frames.ndim == 4
        assert len(self.frames) == len(self.times_s) > 0
        assert len(self.evidence) in (0, len(self.frames))
        assert all(len(row) == len(self.classes) for row in self.evidence)


def choose_clips(
    predictions: Sequence[Prediction], num_hard: int = 8, num_right: int = 4
) -> list[int]:
    """Places in `predictions` of the clips to keep, the hardest first, none twice.

    The hardest are wrong ones, the highest score first, and where these are fewer than `num_hard`,
    right ones, the lowest score first. Then come `num_right` further right ones, the surest of
    each class, of classes that are evenly spread where there are more. Ties fall to the first; a
    score that is not a number is the lowest.
    """
    scores = [-math.inf if math.isnan(p.score) else p.score for p in predictions]
    is_right = [p.prediction == p.target for p in predictions]
    places = range(len(predictions))
    wrong = sorted((k for k in places if not is_right[k]), key=lambda k: (-scores[k], k))
    right = sorted((k for k in places if is_right[k]), key=lambda k: (scores[k], k))
    hard = (wrong + right)[:num_hard]
    rest = right[max(0, num_hard - len(wrong)) :]
    return hard + _spread(rest, [p.target for p in predictions], scores, num_right)


def write_clips(folder: Path, pictures: Iterable[ClipPicture]) -> None:
    """Makes `folder`/clips: clips.json, and for each clip NNNN.jpg and NNNN.mp4 of its index.

    Replaces an older one; a reader never sees half of one. Pictures are taken one after another,
    so an iterator of many costs the memory of one.
    """
    target = folder / "clips"
    partial = folder / f".clips.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        entries = [_write_clip(partial, picture) for picture in pictures]
        assert len({entry["index"] for entry in entries}) == len(entries)
        text = json.dumps(entries, ensure_ascii=False, allow_nan=False)
        write_atomic(partial / "clips.json", text + "\n")
        _replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_clip(folder: Path, picture: ClipPicture) -> dict[str, object]:
    """The clip's files, and what clips.json says of it."""
    kept = evenly(len(picture.frames), MAX_FRAMES)
    times_s = [round(float(picture.times_s[k]), 4) for k in kept]
    frames = picture.frames[kept]
    name = f"{picture.index:04d}"
    sheet = write_sheet(folder / f"{name}.jpg", frames)
    reason = write_video(folder / f"{name}.mp4", frames, times_s)
    if reason:
        logger.warning("clip %d has no video in the report: %s", picture.index, reason)
    return {
        "index": picture.index,
        "times_s": times_s,
        "classes": list(picture.classes),
        "evidence": [_plain(picture.evidence[k]) for k in kept] if len(picture.evidence) else [],
        "sheet": f"{name}.jpg",
        "sheet_frames": sheet.frames,
        "columns": sheet.columns,
        "cell": [sheet.cell_width, sheet.cell_height],
        "video": None if reason else f"{name}.mp4",
    }


def _plain(row: Sequence[float]) -> list[float]:
    # What is not finite has no place in JSON, and means nothing as a probability.
    return [round(float(p), 4) if math.isfinite(p) else 0.0 for p in row]


def _spread(places: list[int], targets: list[str], scores: list[float], limit: int) -> list[int]:
    """Up to `limit` of `places`: rounds over the classes, in each round the surest that is left."""
    queues: dict[str, list[int]] = {}
    for place in sorted(places, key=lambda k: (-scores[k], k)):
        queues.setdefault(targets[place], []).append(place)
    classes = sorted(queues)
    chosen: list[int] = []
    while len(chosen) < limit and any(queues.values()):
        waiting = [name for name in classes if queues[name]]
        for k in evenly(len(waiting), limit - len(chosen)):
            chosen.append(queues[waiting[k]].pop(0))
    return chosen


def _replace_folder(partial: Path, target: Path) -> None:
    """Renames `partial` to `target`; a folder that is not empty cannot be renamed over."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    shutil.rmtree(old, ignore_errors=True)
