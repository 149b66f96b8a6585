"""A video file as a clip: the first real video stream of it, through PyAV.

The one idea: a list of the packets, made without decoding any, says which frames there are, when
they stand and from which key frames decoding can begin. So `read` decodes from the key frame before
a wanted frame, or on from where it is, whichever is less, and knows by its time stamp that the
frame it got is the one that was asked for. Seeking is never trusted: where it leads elsewhere,
decoding begins at the start of the file.

Two prices. Opening reads the whole file once, without decoding it. And where packets cannot tell
the frames' order (no time stamps, or those of AVI with B frames; a start that is no key frame),
opening decodes the whole clip once. There, and in MPEG program and transport streams, a jump back
decodes from the start.

It refuses damage: the decoder stops at an error instead of concealing it, a frame that it marks as
damaged is an error, and so is a file that holds less than its header says. What it cannot know:
overwritten bytes that are still a valid stream (few formats have checksums), and a cut between two
packets where no length is stated (MPEG program and transport streams, FLV, GIF, a live recording in
Matroska, a cut between the fragments of a fragmented MP4).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.buffer import Buffer
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from seqloom.data.video.stated_size import stated_size
from seqloom.errors import DataError

# Demuxers of single files that hold pictures in time; without it FFmpeg reads a text file as a
# terminal's screen, and a play list makes it open other files.
FORMATS = (
    "3g2,3gp,asf,avi,flv,gif,h264,hevc,ivf,m4a,m4v,matroska,mj2,mjpeg,mov,mp4,mpeg,mpegts,"
    "mpegvideo,mxf,nut,ogg,webm,wtv,yuv4mpegpipe"
)
# Demuxers that read a time stamp for each packet. Others share one among several frames and reckon
# the rest, after a jump not as before it: there a stamp names a frame only from the start on.
STAMP_EACH_PACKET = ("avi", "flv", "matroska", "mov")
LENGTH = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
# Rounding, and a last frame that lasts longer than those before it.
LENGTH_SLACK_S = 0.5
# Decoding on costs less than a jump that saves no more frames than this: the decoder fills anew.
JUMP_COST_FRAMES = 4
MEND = "get it anew, or write it anew (ffmpeg -i OLD NEW.mp4) and look at what is lost"


@dataclass(frozen=True, kw_only=True)
class FrameIndex:
    """The frames of a clip, in the order in which they are shown.

    Args:
        times_s: [N] float64, from 0.
        stamps: [N] the time stamp with which the decoder gives each; None where it gives none.
        keys: ascending (number of the first frame that decodes from there, pts, dts or None) of
            the key frames where decoding can begin; empty: only at the start of the file.
    """

    times_s: np.ndarray
    stamps: list[int | None]
    keys: list[tuple[int, int, int | None]]


class VideoFile:
    """A file opened as a clip; see `reader.VideoReader`.

    `num_decoded` counts the frames that came out of the decoder.

    Raises `DataError`, naming the file, if it cannot be opened, has no video stream, holds no
    frame, or holds less than its header says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_decoded = 0
        self._reformatter = VideoReformatter()
        self._shape: tuple[int, ...] | None = None
        self.times_s = np.zeros(0)
        # The decoder's place: the number of the frame it gives next, if it has begun.
        self._next = 0
        self._pictures: Iterator[VideoFrame] = iter(())
        self._container, self._stream = open_stream(path)
        try:
            check_size(path, self._container.format.name)
            self._index = self._index_by_packets() or self._index_by_decoding()
        except BaseException:
            self.close()
            raise
        self.times_s = self._index.times_s
        # Past the last one: the first use begins anew.
        self._next = len(self.times_s)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """See `reader.VideoReader.read`."""
        numbers = np.asarray(indices, dtype=np.int64)
        assert numbers.ndim == 1
        assert (np.diff(numbers) >= 0).all(), "frame numbers ascend"
        if not len(numbers):
            return np.zeros((0, *self._frame(0).shape), np.uint8)
        assert numbers[0] >= 0
        assert numbers[-1] < len(self.times_s), "there is no such frame"
        frames: list[np.ndarray] = []
        for place, number in enumerate(numbers.tolist()):
            repeated = place > 0 and number == numbers[place - 1]
            frames.append(frames[-1] if repeated else self._frame(number))
        return np.stack(frames)

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """See `reader.VideoReader.frames`."""
        for number, time_s in enumerate(self.times_s.tolist()):
            yield time_s, self._frame(number)

    def close(self) -> None:
        """See `reader.VideoReader.close`."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _index_by_packets(self) -> FrameIndex | None:
        """The frames as the packets tell them; None if packets cannot tell."""
        shown: list[int] = []
        keys: list[tuple[int, int | None]] = []
        num_packets, last_dts, clear = 0, -1, True
        for packet in self._packets():
            num_packets += 1
            pts, dts = packet.pts, packet.dts
            last_dts = dts if dts is not None else last_dts
            if pts is None:
                clear = False
            elif not is_hidden(packet):
                if packet.is_keyframe:
                    keys.append((pts, dts))
                # A decoder may drop what comes before the first key frame, or is shown before it.
                clear = clear and bool(keys) and pts >= keys[0][0]
                if not packet.is_discard:
                    shown.append(pts)
        container = self._container.format.name
        stamps = np.sort(np.array(shown, dtype=np.int64))
        self._check_length(num_packets, last_dts, stamps)
        if not num_packets or (clear and not shown):
            raise DataError(str(self.path), "holds no frame", MEND)
        if "avi" in container:
            # It stores no presentation times: where frames are reordered, FFmpeg's are guesses.
            codec = self._stream.codec_context
            reordered = codec.has_b_frames and codec.name != "mpeg4"
            clear = clear and not reordered and stamps.tolist() == shown
        if not clear or not (np.diff(stamps) > 0).all():
            return None
        exact = any(kind in container for kind in STAMP_EACH_PACKET)
        numbered = {int(np.searchsorted(stamps, pts)): (pts, dts) for pts, dts in keys}
        return FrameIndex(
            times_s=self._seconds(stamps),
            stamps=stamps.tolist(),
            keys=[(number, *stamp) for number, stamp in sorted(numbered.items())] if exact else [],
        )

    def _check_length(self, num_packets: int, last_dts: int, stamps: np.ndarray) -> None:
        """Refuses a file with fewer packets than its header lists, or a shorter stream.

        `last_dts` is that of the last packet; `stamps` [N] are the sorted times of the frames.
        """
        container, stream = self._container.format.name, self._stream
        # The index of MP4 is the header's list of its packets; the stamps of AVI count frames.
        listed = len(stream.index_entries) if "mov" in container else 0
        held = num_packets
        gaps = np.diff(stamps)
        if "avi" in container and len(gaps):
            # A frame that is shown for several ticks is listed as so many.
            listed, held = stream.frames, last_dts + int(np.median(gaps))
        if held < listed:
            why = f"is cut off or damaged: its header lists {listed} frames, it holds {held}"
            raise DataError(str(self.path), why, MEND)
        # FFmpeg passes over damaged parts of Matroska; the writer notes how long each stream is.
        length = LENGTH.fullmatch(stream.metadata.get("DURATION", "").strip("\0"))
        if "matroska" in container and length and len(gaps):
            hours, minutes, seconds = map(float, length.groups())
            stated_s, held_s = hours * 3600 + minutes * 60 + seconds, stamps[-1] * self._tick_s
            # How long the last frame is shown is not told: no longer than the longest before it.
            if held_s + int(gaps.max()) * self._tick_s < stated_s - LENGTH_SLACK_S:
                why = f"is damaged: its header states {stated_s:.2f} s, it ends at {held_s:.2f} s"
                raise DataError(str(self.path), why, MEND)

    def _index_by_decoding(self) -> FrameIndex:
        """Each frame in the order of the decoder; the sorted time stamps are the times."""
        self._reopen()
        stamps = []
        for picture in self._decoded(self._packets()):
            stamps.append(picture.pts)
            self._next += 1
        if not stamps:
            raise DataError(str(self.path), "holds no frame", MEND)
        known = np.sort(np.array([stamp for stamp in stamps if stamp is not None], np.int64))
        if len(known) == len(stamps) and (np.diff(known) > 0).all():
            return FrameIndex(times_s=self._seconds(known), stamps=stamps, keys=[])
        rate = self._stream.average_rate or self._stream.guessed_rate
        if not rate:
            raise DataError(str(self.path), "states neither times nor a frame rate", MEND)
        return FrameIndex(times_s=np.arange(len(stamps)) / float(rate), stamps=stamps, keys=[])

    def _seconds(self, stamps: np.ndarray) -> np.ndarray:
        """[N] float64: ascending time stamps as seconds since the first."""
        return (stamps - stamps[0]) * self._tick_s

    @property
    def _tick_s(self) -> float:
        base = self._stream.time_base
        assert base is not None
        return float(base)

    def _frame(self, number: int) -> np.ndarray:
        """[H, W, 3] uint8: frame `number`, decoded from where that takes least."""
        first, *_ = self._key_before(number)
        jumps = number < self._next or first > self._next + JUMP_COST_FRAMES
        if jumps:
            self._begin(number)
        try:
            return self._decode_to(number)
        except DataError:
            if not (jumps and first):
                raise
        # Few formats say which frames reach over a key frame: what fails after a jump is decided
        # by decoding from the start.
        self._begin(0)
        return self._decode_to(number)

    def _decode_to(self, number: int) -> np.ndarray:
        for picture in self._pictures:
            here = self._next
            stamp = self._index.stamps[here] if here < len(self._index.stamps) else None
            if picture.pts != stamp:
                raise self._undecodable(here, "another frame stands there")
            self._next += 1
            if here == number:
                return self._pixels(picture, number)
        raise self._undecodable(self._next, "the file ends before it")

    def _key_before(self, number: int) -> tuple[int, int | None, int | None]:
        """The last of the index's keys from which `number` decodes; (0, None, None): the start."""
        place = bisect_right(self._index.keys, number, key=lambda key: key[0])
        return self._index.keys[place - 1] if place else (0, None, None)

    def _begin(self, number: int) -> None:
        """Places the decoder at a key frame at or before `number`, the last one if seeking can."""
        first, pts, dts = self._key_before(number)
        numbers = {key_pts: key for key, key_pts, _ in self._index.keys}
        # Some formats seek by presentation time, others by the packets' own.
        for stamp in dict.fromkeys(stamp for stamp in (pts, dts) if stamp is not None):
            try:
                self._container.seek(stamp, stream=self._stream)
            except av.FFmpegError:
                break
            packets = self._packets()
            key = next((packet for packet in packets if packet.is_keyframe), None)
            landed = numbers.get(key.pts) if key and key.pts is not None else None
            if key and landed is not None and landed <= first:
                self._stream.codec_context.flush_buffers()
                self._next = landed
                # What is stored after the key frame but shown before it needs frames before it.
                first_pts = key.pts or 0
                later = (p for p in packets if p.pts is None or p.pts > first_pts)
                self._pictures = self._decoded(chain([key], later))
                return
        self._reopen()
        self._next = 0
        self._pictures = self._decoded(self._packets())

    def _reopen(self) -> None:
        self._container.close()
        self._container, self._stream = open_stream(self.path)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """The stream's packets from here on, in the order of the file."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt:
                    raise DataError(str(self.path), "is cut off or damaged", MEND)
                if packet.size:
                    yield packet
        except av.FFmpegError as error:
            why = f"is cut off or damaged ({reason(error)})"
            raise DataError(str(self.path), why, MEND) from None

    def _decoded(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[VideoFrame]:
        """The frames of `packets`, in the order in which they are shown."""
        codec = self._stream.codec_context
        for packet in chain(packets, [None]):
            try:
                pictures = codec.decode(packet)
            except av.FFmpegError as error:
                raise self._undecodable(self._next, reason(error)) from None
            for picture in pictures:
                self.num_decoded += 1
                if picture.is_corrupt:
                    raise self._undecodable(self._next, "it is damaged")
                yield picture

    def _undecodable(self, number: int, why: str) -> DataError:
        """The error for frame `number`."""
        when = f" at {self.times_s[number]:.3f} s" if number < len(self.times_s) else ""
        return DataError(str(self.path), f"frame {number}{when} does not decode ({why})", MEND)

    def _pixels(self, picture: VideoFrame, number: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB, upright; every frame of a clip has one size."""
        rgb = upright(self._reformatter.reformat(picture, format="rgb24", threads=1))
        self._shape = self._shape or rgb.shape
        if rgb.shape != self._shape:
            was, now = (f"{shape[1]}x{shape[0]}" for shape in (self._shape, rgb.shape))
            why = f"changes its size from {was} to {now} at frame {number}"
            raise DataError(str(self.path), why, "write it anew at one size")
        return rgb


