"""A folder of pictures as a clip, in the natural order of their names (`img_2` before `img_10`).

A picture has no time of its own: they stand `1 / fps` seconds apart. Files that are no pictures are
left alone. It refuses a folder without pictures, a picture that does not decode to its end, and
pictures of unequal size; each picture is opened when it is read, so a broken one is found then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image, ImageOps

from seqloom.data.video.reader import IMAGE_SUFFIXES
from seqloom.errors import DataError

DEFAULT_FPS = 25.0


class FrameFolder:
    """A folder opened as a clip; see `reader.VideoReader`.

    Args:
        path: the folder.
        fps: pictures in a second.

    Raises `DataError` if the folder holds no picture.
    """

    def __init__(self, path: Path, *, fps: float = DEFAULT_FPS) -> None:
        pictures = [one for one in path.iterdir() if one.suffix.lower() in IMAGE_SUFFIXES]
        if not pictures:
            kinds = ", ".join(IMAGE_SUFFIXES)
            raise DataError(str(path), "holds no pictures", f"put files in {kinds} there")
        self.path = path
        self.pictures = sorted(sorted(pictures), key=natural_order)
        self.times_s = np.arange(len(pictures)) / fps
        self._first: tuple[Path, tuple[int, ...]] | None = None

    def read(self, indices: np.ndarray) -> np.ndarray:
        """See `reader.VideoReader.read`."""
        numbers = np.asarray(indices, dtype=np.int64)
        assert numbers.ndim == 1
        assert (np.diff(numbers) >= 0).all(), "frame numbers ascend"
        if not len(numbers):
            return np.zeros((0, *self._picture(0).shape), np.uint8)
        assert numbers[0] >= 0
        distinct, places = np.unique(numbers, return_inverse=True)
        return np.stack([self._picture(number) for number in distinct.tolist()])[places]

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """See `reader.VideoReader.frames`."""
        for number, time_s in enumerate(self.times_s.tolist()):
            yield time_s, self._picture(number)

    def close(self) -> None:
        """Nothing is held open between pictures."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _picture(self, number: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB, upright."""
        path = self.pictures[number]
        try:
            with Image.open(path) as image:
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        # Pillow tells damage by several kinds of error, some of them of the format's own reader.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            why = f"does not decode as a picture ({error})"
            raise DataError(str(path), why, "get it anew, or take it out of the clip") from None
        self._first = self._first or (path, pixels.shape)
        first, shape = self._first
        if pixels.shape != shape:
            was, now = (f"{size[1]}x{size[0]}" for size in (shape, pixels.shape))
            why = f"is {now}, {first.name} is {was}: frames of one clip have one size"
            raise DataError(str(path), why, "scale them to one size")
        return pixels


def natural_order(path: Path) -> list[tuple[int, int | str]]:
    """A sort key in which runs of digits are numbers."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]
