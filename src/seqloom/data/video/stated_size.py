"""How many bytes a video file says it has, so that one that is cut off is known without decoding.

AVI and Matroska state the size of their outermost element, MP4 that of each part. The price: a
format that states none (program and transport streams, a recording that was never finished) is
taken at its word.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

SEGMENT = b"\x18\x53\x80\x67"
# Where the outermost element of Matroska begins at the latest: only a short header is before it.
SEGMENT_BEFORE = 4096


def stated_size(path: Path, container: str) -> int:
    """Bytes that the file should have at least; 0 if it states none.

    `container` is FFmpeg's name of the format.
    """
    with path.open("rb") as file:
        if "avi" in container:
            start = file.read(8)
            return 8 + int.from_bytes(start[4:8], "little") if start[:4] == b"RIFF" else 0
        if "matroska" in container:
            return matroska_size(file.read(SEGMENT_BEFORE))
        return mp4_size(file, path.stat().st_size) if "mov" in container else 0


def matroska_size(start: bytes) -> int:
    """The end of the segment that begins in `start`; 0 if its size is not told."""
    place = start.find(SEGMENT) + len(SEGMENT)
    if place < len(SEGMENT) or place >= len(start) or not start[place]:
        return 0
    # The leading zero bits of the first byte say how many more bytes a number takes.
    length = 9 - start[place].bit_length()
    size = int.from_bytes(start[place : place + length], "big") % (1 << 7 * length)
    # All ones: not known when it was written.
    return 0 if size == (1 << 7 * length) - 1 else place + length + size


def mp4_size(file: BinaryIO, actual: int) -> int:
    """The end of the last of the parts of an MP4 file that begin before its end at `actual`."""
    end = 0
    while end + 8 <= actual:
        file.seek(end)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        # 0: up to the end of the file, whatever that is. What is no part is left to FFmpeg.
        if size < 8:
            return end
        end += size
    return end
