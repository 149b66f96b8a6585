"""Clips read frame by frame, against a plain loop that decodes everything."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from video_fakes import GREY_ERROR, grey_of, plain_loop, write_clip, write_sound

from seqloom.data.video.container import VideoFile
from seqloom.data.video.frame_folder import FrameFolder
from seqloom.data.video.reader import open_clip
from seqloom.errors import DataError

# Each file with the frames that it has.
REAL = {
    "video_codecs/av1_video.mkv": 125,
    "video_codecs/decord_rotated_90.mov": 3,
    "video_codecs/discard_first_keyframe.mp4": 25,
    "video_codecs/h264_10bits.mp4": 30,
    "video_codecs/h265_video.mp4": 10,
    "video_codecs/mmaction2_demo.mp4": 280,
    "video_codecs/mmaction2_xvid.avi": 164,
    "video_codecs/nasa_13013.mp4": 325,
    "video_codecs/nasa_13013_rotated.mp4": 17,
    "video_codecs/test_non_zero_start.mp4": 12,
    "video_codecs/testsrc2_odd_width_mpeg2.mp4": 10,
    "video_codecs/testsrc2_vp8.webm": 30,
    "video_codecs/testsrc2_vp9.webm": 30,
    "grid_lipreading/bbaf2n.mpg": 75,
    "video_gestures/back/S1_back_1_1m_upper.mp4": 78,
}
# Own encodings: (suffix, options); what they differ in decides how a reader finds its frames.
LONG_B = {"x264-params": "bframes=3:keyint=10:min-keyint=10:scenecut=0"}
ENCODINGS = {
    "x264-mp4": (".mp4", {}),
    "x264-b-frames-mp4": (".mp4", {"options": LONG_B}),
    "x264-open-gop-mp4": (
        ".mp4",
        {"options": {"x264-params": LONG_B["x264-params"] + ":open-gop=1"}},
    ),
    "x264-fragments-mp4": (
        ".mp4",
        {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    ),
    "x264-mkv": (".mkv", {"options": LONG_B}),
    "x264-avi": (".avi", {"encoder": "libx264", "options": LONG_B}),
    "x264-ts": (".ts", {"encoder": "libx264", "options": LONG_B}),
    "mpeg4-mov": (".mov", {}),
    "mpeg4-avi": (".avi", {}),
    "mpeg4-b-frames-avi": (".avi", {"options": {"bf": "2"}}),
    "mjpeg-avi": (".avi", {"encoder": "mjpeg", "pixels": "yuvj420p"}),
    "mpeg2-mpg": (".mpg", {"options": {"bf": "2"}}),
    "vp8-webm": (
        ".webm",
        {"encoder": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    ),
    "vp9-webm": (".webm", {"options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "one-mp4": (".mp4", {"num_frames": 1}),
    "one-avi": (".avi", {"num_frames": 1}),
    "one-webm": (".webm", {"num_frames": 1}),
    "odd-mp4": (".mp4", {"width": 63, "height": 47, "pixels": "yuv444p"}),
    "variable-mp4": (".mp4", {"ticks": [100 + 3 * i * i for i in range(20)]}),
    "variable-avi": (".avi", {"ticks": [0, 40, 80, 400, 440, 480, *range(600, 1160, 40)]}),
    "one-of-long-ticks-avi": (".avi", {"ticks": [0]}),
    "variable-mkv": (".mkv", {"ticks": [7 * i * i for i in range(20)]}),
}


def equals_plain_loop(path, times_s, frames):
    """Reading all, single frames at random, backwards over calls, repeats: always those frames."""
    num_frames = len(frames)
    with open_clip(path) as clip:
        np.testing.assert_allclose(clip.times_s, times_s, rtol=0, atol=1e-9)
        everything = list(clip.frames())
        assert [time_s for time_s, _ in everything] == clip.times_s.tolist()
        assert all(map(np.array_equal, [frame for _, frame in everything], frames))
        order = np.random.default_rng(0).permutation(num_frames)[:12].tolist()
        for number in [*order, *sorted(order, reverse=True)]:
            np.testing.assert_array_equal(clip.read(np.array([number]))[0], frames[number])
    with open_clip(path) as clip:
        numbers = np.sort(np.random.default_rng(1).integers(0, num_frames, 8)).repeat(2)
        read = clip.read(numbers)
        assert read.dtype == np.uint8
        assert read.shape == (16, *frames[0].shape)
        for number, frame in zip(numbers, read, strict=True):
            np.testing.assert_array_equal(frame, frames[number])
        assert clip.read(np.zeros(0, np.int64)).shape == (0, *frames[0].shape)


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_reads_as_a_plain_loop_does(shared_data, name):
    times_s, frames = plain_loop(shared_data / name)
    assert len(frames) == REAL[name]
    equals_plain_loop(shared_data / name, times_s, frames)


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_own_encoding_reads_as_a_plain_loop_does_and_shows_its_greys(tmp_path, name):
    suffix, options = ENCODINGS[name]
    path = write_clip(tmp_path / f"clip{suffix}", **options)
    times_s, frames = plain_loop(path)
    if suffix == ".mpg":
        # Its muxer stores one time for several frames of this size.
        times_s = [number / 25 for number in range(len(frames))]
    assert len(frames) == (len(options.get("ticks", ())) or options.get("num_frames", 20))
    if "ticks" in options:
        ticks = np.array(options["ticks"])
        np.testing.assert_allclose(times_s, (ticks - ticks[0]) / 1000, atol=1e-3)
    greys = [grey_of(number) for number in range(len(frames))]
    # Frames that are coded as differences of two others keep some of both.
    error = 12 if "bf" in options.get("options", {}) else GREY_ERROR
    np.testing.assert_allclose([frame.mean() for frame in frames], greys, rtol=0, atol=error)
    equals_plain_loop(path, times_s, frames)


def test_packets_that_show_nothing_are_no_frames(tmp_path):
    """VP8 may store a frame that only later ones refer to as a packet with a time of its own."""
    shown = write_clip(tmp_path / "shown.webm", encoder="libvpx")
    path = tmp_path / "hidden.webm"
    with av.open(str(shown)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if not packet.size:
                continue
            data, pts = bytes(packet), packet.pts
            for more_ms, first in ((0, data[0]), (20, data[0] & ~0x10)):
                copy = av.Packet(bytes([first]) + data[1:])
                copy.stream, copy.time_base = stream, packet.time_base
                copy.pts = copy.dts = pts + more_ms
                copy.is_keyframe = packet.is_keyframe
                container.mux(copy)
    times_s, frames = plain_loop(path)
    assert len(frames) == 20
    equals_plain_loop(path, times_s, frames)


def test_every_gesture_and_sentence_reads_whole(shared_data):
    folder = shared_data / "video_gestures"
    rows = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()]
    column = rows[0].index("frames")
    stated = {folder / row[0]: int(row[column]) for row in rows[1:]}
    stated |= dict.fromkeys((shared_data / "grid_lipreading").glob("*.mpg"), 75)
    assert len(stated) == 148
    for path, num_frames in stated.items():
        with open_clip(path) as clip:
            assert len(clip.times_s) == num_frames
            assert sum(1 for _ in clip.frames()) == num_frames


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(("hflip", "vflip"), [(False, False), (True, False), (False, True)])
def test_frames_stand_upright(tmp_path, degrees, hflip, vflip):
    """A clip that was recorded askew, with the matrix that sets it right, is the upright one."""
    upright = np.zeros((1, 64, 96, 3), np.uint8)
    upright[:, :32, :48] = 250, 20, 20
    upright[:, :32, 48:] = 20, 250, 20
    upright[:, 32:, :48] = 20, 20, 250
    # A player turns, then mirrors: undone in the opposite order.
    stored = upright[:, :: -1 if vflip else 1, :: -1 if hflip else 1]
    stored = np.rot90(stored, -degrees // 90, axes=(1, 2))
    path = write_clip(
        tmp_path / "clip.mp4",
        width=stored.shape[2],
        height=stored.shape[1],
        pixels="yuv444p",
        rotation=(degrees, hflip, vflip),
        frames=np.ascontiguousarray(stored),
    )
    with open_clip(path) as clip:
        (frame,) = clip.read(np.array([0]))
    assert frame.shape == (64, 96, 3)
    assert np.abs(frame.astype(int) - upright[0]).mean() < 10


def test_a_late_frame_decodes_only_from_its_key_frame(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=400, options=LONG_B)
    with VideoFile(path) as clip:
        assert clip.num_decoded == 0
        clip.read(np.array([387]))
        assert clip.num_decoded <= 12
        # On from there, the next ones cost no more than themselves.
        before = clip.num_decoded
        clip.read(np.array([388, 389]))
        assert clip.num_decoded - before <= 4
        before = clip.num_decoded
        clip.read(np.arange(0, 400, 50))
        assert clip.num_decoded - before <= 8 * 12


def damaged_copies(path: Path, folder: Path) -> tuple[list[Path], list[Path]]:
    """(cut off, overwritten) copies of a file."""
    data = path.read_bytes()
    cut, overwritten = [], []
    for percent in (10, 30, 50, 70, 90, 95):
        cut.append(folder / f"cut-{percent}{path.suffix}")
        cut[-1].write_bytes(data[: len(data) * percent // 100])
    for seed, place in enumerate((0.35, 0.5, 0.65, 0.8)):
        at, num_bytes = int(len(data) * place), (64, 512)[seed % 2]
        junk = np.random.default_rng(seed).bytes(num_bytes)
        overwritten.append(folder / f"junk-{seed}{path.suffix}")
        overwritten[-1].write_bytes(data[:at] + junk + data[at + num_bytes :])
    return cut, overwritten


def outcomes(paths: list[Path]) -> list[str]:
    """Of each file, by a process that is given up after two minutes: nothing may hang."""
    fakes = Path(__file__).with_name("video_fakes.py")
    done = subprocess.run(
        [sys.executable, str(fakes), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", REAL)
def test_damage_is_an_error_or_just_the_frames_of_a_plain_loop(shared_data, tmp_path, name):
    cut, overwritten = damaged_copies(shared_data / name, tmp_path)
    told = outcomes([*cut, *overwritten])
    assert len(told) == len(cut) + len(overwritten)
    # A program stream states no length: cut between two packets, it is a shorter clip. And junk in
    # a stream without checksums may still be a stream, or lie in what only players read.
    may = {"error", "equal"} if name.endswith(".mpg") else {"error"}
    assert set(told[: len(cut)]) <= may
    assert set(told[len(cut) :]) <= {"error", "equal"}
    if name in ("video_codecs/mmaction2_demo.mp4", "video_codecs/nasa_13013_rotated.mp4"):
        assert set(told[len(cut) :]) == {"error"}


def test_cut_off_encodings_are_errors_where_the_header_states_a_length(tmp_path):
    may_be_short = {"x264-fragments-mp4", "x264-ts", "mpeg2-mpg"}
    copies = {}
    for name, (suffix, options) in ENCODINGS.items():
        (tmp_path / name).mkdir()
        path = write_clip(tmp_path / name / f"clip{suffix}", **options)
        copies[name] = damaged_copies(path, tmp_path / name)[0]
    told = outcomes([path for paths in copies.values() for path in paths])
    for name, paths in copies.items():
        may = {"error", "equal"} if name in may_be_short else {"error"}
        assert {told.pop(0) for _ in paths} <= may, name


def test_a_file_with_a_damaged_frame_is_an_error_that_names_it(shared_data):
    path = shared_data / "video_codecs" / "decord_corrupted.mp4"
    with open_clip(path) as clip, pytest.raises(DataError) as caught:
        clip.read(np.arange(len(clip.times_s)))
    assert str(caught.value).startswith(f"{path}: frame ")
    assert "does not decode" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_clip_is_named(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "notes.txt").write_text("not a video\n" * 100)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nclip.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "no_pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    (tmp_path / "named.mp4").write_bytes((tmp_path / "one.png").read_bytes())
    write_sound(tmp_path / "sound.mp4")
    whys = {
        "empty.mp4": "cannot be opened",
        "text.mp4": "cannot be opened",
        "notes.txt": "cannot be opened",
        "list.m3u8": "cannot be opened",
        "no_pictures": "holds no pictures",
        "one.png": "is one picture",
        "named.mp4": "cannot be opened",
        "sound.mp4": "has no video stream",
        "absent.mp4": "does not exist",
    }
    for name, why in whys.items():
        with pytest.raises(DataError) as caught:
            open_clip(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {why}")


def test_a_cover_picture_is_not_the_clip(tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for track, height, width in ((cover, 32, 32), (stream, 48, 64)):
            pixels = np.full((height, width, 3), 90, np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(track.encode())
    with open_clip(path) as clip:
        assert clip.read(np.array([0])).shape == (1, 48, 64, 3)


def test_frames_of_two_sizes_are_refused(tmp_path):
    """Two JPEG sizes in one stream: there is no one [T, H, W, 3]."""
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, width in enumerate((64, 64, 32)):
            codec = av.CodecContext.create("mjpeg", "w")
            codec.width, codec.height, codec.pix_fmt = width, 48, "yuvj420p"
            codec.time_base = stream.time_base = Fraction(1, 25)
            frame = av.VideoFrame.from_ndarray(np.zeros((48, width, 3), np.uint8), format="rgb24")
            frame.pts = number
            for packet in [*codec.encode(frame), *codec.encode()]:
                packet.stream, packet.pts, packet.dts = stream, number, number
                container.mux(packet)
    with open_clip(path) as clip, pytest.raises(DataError, match="changes its size from 64x48"):
        clip.read(np.arange(3))


# Folders of pictures


def write_pictures(folder: Path, names: list[str], size: tuple[int, int] = (12, 8)) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (number * 20,) * 3).save(folder / name)
    return folder


def test_pictures_stand_in_the_natural_order_of_their_names(tmp_path):
    names = [f"img_{number}.png" for number in range(12)]
    folder = write_pictures(tmp_path / "clip", names)
    (folder / "notes.txt").write_text("left alone")
    with open_clip(folder) as clip:
        np.testing.assert_allclose(clip.times_s, np.arange(12) / 25)
        read = clip.read(np.array([0, 2, 2, 10, 11]))
        assert read.shape == (5, 8, 12, 3)
        assert read[:, 0, 0, 0].tolist() == [0, 40, 40, 200, 220]
        assert [frame[0, 0, 0] for _, frame in clip.frames()] == [20 * n for n in range(12)]
        assert clip.read(np.zeros(0, np.int64)).shape == (0, 8, 12, 3)
    assert FrameFolder(folder, fps=10).times_s[1] == pytest.approx(0.1)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp", "PNG"])
def test_each_kind_of_picture_is_read(tmp_path, suffix):
    folder = write_pictures(tmp_path / "clip", [f"a1.{suffix}", f"a2.{suffix}"])
    with open_clip(folder) as clip:
        assert abs(int(clip.read(np.array([1]))[0].mean()) - 20) <= 2


def test_a_broken_picture_and_one_of_another_size_are_named(tmp_path):
    folder = write_pictures(tmp_path / "clip", ["1.png", "2.png"], size=(64, 64))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / "2.jpg")
    data = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(data[: len(data) // 2])
    with open_clip(folder) as clip, pytest.raises(DataError) as caught:
        list(clip.frames())
    assert str(caught.value).startswith(f"{folder / '2.jpg'}: does not decode")
    write_pictures(folder, ["2.jpg"], size=(32, 64))
    with open_clip(folder) as clip, pytest.raises(DataError) as caught:
        list(clip.frames())
    assert str(caught.value).startswith(f"{folder / '2.jpg'}: is 32x64, 1.png is 64x64")


def test_a_real_folder_of_pictures_reads(shared_data):
    folders = sorted((shared_data / "video_frames").glob("*/*/"))
    counts = []
    for folder in folders:
        with open_clip(folder) as clip:
            counts.append(sum(1 for _ in clip.frames()))
    assert sorted(counts) == [15, 15, 17, 18]


class LastFrames:
    """The last frame of each clip, opened where it is read."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        with open_clip(self.paths[row]) as clip:
            return torch.from_numpy(clip.read(np.array([len(clip.times_s) - 1])))


def test_two_workers_read_what_one_process_reads(tmp_path):
    paths = [write_clip(tmp_path / f"{n}.mp4", num_frames=n, options=LONG_B) for n in range(1, 9)]
    rows = LastFrames(paths)
    # Decoders were used before the fork: a worker has nothing of them.
    alone = [rows[row] for row in range(len(rows))]
    loaded = list(DataLoader(rows, batch_size=None, num_workers=2))
    assert all(map(torch.equal, loaded, alone))
