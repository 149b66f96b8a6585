"""A clip as numbered frames with times, whatever it is stored as.

The one idea: the times of all frames are known before a picture is decoded, so that frames are
chosen by time (`sampling.FrameSampling`) and only the chosen ones are decoded. A reader is opened
where it is used and closed after it: it holds a file, and neither survives a fork. It refuses
sound, and what is damaged: `DataError` names the file and never gives other pixels instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from seqloom.errors import DataError

VIDEO_SUFFIXES = (
    ".3gp",
    ".avi",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".ts",
    ".webm",
)
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


class VideoReader(Protocol):
    """One opened clip; `with open_clip(path) as clip:` closes it.

    `times_s` is [N] float64: the time of each frame in seconds, ascending, 0 for the first.
    """

    times_s: np.ndarray

    def read(self, indices: np.ndarray) -> np.ndarray:
        """[K, H, W, 3] uint8 RGB, upright, for [K] ascending frame numbers, repeats allowed.

        Raises `DataError` if a frame does not decode.
        """

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Each frame in turn as (its time in seconds, uint8 [H, W, 3]); one is held at a time."""

    def close(self) -> None:
        """Gives the file back; nothing is read after it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_clip(path: Path) -> VideoReader:
    """The clip at `path`: a video file, or a folder of pictures in the order of their names.

    Raises `DataError` if there is none, or if it cannot be read as one.
    """
    if path.is_dir():
        from seqloom.data.video.frame_folder import FrameFolder

        return FrameFolder(path)
    if not path.exists():
        raise DataError(str(path), "does not exist", "correct the path of the clip")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        instead = "name the folder of the pictures, or a video file"
        raise DataError(str(path), "is one picture, not a clip", instead)
    # PyAV loads a decoder of every kind: only where a clip is opened.
    from seqloom.data.video.container import VideoFile

    return VideoFile(path)
