"""Small clips with known grey levels: frame i is one flat grey, `grey_of(i)`."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from seqloom.data.video.reader import open_clip
from seqloom.errors import DataError

# Encoder and pixel format by the suffix that a test names, and what the encoder may miss a grey by.
ENCODERS = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "mov": ("mpeg4", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "mpg": ("mpeg2video", "yuv420p"),
    "ts": ("mpeg2video", "yuv420p"),
}
GREY_ERROR = 4


def grey_of(number: int) -> int:
    """The grey of frame `number`: 40 to 220, neighbours far apart."""
    return 40 + 36 * number % 185


def write_clip(
    path: Path,
    *,
    num_frames: int = 20,
    width: int = 64,
    height: int = 48,
    fps: int = 25,
    encoder: str | None = None,
    pixels: str = "yuv420p",
    ticks: list[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    gop_size: int = 12,
    rotation: tuple[float, bool, bool] | None = None,
    frames: np.ndarray | None = None,
) -> Path:
    """Encodes a clip in the container that the suffix names.

    `ticks` are the times of the frames in 1/1000 s, for a variable frame rate; `rotation` is what
    `set_display_rotation` takes: degrees counterclockwise, mirrored left to right, top to bottom;
    `frames` [T, H, W, 3] uint8 stand instead of the greys.
    """
    num_frames = num_frames if ticks is None else len(ticks)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(
            encoder or ENCODERS[path.suffix[1:]][0], rate=fps, options=options or {}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.gop_size = gop_size
        stream.thread_count = 1
        if ticks is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            degrees, hflip, vflip = rotation
            stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)
        if frames is None:
            frames = np.stack(
                [np.full((height, width, 3), grey_of(i), np.uint8) for i in range(num_frames)]
            )
        for number, pixels_of in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_of, format="rgb24")
            if ticks is None:
                frame.pts, frame.time_base = number, Fraction(1, fps)
            else:
                frame.pts, frame.time_base = ticks[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """A file with sound and no pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def plain_loop(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times from 0 and upright RGB of every frame of the first stream, by decoding everything.

    AVI stores no presentation times: FFmpeg's guesses are right but for their order.
    """
    times_s, frames = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for frame in container.decode(stream):
            times_s.append(frame.pts * stream.time_base)
            assert frame.rotation % 90 == 0
            frames.append(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))
    if path.suffix == ".avi":
        times_s.sort()
    return [float(time_s - times_s[0]) for time_s in times_s], frames


def outcome(path: Path) -> str:
    """How the reader fares with a file that may be damaged: `error` (a DataError that names it),
    `equal` (just the frames that a plain loop decodes), or what else it did."""
    try:
        with open_clip(path) as clip:
            ours = [frame for _, frame in clip.frames()]
    except DataError as error:
        return "error" if str(error).startswith(f"{path}: ") else f"another file: {error}"
    try:
        _, plain = plain_loop(path)
    except av.FFmpegError as error:
        return f"{len(ours)} frames, but a plain loop stops: {error}"
    same = len(ours) == len(plain) and all(map(np.array_equal, ours, plain))
    return "equal" if same else f"{len(ours)} frames unlike the {len(plain)} of a plain loop"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(outcome(Path(name)))
