"""Frames of a clip as files that a browser draws: a contact sheet and a short video.

The idea: small frames are enlarged by whole factors without smoothing, so that a reader sees the
pixels that the model saw; large ones are made smaller. Times of frames are kept to the millisecond,
unequal ones too. The same frames give the same bytes.
The price: lossy forms; a video that would be larger than 300 kB is coded more coarsely, up to
twice, and refused beyond 2 MB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

MAX_SHEET_FRAMES = 16
MAX_SHEET_WIDTH = 1200  # pixels
MAX_CELL_HEIGHT = 400  # pixels of a frame in a sheet
MAX_COLUMNS = 8
GAP = 2  # pixels of grey right of and below each frame, part of its cell
MIN_SIDE, MAX_SIDE = 160, 640  # pixels of a video's shorter and longer side
AIM_BYTES, MAX_BYTES = 300_000, 2_000_000
RATE_FACTORS = (23, 31, 39)  # of x264: the higher, the coarser
MILLISECOND = Fraction(1, 1000)
LAST_FRAME_MS = 40  # how long the frame of a clip of one frame is shown


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Where the frames stand in a contact sheet: row by row, in cells of one size (pixels)."""

    frames: list[int]
    columns: int
    cell_width: int
    cell_height: int


def evenly(num: int, limit: int) -> list[int]:
    """At most `limit` of the places 0..num-1, evenly spread, first and last among them."""
    if num <= limit:
        return list(range(num))
    if limit == 1:
        return [num // 2]
    return [round(k * (num - 1) / (limit - 1)) for k in range(limit)]


def write_sheet(path: Path, frames: np.ndarray) -> Sheet:
    """Up to 16 evenly chosen frames of [T, H, W, 3] uint8 side by side, as a JPEG."""
    from PIL import Image

    chosen = evenly(len(frames), MAX_SHEET_FRAMES)
    columns = min(len(chosen), MAX_COLUMNS)
    num_rows = math.ceil(len(chosen) / columns)
    limit = min(MAX_SHEET_WIDTH // columns - GAP, MAX_CELL_HEIGHT)
    cells = [_fitted(frames[k], smallest=limit, largest=limit) for k in chosen]
    height, width = (side + GAP for side in cells[0].shape[:2])
    sheet = np.full((num_rows * height, columns * width, 3), 128, np.uint8)
    for place, cell in enumerate(cells):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height - GAP, left : left + width - GAP] = cell
    Image.fromarray(sheet).save(path, format="JPEG", quality=82, optimize=True)
    return Sheet(frames=chosen, columns=columns, cell_width=width, cell_height=height)


def write_video(path: Path, frames: np.ndarray, times_s: Sequence[float]) -> str:
    """[T, H, W, 3] uint8 as H.264 in mp4, from second 0; answers why there is none, or nothing.

    A frame that is not later than the one before it (a repeated one) is left out.
    """
    import av

    times_ms = [round(1000 * (time - times_s[0])) for time in times_s]
    kept = [0]
    for place, time in enumerate(times_ms):
        if time > times_ms[kept[-1]]:
            kept.append(place)
    pictures = [_even(_fitted(frames[k], smallest=MIN_SIDE, largest=MAX_SIDE)) for k in kept]
    shown_ms = [times_ms[k] for k in kept]
    try:
        for factor in RATE_FACTORS:
            _encode(path, pictures, shown_ms, factor)
            if path.stat().st_size <= AIM_BYTES:
                return ""
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: an encoder that is not there
        path.unlink(missing_ok=True)
        return f"the H.264 encoder says: {error}"
    if path.stat().st_size > MAX_BYTES:
        path.unlink()
        return f"it would be larger than {MAX_BYTES:,} bytes"
    return ""


def _encode(path: Path, frames: list[np.ndarray], times_ms: list[int], factor: int) -> None:
    """Without B frames: packets come out as frames went in, so that each can be given its length.

    The index stands in front (faststart): a browser shows the first frame before it has all.
    """
    import av

    gaps = np.diff(times_ms)
    last_ms = int(np.median(gaps)) if len(gaps) else LAST_FRAME_MS
    lengths = dict(zip(times_ms, [*(int(gap) for gap in gaps), max(1, last_ms)], strict=True))
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264",
            rate=1000,
            options={"crf": str(factor), "preset": "medium", "bf": "0", "threads": "1"},
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = MILLISECOND
        packets = []
        for pixels, time in zip(frames, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = time, MILLISECOND
            packets += stream.encode(frame)
        for packet in packets + stream.encode():
            assert packet.pts is not None
            packet.duration = lengths[packet.pts]
            container.mux(packet)


def _fitted(frame: np.ndarray, *, smallest: int, largest: int) -> np.ndarray:
    """The frame enlarged by a whole factor until its shorter side has `smallest` pixels, or made
    smaller until its longer one has `largest`, which is never exceeded."""
    from PIL import Image

    height, width = frame.shape[:2]
    longest = max(height, width)
    if longest > largest:
        size = [max(1, round(side * largest / longest)) for side in (width, height)]
        return np.asarray(Image.fromarray(frame).resize((size[0], size[1]), Image.Resampling.BOX))
    factor = max(1, min(math.ceil(smallest / min(height, width)), largest // longest))
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)


def _even(frame: np.ndarray) -> np.ndarray:
    """A line or a column more where a side is odd, as yuv420p has half as many colours."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
