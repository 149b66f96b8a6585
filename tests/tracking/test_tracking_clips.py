"""Kept clips: which are chosen, and that their files show the frames at their times."""

import json
import logging
import math
import random

import numpy as np
import pytest
from report_clips_folder import make_picture, moving_square
from report_run_folder import make_predictions

from seqloom.metrics.prediction import Prediction
from seqloom.tracking import clip_pictures, clips
from seqloom.tracking.clip_pictures import evenly
from seqloom.tracking.clips import choose_clips, write_clips


def prediction(place, target, output, score):
    return Prediction(place, f"{place}.mp4", target, output, score, 16)


def some_predictions(num, share_right, seed=0):
    random_ = random.Random(seed)
    rows = []
    for k in range(num):
        target = random_.choice("abcde")
        output = target if random_.random() < share_right else random_.choice("abcde")
        rows.append(prediction(k, target, output, random_.random()))
    return rows


def decoded(path):
    """(times in seconds, frames [T, H, W, 3]) by a plain loop."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [
            (float(f.pts * f.time_base), f.to_ndarray(format="rgb24"))
            for f in container.decode(stream)
        ]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    times, frames = zip(*found, strict=True)
    return np.array(times), np.stack(frames)


def entries(folder):
    return json.loads((folder / "clips" / "clips.json").read_text(encoding="utf-8"))


# Choosing.


@pytest.mark.parametrize("share_right", [0.0, 0.3, 0.8, 0.98, 1.0])
@pytest.mark.parametrize("num", [0, 1, 5, 12, 13, 200])
def test_hardest_come_first_and_none_twice(num, share_right):
    rows = some_predictions(num, share_right)
    chosen = choose_clips(rows)
    wrong = [k for k in range(num) if rows[k].prediction != rows[k].target]
    assert len(chosen) == len(set(chosen))
    assert len(chosen) == min(8, num) + min(4, num - max(len(wrong), min(8, num)))
    hard, easy = chosen[:8], chosen[8:]
    num_wrong = min(8, len(wrong))
    shown_wrong, shown_right = hard[:num_wrong], hard[num_wrong:]
    by_score = sorted((rows[k].score for k in wrong), reverse=True)
    assert [rows[k].score for k in shown_wrong] == by_score[:8]
    right = sorted(rows[k].score for k in set(range(num)) - set(wrong))
    assert [rows[k].score for k in shown_right] == right[: len(shown_right)]
    assert all(rows[k].prediction == rows[k].target for k in easy)


def test_right_ones_are_spread_over_classes():
    rows = [prediction(k, "abcd"[k % 4], "abcd"[k % 4], k / 100) for k in range(60)]
    chosen = choose_clips(rows, num_hard=0)
    assert sorted(rows[k].target for k in chosen) == ["a", "b", "c", "d"]
    assert sorted(chosen) == [56, 57, 58, 59]
    many = [prediction(k, f"c{k:02d}", f"c{k:02d}", 0.5) for k in range(31)]
    assert choose_clips(many, num_hard=0) == [0, 10, 20, 30]
    one = [prediction(k, "a", "a", k / 10) for k in range(6)]
    assert choose_clips(one, num_hard=2) == [0, 1, 5, 4, 3, 2]


def test_score_that_is_not_a_number_is_the_lowest():
    rows = [prediction(0, "a", "b", math.nan), prediction(1, "a", "b", 0.1)]
    assert choose_clips(rows) == [1, 0]
    assert choose_clips(rows, num_hard=0, num_right=0) == []


def test_sentences_are_chosen_as_classes_are():
    rows = [
        Prediction(k, row["input"], row["target"], row["prediction"], row["score"], 3)
        for k, row in enumerate(make_predictions(40))
    ]
    assert len(choose_clips(rows)) == 12


@pytest.mark.parametrize(("num", "limit"), [(1, 1), (9, 1), (16, 16), (17, 16), (1000, 300)])
def test_evenly_is_even(num, limit):
    places = evenly(num, limit)
    assert len(places) == min(num, limit)
    assert len(set(places)) == len(places)
    if limit > 1:
        assert (places[0], places[-1]) == (0, num - 1)
        gaps = np.diff(places)
        assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


# Files.


def test_video_shows_the_frames_at_their_times(tmp_path):
    picture = make_picture(3, 16)
    write_clips(tmp_path, [picture])
    times, frames = decoded(tmp_path / "clips" / "0003.mp4")
    assert np.allclose(times, picture.times_s, atol=1e-3)
    big = picture.frames.repeat(4, axis=1).repeat(4, axis=2)  # 48 to 192 pixels
    assert frames.shape == big.shape
    assert np.abs(frames.astype(int) - big).mean() < 4
    for k in range(16):  # Each is nearest to its own frame: none is lost, none twice.
        gaps = np.abs(frames[k].astype(int) - big).mean(axis=(1, 2, 3))
        assert gaps.argmin() == k


def test_unequal_times_and_a_late_start(tmp_path):
    times_s = np.array([2.0, 2.04, 2.5, 2.51, 4.0])
    write_clips(tmp_path, [make_picture(0, 5, times_s=times_s)])
    assert np.allclose(decoded(tmp_path / "clips" / "0000.mp4")[0], times_s - 2.0, atol=1e-3)
    assert entries(tmp_path)[0]["times_s"] == times_s.tolist()


def test_repeated_frames_are_shown_once(tmp_path):
    times_s = np.array([0.0, 0.0, 0.0, 0.1, 0.1])
    write_clips(tmp_path, [make_picture(0, 5, times_s=times_s)])
    assert np.allclose(decoded(tmp_path / "clips" / "0000.mp4")[0], [0.0, 0.1])
    assert entries(tmp_path)[0]["sheet_frames"] == [0, 1, 2, 3, 4]


def test_index_of_the_video_stands_before_its_frames(tmp_path):
    write_clips(tmp_path, [make_picture(0)])
    data = (tmp_path / "clips" / "0000.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("height", "width"), [(48, 48), (5, 7), (1, 1), (161, 203), (1, 300), (721, 1281)]
)
@pytest.mark.parametrize("num_frames", [1, 3])
def test_any_size_gives_even_sides_within_bounds(tmp_path, height, width, num_frames):
    from PIL import Image

    frames = moving_square(num_frames, height, width)
    write_clips(tmp_path, [make_picture(0, num_frames, frames=frames)])
    _, shown = decoded(tmp_path / "clips" / "0000.mp4")
    assert len(shown) == num_frames
    assert shown.shape[1] % 2 == shown.shape[2] % 2 == 0
    assert max(shown.shape[1:3]) <= 640
    if max(height, width) < 160:
        assert min(shown.shape[1:3]) >= 160
    entry = entries(tmp_path)[0]
    with Image.open(tmp_path / "clips" / "0000.jpg") as sheet:
        assert sheet.size == (entry["cell"][0] * num_frames, entry["cell"][1])
        assert sheet.width <= 1200


def test_sheet_holds_the_frames_that_it_names(tmp_path):
    from PIL import Image

    frames = np.stack([np.full((20, 30, 3), 5 * t, np.uint8) for t in range(40)])
    write_clips(tmp_path, [make_picture(0, 40, frames=frames)])
    entry = entries(tmp_path)[0]
    assert entry["sheet_frames"] == evenly(40, 16)
    assert entry["columns"] == 8
    (width, height), columns = entry["cell"], entry["columns"]
    with Image.open(tmp_path / "clips" / "0000.jpg") as sheet:
        assert sheet.size == (8 * width, 2 * height)
        pixels = np.asarray(sheet).astype(int)
    for place, k in enumerate(entry["sheet_frames"]):
        y, x = place // columns * height, place % columns * width
        assert np.abs(pixels[y + 4 : y + height - 8, x + 4 : x + width - 8] - 5 * k).mean() < 3


def test_long_clips_keep_300_frames_with_their_evidence(tmp_path):
    num = 700
    evidence = [[t / num, 1 - t / num] for t in range(num)]
    frames = np.zeros((num, 16, 16, 3), np.uint8)
    picture = make_picture(0, num, frames=frames, classes=("a", "b"), evidence=evidence)
    write_clips(tmp_path, [picture])
    entry = entries(tmp_path)[0]
    assert len(entry["times_s"]) == len(entry["evidence"]) == 300
    for time, row in zip(entry["times_s"], entry["evidence"], strict=True):
        assert row[0] == pytest.approx(10 * time / num, abs=1e-4)
    assert entry["times_s"][-1] == pytest.approx(69.9)
    assert max(entry["sheet_frames"]) == 299


def test_same_clips_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_clips(tmp_path / name, [make_picture(0), make_picture(12345, 3)])
    names = sorted(path.name for path in (tmp_path / "one" / "clips").iterdir())
    assert names == ["0000.jpg", "0000.mp4", "12345.jpg", "12345.mp4", "clips.json"]
    for name in names:
        one, two = (tmp_path / run / "clips" / name for run in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_evidence_that_is_not_finite_is_zero(tmp_path):
    picture = make_picture(0, 2, classes=("a", "b"), evidence=[[math.nan, math.inf], [0.25, 0.75]])
    write_clips(tmp_path, [picture])
    assert entries(tmp_path)[0]["evidence"] == [[0.0, 0.0], [0.25, 0.75]]


def test_older_clips_are_replaced_or_stay_whole(tmp_path):
    write_clips(tmp_path, [make_picture(0), make_picture(1)])
    write_clips(tmp_path, (make_picture(k, 3) for k in [7]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips"]
    names = ["0007.jpg", "0007.mp4", "clips.json"]
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == names

    def broken():
        yield make_picture(8)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        write_clips(tmp_path, broken())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips"]
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == names


def test_no_clips_are_an_empty_list(tmp_path):
    write_clips(tmp_path, [])
    assert entries(tmp_path) == []


def test_video_that_stays_too_large_is_left_out(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(clip_pictures, "MAX_BYTES", 500)
    monkeypatch.setattr(clip_pictures, "AIM_BYTES", 400)
    with caplog.at_level(logging.WARNING, clips.__name__):
        write_clips(tmp_path, [make_picture(4)])
    assert "clip 4 has no video in the report: it would be larger than 500 bytes" in caplog.text
    assert entries(tmp_path)[0]["video"] is None
    assert not (tmp_path / "clips" / "0004.mp4").exists()


def test_noise_is_coded_more_coarsely(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (16, 96, 96, 3), dtype=np.uint8)
    write_clips(tmp_path, [make_picture(0, frames=noise)])
    fine = (tmp_path / "clips" / "0000.mp4").stat().st_size
    monkeypatch.setattr(clip_pictures, "AIM_BYTES", fine // 2)
    write_clips(tmp_path, [make_picture(0, frames=noise)])
    assert (tmp_path / "clips" / "0000.mp4").stat().st_size < fine


def test_machine_without_the_encoder_keeps_the_sheet(tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError("no such encoder")

    monkeypatch.setattr(clip_pictures, "_encode", refuse)
    write_clips(tmp_path, [make_picture(0)])
    assert entries(tmp_path)[0]["video"] is None
    assert (tmp_path / "clips" / "0000.jpg").is_file()
