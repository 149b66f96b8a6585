"""`VideoData`: the DataModule of clips; its subclasses say which clips there are.

The one idea: a subclass lists the clips of a split (`clips`), and everything else is the same:
targets are classes, or text where the class says so; the number of frames of each clip is looked up
once (`clip_index`), so that batches are planned before anything is decoded. The price: a clip is
known by its name and its size in bytes when a run asks whether its data is the same. Refuses an
empty split, a clip in two splits, and a class that only an evaluation knows.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor

from seqloom.data import cache
from seqloom.data.batching import Batching
from seqloom.data.module import SPLITS, SequenceData
from seqloom.data.spec import ClassSide, DataSpec, Side, TokenSide, VideoSide
from seqloom.data.tokenizers import TokenizerOptions, train_tokenizer
from seqloom.data.video.clip_index import find_clips, signature_of
from seqloom.data.video.clips import Clip, check_separate
from seqloom.data.video.dataset import ClipDataset
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.data.vocabulary import load_spec
from seqloom.errors import ConfigError, DataError
from seqloom.sequences import EOS_ID

_log = logging.getLogger(__name__)

ON_ERROR = ("raise", "skip")
MAX_NAMES = 10  # clips that a warning names


class VideoData(SequenceData):
    """Clips as batches of frames, with a class or a sentence each.

    Args:
        sampling: which frames of a clip are looked at.
        transform: what is done to them.
        on_error: `raise` (a clip that cannot be opened or decoded is an error) or `skip` (every
            clip is decoded once before the first epoch, and what cannot be is left out).
        tokenizer: of sentences, what to train on the training split; None: classes.
        num_train, num_val, num_test: at most so many clips, drawn by the seed.
        cache_dir: of what is known of clips, see `cache.cache_root`.
        vocabulary_dir: a run's saved sides, whose classes or tokenizer are used as they are.

    The others are those of `SequenceData`.
    """

    has_text: ClassVar[bool] = False
    """Whether targets are text for a tokenizer; else classes."""

    def __init__(
        self,
        *,
        sampling: FrameSampling,
        transform: ClipTransform,
        on_error: str,
        tokenizer: TokenizerOptions | None,
        batching: Batching,
        num_train: int | None,
        num_val: int | None,
        num_test: int | None,
        seed: int,
        num_workers: int,
        cache_dir: str | None,
        vocabulary_dir: Path | None,
    ) -> None:
        super().__init__(
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            vocabulary_dir=vocabulary_dir,
        )
        if on_error not in ON_ERROR:
            raise ConfigError(
                f"data.on_error={on_error}", "is not known", f"use {' or '.join(ON_ERROR)}"
            )
        self.tokenizer = self._checked(tokenizer)
        self.side = VideoSide(sampling, transform)
        self.on_error, self.cache_root = on_error, cache.cache_root(cache_dir)
        self._clips: dict[str, list[Clip]] = {}
        self._used: dict[str, tuple[list[Clip], np.ndarray]] = {}
        self._keys: dict[str, str] = {}

    @abstractmethod
    def clips(self, split: str) -> list[Clip]:
        """The clips of `split` (train, val or test) in an order that is always the same; called
        once a split, after `prepare_data` began.
        """

    def clip_files(self, split: str) -> list[Path]:
        """The clip of each row of `split`; after `setup`."""
        return list(self._dataset(split).paths)

    def use_features(self, split: str, features: Callable[[int], Tensor]) -> None:
        """From now on the source of row i of `split` is features(i), float32 [T', ...], and no clip
        is opened; after `setup` and before the first batch.
        """
        self._dataset(split).features = features

    def prepare_data(self) -> None:
        """Opens the clips that are not known yet; one process at a time, the others wait.

        Raises DataError for a clip that cannot be used, and for one that is in two splits.
        """
        for split in self._wanted():
            self._usable(split)
        check_separate(self._clips)

    def describe(self) -> DataSpec:
        """See `SequenceData.describe`."""
        target: Side
        if self.vocabulary_dir is not None:
            target = load_spec(self.vocabulary_dir).target
        elif self.tokenizer is not None:
            texts = (clip.target for clip in self._listed("train"))
            target = TokenSide(train_tokenizer(texts, self.tokenizer))
        else:
            # Of all clips, also where num_train takes few of them: a class is one anyway.
            target = ClassSide(tuple(sorted({clip.target for clip in self._all("train")})))
        return DataSpec(source=self.side, target=target)

    def load(self, split: str) -> ClipDataset:
        """See `SequenceData.load`."""
        clips, num_frames = self._usable(split)
        return ClipDataset(
            [clip.path for clip in clips],
            num_frames=num_frames,
            side=self.side,
            targets=self._targets(clips),
            target_side=self.spec.target,
            seed=self.seed if split == "train" else None,
        )

    def key(self, split: str) -> str:
        """See `SequenceData.key`."""
        if split not in self._keys:
            parts = {
                "data": type(self).__name__,
                "side": asdict(self.side),
                "on_error": self.on_error,
                "seed": self.seed,
                "vocabulary": self._vocabulary_parts(),
                **self.split_parts(split),
            }
            self._keys[split] = cache.fingerprint_of(parts)
        return self._keys[split]

    def split_parts(self, split: str) -> dict[str, object]:
        """Plain values that change whenever the clips of `split` are others."""
        clips = self._listed(split)
        found = [signature_of(clip.path) for clip in clips]
        sizes = [None if signature is None else signature.num_bytes for signature in found]
        listed = [[clip.name, clip.target, size] for clip, size in zip(clips, sizes, strict=True)]
        return {"clips": listed}

    def _vocabulary_parts(self) -> dict[str, object]:
        if self.vocabulary_dir is not None:
            files = sorted(self.vocabulary_dir.glob("*.json"))
            return {file.name: cache.file_digest(file) for file in files}
        return {
            "tokenizer": None if self.tokenizer is None else asdict(self.tokenizer),
            "train": self.split_parts("train"),
        }

    def _checked(self, tokenizer: TokenizerOptions | None) -> TokenizerOptions | None:
        if not self.has_text:
            return None
        if tokenizer is None:
            raise ConfigError("tokenizer=none", "sentences are text", "write tokenizer=word")
        if tokenizer.bpe_dropout:
            raise ConfigError(
                f"tokenizer.bpe_dropout={tokenizer.bpe_dropout}",
                "sentences are cut once",
                "write tokenizer.bpe_dropout=0",
            )
        return tokenizer

    def _dataset(self, split: str) -> ClipDataset:
        assert split in SPLITS
        dataset = self._datasets.get(split)
        assert isinstance(dataset, ClipDataset), "setup comes first"
        return dataset

    def _all(self, split: str) -> list[Clip]:
        if split not in self._clips:
            clips = self.clips(split)
            if not clips:
                raise DataError(f"data.{split}", "the split has no clip", "give it at least one")
            self._clips[split] = clips
        return self._clips[split]

    def _listed(self, split: str) -> list[Clip]:
        """At most so many as are wanted, in the order of the list."""
        clips, most = self._all(split), self.num_examples[split]
        if most is None or most >= len(clips):
            return clips
        rows = np.random.default_rng([self.seed, SPLITS.index(split)]).permutation(len(clips))
        return [clips[row] for row in sorted(rows[:most].tolist())]

    def _usable(self, split: str) -> tuple[list[Clip], np.ndarray]:
        """The clips that can be used, and [N] how many frames of each are looked at."""
        if split not in self._used:
            clips, skip = self._listed(split), self.on_error == "skip"
            paths = [clip.path for clip in clips]
            found = find_clips(paths, folder=self.cache_root, decode=skip)
            good: list[Clip] = []
            counts: list[int] = []
            bad: list[DataError] = []
            for clip, known in zip(clips, found, strict=False):  # an error ends it
                if known.times_s is not None:
                    good.append(clip)
                    counts.append(self.side.sampling.count(known.times_s))
                    continue
                assert known.error is not None
                bad.append(_error_of(clip, known.error))
                if not skip:
                    raise bad[0]
            _report(split, bad, len(clips))
            self._used[split] = good, np.array(counts, dtype=np.int64)
        return self._used[split]

    def _targets(self, clips: Sequence[Clip]) -> np.ndarray | list[np.ndarray]:
        side = self.spec.target
        if isinstance(side, TokenSide):
            rows = side.tokenizer.encode_batch([clip.target for clip in clips])
            return [np.array([*row, EOS_ID], dtype=np.int64) for row in rows]
        assert isinstance(side, ClassSide)
        ids = {name: index for index, name in enumerate(side.names)}
        for clip in clips:
            if clip.target not in ids:
                known = ", ".join(side.names[:20]) + (", ..." if len(side.names) > 20 else "")
                raise DataError(
                    clip.place,
                    f"the class {clip.target} has no training clip",
                    f"use one of {known}",
                )
        return np.array([ids[clip.target] for clip in clips], dtype=np.int64)


def _error_of(clip: Clip, error: DataError) -> DataError:
    """The clip's own error, with the line of the list that names it."""
    if clip.place == str(clip.path):
        return error
    mend = f"{error.instead} (named at {clip.place}; data.on_error=skip leaves such clips out)"
    return DataError(error.value, error.why, mend)


def _report(split: str, bad: Sequence[DataError], num_clips: int) -> None:
    """Names what is left out, once; DataError where nothing is left."""
    if not bad:
        return
    if len(bad) == num_clips:
        raise DataError(
            f"data.{split}", f"none of {num_clips} clips can be used; {bad[0]}", "mend them"
        )
    named = "; ".join(str(error) for error in bad[:MAX_NAMES])
    _log.warning(
        "data.%s: %d of %d clips cannot be used and are left out: %s%s",
        split,
        len(bad),
        num_clips,
        named,
        "; ..." if len(bad) > MAX_NAMES else "",
    )