def open_stream(path: Path) -> tuple[InputContainer, VideoStream]:
    """The file and its first video stream, ready to decode with one thread, stopping at errors."""
    try:
        container = av.open(
            f"file:{path}",
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError) as error:
        # This is how FFmpeg says that the format is not one of `FORMATS`.
        known = not isinstance(error, av.ArgumentError)
        told = reason(error) if known else "it is of no kind that holds pictures in time"
        why = f"cannot be opened as a video ({told})"
        raise DataError(str(path), why, MEND) from None
    # A cover picture is stored as a stream of one frame that belongs to no time.
    covers = Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams or streams[0].codec_context is None:
        container.close()
        why = "is in a codec that FFmpeg lacks" if streams else "has no video stream"
        raise DataError(str(path), why, MEND)
    # Workers and ranks share the cores.
    streams[0].codec_context.thread_count = 1
    streams[0].codec_context.options = {"err_detect": "explode"}
    return container, streams[0]


def upright(picture: VideoFrame) -> np.ndarray:
    """[H, W, 3] uint8: the pixels of an RGB picture, turned and mirrored by its display matrix.

    The matrix [a b; c d] sends column x and row y to column a x + c y and row b x + d y (in units
    of 1/65536); other turns than quarters are left alone.
    """
    pixels = picture.to_ndarray()
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, Buffer):
        return pixels
    a, b, _, c, d = np.frombuffer(memoryview(matrix), np.int32)[:5].tolist()
    if a == d == 0:
        pixels, row, column = pixels.transpose(1, 0, 2), b, c
    elif b == c == 0:
        row, column = d, a
    else:
        return pixels
    return np.ascontiguousarray(pixels[:: -1 if row < 0 else 1, :: -1 if column < 0 else 1])


def is_hidden(packet: Packet[VideoStream]) -> bool:
    """Whether a packet only feeds later frames and shows none: VP8 stores these as packets."""
    return packet.stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10


def check_size(path: Path, container: str) -> None:
    """Refuses a file that is shorter than it states."""
    stated, actual = stated_size(path, container), path.stat().st_size
    if actual < stated:
        why = f"is cut off: it states {stated} bytes and holds {actual}"
        raise DataError(str(path), why, MEND)


def reason(error: Exception) -> str:
    """What FFmpeg says of an error, without its number and the file."""
    return str(getattr(error, "strerror", None) or error)
