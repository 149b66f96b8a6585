"""Clips as a DataModule: batches are a pure function, what is known of clips is remembered, and
what cannot be used is named or left out.
"""

import logging
import os

import numpy as np
import pytest
import torch
from data_fakes import examples
from video_fakes import write_clip

from seqloom.data.batching import Bucketed, PaddedBatches
from seqloom.data.spec import ClassSide, DataSpec, TokenSide, VideoSide
from seqloom.data.tokenizers import TokenizerOptions
from seqloom.data.video import clip_index
from seqloom.data.video.captions import Grid
from seqloom.data.video.folder import VideoFolder
from seqloom.data.video.reader import open_clip
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.table import VideoCaptions, VideoCsv
from seqloom.data.video.transforms import ClipTransform
from seqloom.data.vocabulary import load_spec, save_spec
from seqloom.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")


def built(kind, **options):
    defaults = {
        "sampling": FrameSampling(by="all"),
        "transform": ClipTransform(height=24, width=32),
        "batching": PaddedBatches(batch_size=4),
    }
    return kind(**(defaults | options))


def ready(kind, **options):
    datamodule = built(kind, **options)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Ten clips of 3 to 12 frames, and a table of them."""
    root = tmp_path_factory.mktemp("clips")
    lines = ["path,label,split,who"]
    for i in range(10):
        write_clip(root / f"{i}.mp4", num_frames=3 + i)
        split = "train" if i < 6 else "val" if i < 8 else "test"
        lines.append(f"{i}.mp4,{'ba'[i % 2]},{split},S{i % 5}")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def options(clips, tmp_path):
    return {"path": str(clips / "list.csv"), "cache_dir": str(tmp_path / "cache")}


def drained(datamodule, epoch=0):
    """Every training batch of an epoch, as plain values."""
    loader = datamodule.train_dataloader()
    loader.set_epoch(epoch)
    return [(b.index, b.source.values, b.source.lengths, b.target) for b in loader]


def same(one, other):
    return len(one) == len(other) and all(
        all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
        for left, right in zip(one, other, strict=True)
    )


def test_an_example_is_the_frames_of_its_clip_and_its_class(clips, options):
    datamodule = ready(VideoCsv, **options)
    assert datamodule.spec.target == ClassSide(("a", "b"))
    assert datamodule.spec.source == datamodule.side
    assert (datamodule.side.height, datamodule.side.width) == (24, 32)
    for split, first in (("train", 0), ("val", 6), ("test", 8)):
        found = examples(datamodule, split)
        for row, (source, target) in enumerate(found):
            path = clips / f"{first + row}.mp4"
            assert datamodule.clip_files(split)[row] == path
            assert torch.equal(source, datamodule.side.parse(str(path)))
            assert (source.dtype, source.shape[0]) == (torch.uint8, 3 + first + row)
            assert "ab"[target] == "ba"[row % 2]
    (batch,) = datamodule.test_dataloader()
    assert batch.source.values.shape == (2, 12, 3, 24, 32)
    assert batch.index.tolist() == [1, 0]
    assert not batch.source.values[1, 11:].any()
    assert batch.source_text == tuple(str(clips / f"{i}.mp4") for i in (9, 8))
    assert batch.target_text == ("a", "b")
    assert next(iter(datamodule.train_dataloader())).target_text == ()


def test_batches_are_a_pure_function_of_seed_and_epoch(options):
    chance = {
        "sampling": FrameSampling(by="segments", num_frames=2),
        "transform": ClipTransform(height=24, width=32, crop_scale=(0.2, 0.9), brightness=0.5),
        "batching": Bucketed(batch_size=4),
    }
    alone = ready(VideoCsv, **options, **chance)
    first, second = drained(alone, 0), drained(alone, 1)
    assert not same(first, second)
    assert same(first, drained(alone, 0))
    workers = ready(VideoCsv, **options, **chance, num_workers=2)
    try:
        assert same(first, drained(workers, 0))
        assert same(second, drained(workers, 1))
    finally:
        workers.teardown("fit")
    assert not same(first, drained(ready(VideoCsv, **options, **chance, seed=2), 0))
    # Evaluation knows no chance.
    assert same(examples(alone, "val"), examples(ready(VideoCsv, **options, **chance), "val"))


def test_lengths_are_those_of_the_batches(options):
    sampling = FrameSampling(by="stride", stride=2, max_frames=4)
    datamodule = ready(VideoCsv, **options, sampling=sampling)
    for split in SPLITS:
        lengths = datamodule._datasets[split].lengths(0)
        found = [len(source) for source, _ in examples(datamodule, split)]
        assert lengths.tolist() == [[steps, 1] for steps in found]
    assert set(datamodule.padding_fractions()) == {"train/source_padding"}


def test_features_stand_for_clips(options, monkeypatch):
    datamodule = ready(VideoCsv, **options)
    plan = datamodule._datasets["val"].lengths(0)
    datamodule.use_features("val", lambda row: torch.full((2 + row, 5), float(row)))
    monkeypatch.setattr("seqloom.data.video.dataset.open_clip", None)
    (batch,) = datamodule.val_dataloader()
    assert batch.source.values.shape == (2, 3, 5)
    assert batch.source.lengths.tolist() == [2 + row for row in batch.index.tolist()]
    assert len(batch.source_text) == 2
    np.testing.assert_array_equal(datamodule._datasets["val"].lengths(0), plan)


def test_clips_are_opened_once_and_again_when_they_change(clips, options, monkeypatch):
    opened = []

    def counting(path):
        opened.append(path.name)
        return open_clip(path)

    monkeypatch.setattr(clip_index, "open_clip", counting)
    ready(VideoCsv, **options)
    assert sorted(opened) == [f"{i}.mp4" for i in range(10)]
    opened.clear()
    fingerprint = ready(VideoCsv, **options).fingerprint
    assert opened == []
    stat = (clips / "3.mp4").stat()
    os.utime(clips / "3.mp4", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert ready(VideoCsv, **options).fingerprint == fingerprint
    assert opened == ["3.mp4"]
    opened.clear()
    ready(VideoCsv, **options, on_error="skip")  # to know that they decode is more
    assert len(opened) == 10
    ready(VideoCsv, **options, on_error="skip")
    assert len(opened) == 10


def test_a_damaged_table_of_times_is_made_anew(options, tmp_path, caplog):
    ready(VideoCsv, **options)
    (tmp_path / "cache" / clip_index.TABLE).write_bytes(b"no data base" * 400)
    datamodule = ready(VideoCsv, **options)
    assert "damaged" in caplog.text
    assert [len(source) for source, _ in examples(datamodule, "val")] == [9, 10]


@pytest.fixture
def bad_clips(tmp_path):
    root = tmp_path / "bad"
    root.mkdir()
    lines = ["path,label,split"]
    for i, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"]):
        write_clip(root / f"{i}.mp4", num_frames=6, options={"x264-params": "keyint=1"})
        lines.append(f"{i}.mp4,a,{split}")
    lines.append("gone.mp4,a,train")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    (root / "1.mp4").write_bytes(b"this is no video")
    return root


def test_a_clip_that_cannot_be_used_is_named_with_its_line(bad_clips, tmp_path):
    options = {"path": str(bad_clips / "list.csv"), "cache_dir": str(tmp_path / "cache")}
    message = r"bad/1\.mp4: .*\(named at .*list\.csv:3; data\.on_error=skip leaves such clips out\)"
    with pytest.raises(DataError, match=message):
        ready(VideoCsv, **options)
    write_clip(bad_clips / "1.mp4", num_frames=4)
    with pytest.raises(DataError, match=r"gone\.mp4: does not exist.*list\.csv:9"):
        ready(VideoCsv, **options)


def test_clips_that_cannot_be_used_are_left_out(bad_clips, tmp_path, caplog):
    options = {
        "path": str(bad_clips / "list.csv"),
        "cache_dir": str(tmp_path / "cache"),
        "on_error": "skip",
    }
    for _ in range(2):  # the second time from what is remembered
        caplog.clear()
        datamodule = ready(VideoCsv, **options)
        assert [p.name for p in datamodule.clip_files("train")] == ["0.mp4", "2.mp4", "3.mp4"]
        (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert line.startswith("data.train: 2 of 5 clips cannot be used and are left out: ")
        assert "1.mp4" in line
        assert "gone.mp4" in line
        assert len(examples(datamodule, "train")) == 3
    (bad_clips / "6.mp4").write_bytes(b"nothing either")
    with pytest.raises(DataError, match=r"data\.test: none of 1 clips can be used; .*6\.mp4"):
        ready(VideoCsv, **options)


@pytest.mark.parametrize(
    ("choice", "groups"),
    [
        ({"val_groups": ["S3"], "test_groups": ["S4"]}, [{"S0", "S1", "S2"}, {"S3"}, {"S4"}]),
        (
            {"train_groups": ["S0"], "val_groups": ["S3"], "test_groups": ["S4", "S1"]},
            [{"S0"}, {"S3"}, {"S1", "S4"}],
        ),
    ],
)
def test_groups_keep_people_apart(options, choice, groups):
    datamodule = built(VideoCsv, **options, split_column="who", **choice)
    assert [{c.group for c in datamodule.clips(split)} for split in SPLITS] == groups


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"val_groups": ["S9"]}, r"list\.csv: no row has who S9 \(data\.val_groups\).*S0, S1"),
        ({"test_groups": [f"S{i}" for i in range(5)]}, r"list\.csv: no row is for training"),
    ],
)
def test_a_group_that_cannot_be_is_named(options, choice, message):
    with pytest.raises(DataError, match=message):
        ready(VideoCsv, **options, split_column="who", **choice)


def test_a_class_that_only_an_evaluation_knows_is_named(clips, options):
    table = clips / "new.csv"
    table.write_text("path,label,split\n0.mp4,a,train\n1.mp4,c,val\n2.mp4,a,test\n")
    with pytest.raises(DataError, match=r"new\.csv:3: the class c has no training clip"):
        ready(VideoCsv, **(options | {"path": str(table)}))
    table.write_text("path,label,split\n0.mp4,a,train\n1.mp4,a,val\n0.mp4,a,test\n")
    with pytest.raises(DataError, match=r"new\.csv:4: 0\.mp4 is in the test split and in the tr"):
        ready(VideoCsv, **(options | {"path": str(table)}))


def test_at_most_so_many_are_drawn_by_the_seed(options):
    drawn = [
        ready(VideoCsv, **options, num_train=3, seed=seed).clip_files("train")
        for seed in (1, 1, 2, 3)
    ]
    assert [len(files) for files in drawn] == [3, 3, 3, 3]
    assert drawn[0] == drawn[1] == sorted(drawn[0])
    assert drawn[0] != drawn[2] or drawn[0] != drawn[3]
    alone = ready(VideoCsv, **options, num_train=1)
    assert alone.spec.target.names == ("a", "b")  # of all training clips
    assert len(ready(VideoCsv, **options, num_train=100).clip_files("train")) == 6


def test_a_table_for_each_split(clips, options, tmp_path):
    root = tmp_path / "tables"
    root.mkdir()
    for split, numbers in (("train", range(6)), ("val", (6, 7)), ("test", (8, 9))):
        rows = "".join(f"{clips}/{i}.mp4,{'ba'[i % 2]}\n" for i in numbers)
        (root / f"{split}.csv").write_text("path,label\n" + rows)
    names = {"path": None, "root": str(root), "train": "train", "val": "val.csv", "test": "test"}
    datamodule = ready(VideoCsv, **(options | names))
    assert [len(datamodule.clip_files(split)) for split in SPLITS] == [6, 2, 2]
    fewer = ready(VideoCsv, **(options | names | {"val": None, "test": None, "val_share": 0.34}))
    assert [len(fewer.clip_files(split)) for split in SPLITS] == [4, 2, 2]
    assert fewer.clip_files("val") == fewer.clip_files("test")


def test_folders_with_and_without_split_folders(clips, tmp_path):
    root = tmp_path / "folders"
    for split, numbers in (("train", range(6)), ("test", range(6, 10))):
        for i in numbers:
            folder = root / split / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.mp4").symlink_to(clips / f"{i}.mp4")
    cache = {"cache_dir": str(tmp_path / "cache")}
    datamodule = ready(VideoFolder, root=str(root), **cache, val_share=0.34)
    assert [len(datamodule.clip_files(split)) for split in SPLITS] == [4, 2, 4]
    flat = ready(VideoFolder, root=str(root / "train"), **cache)
    assert sum(len(flat.clip_files(split)) for split in SPLITS) == 6
    (root / "train").rename(root / "training")
    with pytest.raises(DataError, match=r"has a folder test and none called train"):
        ready(VideoFolder, root=str(root), **cache)
    with pytest.raises(DataError, match=r"nowhere: there is no such folder; set data\.root"):
        ready(VideoFolder, root=str(tmp_path / "nowhere"), **cache)


def test_a_run_is_evaluated_with_its_own_classes_and_only_the_test_split(clips, options, tmp_path):
    datamodule = ready(VideoCsv, **options)
    datamodule.save_vocabulary(tmp_path / "run")
    root = tmp_path / "only"
    root.mkdir()
    (root / "test.csv").write_text(f"path,label\n{clips}/9.mp4,b\n")
    names = {"path": None, "root": str(root), "train": "gone", "test": "test"}
    again = built(VideoCsv, **(options | names), vocabulary_dir=tmp_path / "run")
    again._wanted = lambda: ("test",)
    again.prepare_data()
    again.setup()
    ((_, target),) = examples(again, "test")
    assert again.spec == datamodule.spec
    assert int(target) == 1


def test_sentences_are_tokens_with_the_end_symbol(clips, options):
    table = clips / "sentences.jsonl"
    rows = [
        (0, "a man runs", "train"),
        (0, "he runs", "train"),
        (1, "a dog", "val"),
        (2, "a", "test"),
    ]
    lines = [f'{{"path": "{i}.mp4", "label": "{x}", "split": "{s}"}}\n' for i, x, s in rows]
    table.write_text("".join(lines))
    options |= {"path": str(table), "tokenizer": TokenizerOptions(kind="word")}
    datamodule = ready(VideoCaptions, **options)
    side = datamodule.spec.target
    assert isinstance(side, TokenSide)
    found = examples(datamodule, "train")
    assert [side.format(target[:-1]) for _, target in found] == ["a man runs", "he runs"]
    assert all(target[-1] == 2 for _, target in found)
    (batch,) = datamodule.val_dataloader()
    assert batch.target.values[0].tolist()[1] == 3  # a word that training does not know


def test_a_side_of_clips_is_kept_as_plain_json(tmp_path):
    side = VideoSide(
        FrameSampling(by="fps", fps=5, max_frames=3),
        ClipTransform(height=8, width=9, crop_scale=[0.5, 1], grayscale=True),
    )
    spec = DataSpec(source=side, target=ClassSide(("x",)))
    save_spec(spec, tmp_path)
    assert load_spec(tmp_path) == spec
    good = (tmp_path / "source.json").read_text()
    for old, new in (('"fps"', '"never"'), ('"height": 8', '"height": 0'), ('"flip"', '"flap"')):
        (tmp_path / "source.json").write_text(good.replace(old, new))
        with pytest.raises(DataError, match=r"source\.json: is no side of a problem"):
            load_spec(tmp_path)
    with pytest.raises(DataError, match=r"nowhere\.mp4"):
        side.parse(str(tmp_path / "nowhere.mp4"))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (VideoCsv, {}, r"data\.path=null data\.train=null"),
        (VideoCsv, {"path": "x.csv", "train": "y"}, r"data\.path=x\.csv data\.train=y"),
        (VideoCsv, {"path": "x.csv", "val": "y"}, r"data\.path=x\.csv: one table"),
        (VideoCsv, {"path": "x.csv", "on_error": "ignore"}, r"data\.on_error=ignore"),
        (VideoCsv, {"path": "x.csv", "val_share": 1.0}, r"data\.val_share=1\.0"),
        (VideoFolder, {"root": None}, r"data\.root=null"),
        (VideoFolder, {"root": "x", "splits": "ucf101"}, r"data\.split_files=null"),
        (VideoFolder, {"root": "x", "split_number": 4}, r"data\.split_number=4"),
        (VideoFolder, {"root": "x", "splits": "ntu", "split_files": "y"}, r"data\.splits=ntu"),
        (Grid, {"root": "x", "tokenizer": None}, r"tokenizer=none"),
        (VideoCaptions, {"path": "x.csv"}, r"tokenizer=none: sentences are text"),
    ],
)
def test_a_wrong_call_is_named(kind, options, message):
    with pytest.raises(ConfigError, match=message):
        built(kind, **options)


def test_grid_itself(shared_data, tmp_path):
    datamodule = ready(
        Grid,
        root=str(shared_data / "grid_lipreading"),
        tokenizer=TokenizerOptions(kind="word"),
        cache_dir=str(tmp_path),
        sampling=FrameSampling(num_frames=5),
    )
    assert [len(datamodule.clip_files(split)) for split in SPLITS] == [4, 1, 1]
    (batch,) = datamodule.test_dataloader()
    assert batch.source.values.shape == (1, 5, 3, 24, 32)
    assert len(batch.target_text[0].split()) == 6


def test_gestures_by_person(shared_data, tmp_path):
    datamodule = ready(
        VideoCsv,
        path=str(shared_data / "video_gestures" / "labels.csv"),
        split_column="subject",
        val_groups=["S5"],
        test_groups=["S6"],
        cache_dir=str(tmp_path),
        sampling=FrameSampling(num_frames=4),
    )
    assert sum(len(datamodule.clip_files(split)) for split in SPLITS) == 142
    assert all(path.name.startswith("S6_") for path in datamodule.clip_files("test"))
    assert len(datamodule.spec.target.names) == 8
