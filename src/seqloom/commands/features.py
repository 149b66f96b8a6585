"""Features of a frozen encoder, computed once for every clip before the first epoch.

The one idea: an encoder that does not learn answers the same for the same frames, so its answer is
kept (`data.feature_store`) and training decodes nothing. What is missing is computed in the order
of the splits, further processes take it in orders of their own, and none waits for another: the
worst is that two compute the same clip. Clips are decoded by threads, as many as the data has
workers, while the encoder works. The price: only the evaluation's form of a clip can be kept, so
frames that are chosen or changed by chance are refused.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from seqloom.data.feature_store import ClipDigests, FeatureStore, StoredFeatures, feature_key
from seqloom.data.module import SPLITS
from seqloom.data.spec import VideoSide
from seqloom.errors import ConfigError

logger = logging.getLogger(__name__)

PROGRESS_S = 15.0


class FeatureLearner(Protocol):
    """What is asked of a learner with a frozen encoder of frames."""

    def feature_key(self) -> str:
        """A hash of the encoder's weights and settings."""

    def features_of(self, frames: Tensor) -> Tensor:
        """[T', ...] float32 of one clip's frames [T, 3, h, w] uint8."""


class ClipData(Protocol):
    """What is asked of the data."""

    num_workers: int
    cache_root: Path
    side: VideoSide

    def clip_files(self, split: str) -> list[Path]:
        """The clip of each row."""

    def use_features(self, split: str, features: StoredFeatures) -> None:
        """From now on a row's source is `features(row)`."""


def refuse_chance(side: VideoSide) -> None:
    """Raises ConfigError where training frames differ from epoch to epoch: one form is kept."""
    chances = [*_chances(side)]
    if chances:
        value, mend = chances[0]
        raise ConfigError(
            value,
            "gives other frames in every epoch, but learner.front.features=cached keeps one form of"
            " a clip",
            f"write {mend}, or learner.front.features=computed",
        )


def _chances(side: VideoSide) -> Iterator[tuple[str, str]]:
    """(setting, what to write instead) of everything that chance decides in training."""
    sampling, transform = side.sampling, side.transform
    if sampling.by == "segments":
        yield "data.sampling.by=segments", "data.sampling.by=uniform"
    limit = sampling.max_frames
    if limit is not None and not (sampling.by == "uniform" and sampling.num_frames <= limit):
        yield f"data.sampling.max_frames={limit}", "data.sampling.max_frames=null"
    if transform.crop_scale is not None:
        bounds = ",".join(map(str, transform.crop_scale))
        yield f"data.transform.crop_scale=[{bounds}]", "data.transform.crop_scale=null"
    for name in ("flip", "invert", "brightness", "contrast", "saturation"):
        if getattr(transform, name):
            yield f"data.transform.{name}={getattr(transform, name)}", f"data.transform.{name}=0"


def fill(
    datamodule: ClipData,
    learner: FeatureLearner,
    device: torch.device,
    *,
    splits: Sequence[str] = SPLITS,
) -> Counter[str]:
    """Computes the features that are missing, then gives all of them to `datamodule`.

    Args:
        datamodule: set up.
        learner: its encoder is moved to `device` for the work and back again.

    Returns how many were `found` as they should be, `made` (absent before) and `redone` (damaged).

    Raises:
        ConfigError: frames are chosen or changed by chance in training.
        DataError: a clip cannot be read; what was computed before it stays.
    """
    side = datamodule.side
    refuse_chance(side)
    store = FeatureStore(folder=datamodule.cache_root / "features")
    digests = ClipDigests(path=datamodule.cache_root / "clip_digests.json")
    encoder = learner.feature_key()
    counts: Counter[str] = Counter(found=0, made=0, redone=0)
    for split in splits:
        clips = datamodule.clip_files(split)
        keys = [
            feature_key(encoder=encoder, side=side, clip=digest) for digest in digests.of(clips)
        ]
        wanted = dict(zip(keys, clips, strict=True))  # a clip that is there twice counts once
        states = {key: _state(store, key) for key in wanted}
        counts.update(states.values())
        missing = {key: clip for key, clip in wanted.items() if states[key] != "found"}
        frames = _decoded(missing, store, side, datamodule.num_workers)
        with _at_work(learner, device):
            for key, values in _told(frames, split, len(missing)):
                store.save(key, learner.features_of(values.to(device)))
        datamodule.use_features(split, StoredFeatures(store=store, keys=keys, clips=clips))
    logger.info("features of the frozen encoder: %d found, %d made, %d redone", *counts.values())
    return counts


def _state(store: FeatureStore, key: str) -> str:
    if store.load(key) is not None:
        return "found"
    return "redone" if store.path(key).exists() else "made"


def _decoded(
    missing: Mapping[str, Path], store: FeatureStore, side: VideoSide, num_threads: int
) -> Iterator[tuple[str, Tensor]]:
    """(key, frames [T, 3, h, w]) of each clip, but for those that another process made meanwhile.

    Holds the frames of `num_threads` + 1 clips.
    """

    def decode(key: str) -> Tensor | None:
        return side.parse(str(missing[key])) if store.load(key) is None else None

    ahead: deque[tuple[str, Future[Tensor | None]]] = deque()
    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        try:
            for key in _in_turn(list(missing)):
                ahead.append((key, pool.submit(decode, key)))
                if len(ahead) > num_threads:
                    yield from _taken(ahead)
            while ahead:
                yield from _taken(ahead)
        finally:
            pool.shutdown(cancel_futures=True)


def _taken(ahead: deque[tuple[str, Future[Tensor | None]]]) -> Iterator[tuple[str, Tensor]]:
    """The first of what is decoded, once it is."""
    key, future = ahead.popleft()
    frames = future.result()
    if frames is not None:
        yield key, frames


def _in_turn(keys: list[str]) -> list[str]:
    """The first process's order is the split's, so that the clip of an error is always the same;
    every other process has its own, so that they seldom want the same clip."""
    rank = int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)
    return random.Random(rank).sample(keys, len(keys)) if rank else keys


def _told(
    items: Iterator[tuple[str, Tensor]], split: str, num_missing: int
) -> Iterator[tuple[str, Tensor]]:
    """The items; the log says now and then how far it is."""
    if num_missing:
        logger.info("computing features of %d clips of data.%s", num_missing, split)
    told_s = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            logger.info("features of %d of %d clips of data.%s", number, num_missing, split)
        yield item


@contextmanager
def _at_work(learner: FeatureLearner, device: torch.device) -> Iterator[None]:
    """The learner on `device` in evaluation mode, without gradients; afterwards as it was."""
    assert isinstance(learner, nn.Module)
    modes = [(module, module.training) for module in learner.modules()]
    place = next((parameter.device for parameter in learner.parameters()), device)
    learner.to(device).eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, is_training in modes:
            module.training = is_training
        learner.to(place)
