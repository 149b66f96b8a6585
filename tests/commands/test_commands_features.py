"""Features of a frozen encoder: computed once, of the right row, anew where something changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from clip_fakes import NAMES, SIDE, GreyLearner, small_learner, write_clip
from torch import Tensor, nn

from seqloom.commands.features import fill
from seqloom.data.batching import PaddedBatches
from seqloom.data.feature_store import StoredFeatures
from seqloom.data.spec import VideoSide
from seqloom.data.video.folder import VideoFolder
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError, DataError


class GreyData:
    """Clips of files whose bytes are the greys of their frames."""

    def __init__(self, folder: Path, side: VideoSide = SIDE, num_workers: int = 0) -> None:
        self.folder, self.cache_root = folder, folder / "cache"
        self.num_workers = num_workers
        self.side: Any = SimpleNamespace(
            sampling=side.sampling, transform=side.transform, parse=self._parse
        )
        self.features: dict[str, StoredFeatures] = {}
        self.parsed: list[str] = []
        for split, num_clips in (("train", 5), ("val", 2), ("test", 1)):
            (folder / split).mkdir(exist_ok=True)
            for number in range(num_clips):
                path = folder / split / f"{number}.mp4"
                if not path.exists():
                    path.write_bytes(bytes([ord(split[-1]), number, 7]))

    def clip_files(self, split: str) -> list[Path]:
        return sorted((self.folder / split).iterdir())

    def use_features(self, split: str, features: StoredFeatures) -> None:
        self.features[split] = features

    def _parse(self, text: str) -> Tensor:
        self.parsed.append(text)
        content = Path(text).read_bytes()
        if not content:
            raise DataError(text, "holds no frame", "copy it anew")
        return torch.tensor([*content], dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 4, 4)


def filled(data: GreyData, learner: GreyLearner | None = None) -> dict[str, int]:
    return dict(fill(data, learner or GreyLearner(), torch.device("cpu")))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_features_are_computed_once_and_belong_to_their_rows(
    tmp_path: Path, num_workers: int
) -> None:
    data = GreyData(tmp_path, num_workers=num_workers)
    assert filled(data) == {"found": 0, "made": 8, "redone": 0}
    for split, features in data.features.items():
        clips = data.clip_files(split)
        assert len(features) == len(clips)
        for row, clip in enumerate(clips):
            assert features(row).flatten().tolist() == [*clip.read_bytes()]
    assert filled(data) == {"found": 8, "made": 0, "redone": 0}
    assert len(data.parsed) == 8
    again = GreyData(tmp_path)
    filled(again)
    assert again.parsed == []
    assert torch.equal(again.features["train"](3), data.features["train"](3))


def test_only_what_changed_is_computed_again(tmp_path: Path) -> None:
    data = GreyData(tmp_path)
    filled(data)
    data.clip_files("train")[1].write_bytes(b"other")
    entries = sorted((tmp_path / "cache" / "features").rglob("*.features"))
    entries[0].write_bytes(entries[0].read_bytes()[:-1])
    counts = filled(data)
    assert counts["redone"] <= 1  # the damaged one may be the changed clip's old one
    assert counts["made"] == 1
    assert sum(counts.values()) == 8
    learner = GreyLearner()
    learner.weight.data += 1
    assert filled(data, learner)["made"] == 8


def test_the_learner_is_left_as_it_was(tmp_path: Path) -> None:
    learner = GreyLearner()
    learner.inner = nn.Dropout().eval()
    filled(GreyData(tmp_path), learner)
    assert learner.training
    assert not learner.inner.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bad_clip_is_named_and_what_was_computed_stays(tmp_path: Path, num_workers: int) -> None:
    data = GreyData(tmp_path, num_workers=num_workers)
    data.clip_files("train")[2].write_bytes(b"")
    with pytest.raises(DataError, match=r"train/2\.mp4: holds no frame"):
        filled(data)
    data.clip_files("train")[2].write_bytes(b"mended")
    assert filled(data) == {"found": 2, "made": 6, "redone": 0}


def test_another_process_takes_the_clips_in_its_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    data = GreyData(tmp_path)
    assert filled(data)["made"] == 8
    assert data.parsed != sorted(data.parsed, key=lambda text: Path(text))
    assert len({*data.parsed}) == 8


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (replace(SIDE, sampling=FrameSampling(by="segments")), r"by=segments.*by=uniform"),
        (replace(SIDE, sampling=FrameSampling(by="all", max_frames=5)), "max_frames=5"),
        (replace(SIDE, transform=ClipTransform(crop_scale=(0.5, 1.0))), r"crop_scale=\[0.5,1.0\]"),
        (replace(SIDE, transform=ClipTransform(flip=0.5)), r"flip=0.5.*flip=0.*computed"),
        (replace(SIDE, transform=ClipTransform(brightness=0.1)), "brightness=0.1"),
    ],
)
def test_chance_cannot_be_kept(tmp_path: Path, side: VideoSide, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        filled(GreyData(tmp_path, side))


def test_a_window_that_takes_all_frames_is_no_chance(tmp_path: Path) -> None:
    sampling = FrameSampling(by="uniform", num_frames=4, max_frames=4)
    assert filled(GreyData(tmp_path, replace(SIDE, sampling=sampling)))["made"] == 8


@pytest.mark.parametrize("num_workers", [0, 2])
def test_real_features_are_those_that_a_batch_computes(tmp_path: Path, num_workers: int) -> None:
    for number in range(4):
        for split in ("train", "val", "test"):
            folder = tmp_path / split / NAMES[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            place = folder / f"{number}.mp4"
            write_clip(place, 5 + number, seed=1000 * len(split) + ord(split[0]) + number)
    side = VideoSide(FrameSampling(by="all"), ClipTransform(height=16, width=16))
    data = VideoFolder(
        sampling=side.sampling,
        transform=side.transform,
        batching=PaddedBatches(batch_size=2),
        root=str(tmp_path),
        num_workers=num_workers,
        cache_dir=str(tmp_path / "cache"),
    )
    data.prepare_data()
    data.setup()
    learner = small_learner(side)
    assert learner.caches_features
    frames = [batch.source for batch in data.val_dataloader()]
    data.teardown("fit")
    assert sum(fill(data, learner, torch.device("cpu")).values()) == 12
    for computed, batch in zip(frames, data.val_dataloader(), strict=True):
        with torch.no_grad():
            expected = learner.model.features(computed)
        assert batch.source.values.dtype == torch.float32
        assert batch.source.lengths.tolist() == expected.lengths.tolist()
        for kept, fresh in zip(batch.source.to_list(), expected.to_list(), strict=True):
            torch.testing.assert_close(kept, fresh, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(learner.model(batch.source), learner.model(computed))
    data.teardown("fit")
