"""Kept features: what was saved or nothing, whoever writes at once; a key for all they hang on."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seqloom.data.feature_store import ClipDigests, FeatureStore, StoredFeatures, feature_key
from seqloom.data.spec import VideoSide
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import DataError

KEY = "ab" * 32
SIDE = VideoSide(FrameSampling(), ClipTransform())


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(folder=tmp_path / "features")


@pytest.mark.parametrize(
    "values",
    [
        torch.randn(5, 7),
        torch.randn(3, 2, 4, 4).half(),
        torch.randn(3, 2).bfloat16(),
        torch.randn(4, 6).T,
        torch.zeros(0, 8),
        torch.tensor(3.5),
        torch.arange(4),
        torch.tensor([[float("nan"), float("inf")]]),
    ],
    ids=lambda values: f"{values.dtype}{list(values.shape)}",
)
def test_what_was_saved_comes_back_bit_by_bit(store: FeatureStore, values: Tensor) -> None:
    assert store.load(KEY) is None
    store.save(KEY, values)
    found = store.load(KEY)
    assert found is not None
    assert found.dtype == values.dtype
    torch.testing.assert_close(found, values, rtol=0, atol=0, equal_nan=True)
    assert store.load("cd" * 32) is None


def test_saving_again_replaces(store: FeatureStore) -> None:
    store.save(KEY, torch.zeros(3))
    store.save(KEY, torch.ones(2, requires_grad=True))
    found = store.load(KEY)
    assert found is not None
    assert found.tolist() == [1, 1]
    assert [path.name for path in store.path(KEY).parent.iterdir()] == [f"{KEY}.features"]


def test_an_entry_cut_off_anywhere_is_absent(store: FeatureStore) -> None:
    store.save(KEY, torch.randn(2, 3))
    whole = store.path(KEY).read_bytes()
    for size in range(len(whole)):
        store.path(KEY).write_bytes(whole[:size])
        assert store.load(KEY) is None, size
    store.path(KEY).write_bytes(whole + b"x")
    assert store.load(KEY) is None


def test_an_entry_with_a_changed_byte_is_absent_or_the_same(store: FeatureStore) -> None:
    values = torch.randn(2, 3)
    store.save(KEY, values)
    whole = store.path(KEY).read_bytes()
    payload = whole.index(b"\n") + 1
    for place in range(len(whole)):
        store.path(KEY).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = store.load(KEY)
        # A letter of the name of a field may change and leave another whole header.
        assert found is None or (place < payload and torch.equal(found.flatten(), values.flatten()))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"format": "other"},
        {"key": "0" * 64},
        {"dtype": "object"},
        {"shape": [-6]},
        {"shape": None},
        {"shape": [2, 2]},
        {"sha256": ""},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_absent(
    store: FeatureStore, change: dict[str, object]
) -> None:
    store.save(KEY, torch.randn(2, 3))
    head, _, payload = store.path(KEY).read_bytes().partition(b"\n")
    header = json.dumps(json.loads(head) | change).encode()
    store.path(KEY).write_bytes(header + b"\n" + payload)
    assert store.load(KEY) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"[]\n", b"{}\n", b"[" * 9999, pickle.dumps({})])
def test_what_is_no_entry_is_absent(store: FeatureStore, content: bytes) -> None:
    store.path(KEY).parent.mkdir(parents=True)
    store.path(KEY).write_bytes(content)
    assert store.load(KEY) is None


def test_an_entry_copied_to_another_key_is_absent(store: FeatureStore) -> None:
    store.save(KEY, torch.ones(2))
    other = "ab" + "00" * 31
    store.path(other).write_bytes(store.path(KEY).read_bytes())
    assert store.load(other) is None


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("in the way")
    with pytest.raises(DataError, match=r"features.*data\.cache_dir"):
        FeatureStore(folder=tmp_path / "features").save(KEY, torch.ones(1))


def _save_often(folder: Path, value: int) -> None:
    for _ in range(30):
        FeatureStore(folder=folder).save(KEY, torch.full((5000,), float(value)))


def test_processes_that_write_the_same_entry_leave_a_whole_one(store: FeatureStore) -> None:
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_save_often, args=(store.folder, n)) for n in (1, 2)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        found = store.load(KEY)
        assert found is None or len(found.unique()) == 1
        assert found is not None or not store.path(KEY).exists()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert [path.name for path in store.path(KEY).parent.iterdir()] == [f"{KEY}.features"]


def test_rows_of_a_split_and_an_entry_that_went_lost(store: FeatureStore) -> None:
    other = "cd" * 32
    store.save(KEY, torch.ones(1, 2))
    store.save(other, torch.zeros(3, 2))
    clips = [Path("a.mp4"), Path("b.mp4"), Path("a.mp4")]
    features = pickle.loads(
        pickle.dumps(StoredFeatures(store=store, keys=[KEY, other, KEY], clips=clips))
    )
    assert [len(features(row)) for row in range(len(features))] == [1, 3, 1]
    store.path(other).unlink()
    with pytest.raises(DataError, match=r"b\.mp4.*resume"):
        features(1)


def test_a_key_changes_with_all_that_features_hang_on() -> None:
    sides = [
        SIDE,
        VideoSide(replace(SIDE.sampling, num_frames=8), SIDE.transform),
        VideoSide(replace(SIDE.sampling, by="all"), SIDE.transform),
        VideoSide(SIDE.sampling, replace(SIDE.transform, width=32)),
        VideoSide(SIDE.sampling, replace(SIDE.transform, grayscale=True)),
    ]
    keys = [feature_key(encoder="e", side=side, clip="c") for side in sides]
    keys += [feature_key(encoder="f", side=SIDE, clip="c")]
    keys += [feature_key(encoder="e", side=SIDE, clip="d")]
    assert len(set(keys)) == len(keys)
    assert feature_key(encoder="e", side=SIDE, clip="c") == keys[0]
    assert all(len(key) == 64 for key in keys)


@pytest.fixture
def digests(tmp_path: Path) -> ClipDigests:
    return ClipDigests(path=tmp_path / "cache" / "clip_digests.json")


def test_a_clip_is_known_by_what_it_holds(digests: ClipDigests, tmp_path: Path) -> None:
    first, second, copy = (tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4"))
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    copy.write_bytes(b"one")
    one, two, same = digests.of([first, second, copy])
    assert one == same != two
    assert digests.of([second, first]) == [two, one]
    assert digests.of([]) == []
    first.write_bytes(b"three")
    assert digests.of([first])[0] not in (one, two)


def test_a_clip_is_read_again_only_where_its_size_or_time_changed(
    digests: ClipDigests, tmp_path: Path
) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"one")
    stat = clip.stat()
    (before,) = digests.of([clip])
    clip.write_bytes(b"two")
    os.utime(clip, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digests.of([clip]) == [before]  # the price that the store names
    os.utime(clip, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert digests.of([clip]) != [before]


def test_a_folder_of_pictures_changes_with_contents_names_and_number(
    digests: ClipDigests, tmp_path: Path
) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    found = []
    for action in (
        lambda: (clip / "0.png").write_bytes(b"one"),
        lambda: (clip / "1.png").write_bytes(b"two"),
        lambda: (clip / "1.png").rename(clip / "2.png"),
        lambda: (clip / "0.png").write_bytes(b"three"),
        lambda: (clip / "2.png").unlink(),
    ):
        action()
        found += digests.of([clip])
    assert len(set(found)) == len(found)
    (clip / ".thumbs").write_bytes(b"x")
    assert digests.of([clip]) == found[-1:]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', '{"x": ["a"]}', '{"x": [1, 2]}'])
def test_a_damaged_memory_is_made_anew(digests: ClipDigests, tmp_path: Path, content: str) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"one")
    before = digests.of([clip])
    (tmp_path / "cache" / "clip_digests.json").write_text(content)
    assert digests.of([clip]) == before


def test_a_clip_that_is_not_there_is_named(digests: ClipDigests, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.mp4"):
        digests.of([tmp_path / "absent.mp4"])


def test_the_memory_is_shared_by_processes(digests: ClipDigests, tmp_path: Path) -> None:
    clips = [tmp_path / f"{number}.mp4" for number in range(8)]
    for number, clip in enumerate(clips):
        clip.write_bytes(bytes([number]))
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=digests.of, args=([clip],)) for clip in clips]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    kept = json.loads((tmp_path / "cache" / "clip_digests.json").read_text())
    assert sorted(kept) == sorted(map(str, clips))
