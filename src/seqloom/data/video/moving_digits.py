"""`data=moving_digits` and `data=moving_captions`: clips that are made, encoded and read as files.

The one idea: what a clip holds depends on (seed, split, number) alone, so that a longer split
begins with the clips of a shorter one. Each split is made once into a folder of the cache, beside a
list (`clips.csv`) that other programs can read too. The price: about ten milliseconds and 20 kB a
clip. Refuses a picture that the codec or the digits do not fit into.
"""

from __future__ import annotations

import csv
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np

from seqloom.data import cache
from seqloom.data.batching import Batching
from seqloom.data.embedded.digits import HIGHEST, digits
from seqloom.data.embedded.moving_digits import MOTIONS, encode_clip, moving_digit
from seqloom.data.embedded.moving_sentences import NAMED_BY, moving_sentence
from seqloom.data.module import SPLITS
from seqloom.data.tokenizers import TokenizerOptions
from seqloom.data.video.clips import Clip
from seqloom.data.video.module import VideoData
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError

FORMAT = 3  # of the made clips; raise it when they change
LIST = "clips.csv"
MIN_SIZE = 32
NUM_EXAMPLES = {"train": 1200, "val": 200, "test": 300}


class MovingDigits(VideoData):
    """One digit that moves; the class is how, one of `embedded.moving_digits.MOTIONS`, all equally
    often.

    Args:
        size: pixels of a side of the picture, even.
        num_train, num_val, num_test: how many clips are made; None: 1200, 200 and 300.

    The others are those of `VideoData`.
    """

    kind: ClassVar[str] = "moving_digits"

    def __init__(
        self,
        *,
        sampling: FrameSampling,
        transform: ClipTransform,
        batching: Batching,
        size: int = 48,
        on_error: str = "raise",
        tokenizer: TokenizerOptions | None = None,
        num_train: int | None = None,
        num_val: int | None = None,
        num_test: int | None = None,
        seed: int = 1,
        num_workers: int = 0,
        cache_dir: str | None = None,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            sampling=sampling,
            transform=transform,
            on_error=on_error,
            tokenizer=tokenizer,
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            cache_dir=cache_dir,
            vocabulary_dir=vocabulary_dir,
        )
        if size < MIN_SIZE or size % 2:
            raise ConfigError(
                f"data.size={size}",
                "the codec halves it, and a digit needs room to move",
                f"write an even number from {MIN_SIZE} on",
            )
        self.size = size
        self._found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def draw(self, split: str, number: int) -> tuple[np.ndarray, str]:
        """The frames uint8 [T, size, size, 3] of clip `number` of the split, and its target."""
        images, _ = self._digits(split)
        motion = MOTIONS[number % len(MOTIONS)]
        return moving_digit(motion, images, size=self.size, rng=self._rng(split, number)), motion

    def clips(self, split: str) -> list[Clip]:
        """See `VideoData.clips`; makes those that are not there."""
        folder = self.cache_root / f"{self.kind}-{split}-{self._made_key(split)[:32]}"
        cache.ensure(folder, partial(self._make, split))
        with (folder / LIST).open(newline="", encoding="ascii") as stream:
            rows = list(islice(csv.reader(stream), 1, None))
        return [Clip(folder / name, target, name, f"{folder / LIST}") for name, target in rows]

    def split_parts(self, split: str) -> dict[str, object]:
        """See `VideoData.split_parts`."""
        return {"made": self._made_key(split)}

    def _made_key(self, split: str) -> str:
        parts = (FORMAT, *self._kind(), split, self.seed, self._number(split), self.size)
        return cache.fingerprint_of({"parts": parts})

    def _kind(self) -> tuple[object, ...]:
        """What clips are made, beside their number and size."""
        return (self.kind,)

    def _number(self, split: str) -> int:
        return self.num_examples[split] or NUM_EXAMPLES[split]

    def _rng(self, split: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(split), number])

    def _digits(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """The digits of the split as [N, 8, 8] float in 0..1, and which they are [N]."""
        if split not in self._found:
            images, labels = digits(split, seed=self.seed)
            self._found[split] = images / HIGHEST, labels
        return self._found[split]

    def _make(self, split: str, folder: Path) -> cache.Facts:
        rows = []
        for number in range(self._number(split)):
            frames, target = self.draw(split, number)
            name = f"{number:06d}.mp4"
            encode_clip(frames, folder / name)
            rows.append((name, target))
        with (folder / LIST).open("w", newline="", encoding="ascii") as stream:
            writer = csv.writer(stream)
            writer.writerow(("path", "label"))
            writer.writerows(rows)
        return {"clips": len(rows)}


class MovingCaptions(MovingDigits):
    """One or two digits that move, and a sentence that says how; see `embedded.moving_sentences`.

    Args:
        named_by: how a sentence names a digit, `colour` or `digit`.
        max_digits: 1 or 2 in a clip.

    The others are those of `MovingDigits`.
    """

    has_text = True
    kind = "moving_captions"

    def __init__(
        self,
        *,
        sampling: FrameSampling,
        transform: ClipTransform,
        batching: Batching,
        named_by: str = "colour",
        max_digits: int = 1,
        size: int = 48,
        on_error: str = "raise",
        tokenizer: TokenizerOptions | None = None,
        num_train: int | None = None,
        num_val: int | None = None,
        num_test: int | None = None,
        seed: int = 1,
        num_workers: int = 0,
        cache_dir: str | None = None,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            sampling=sampling,
            transform=transform,
            batching=batching,
            size=size,
            on_error=on_error,
            tokenizer=tokenizer,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            cache_dir=cache_dir,
            vocabulary_dir=vocabulary_dir,
        )
        if max_digits not in (1, 2):
            raise ConfigError(f"data.max_digits={max_digits}", "is not known", "write 1 or 2")
        if named_by not in NAMED_BY:
            raise ConfigError(
                f"data.named_by={named_by}", "is not known", f"use {' or '.join(NAMED_BY)}"
            )
        self.named_by, self.max_digits = named_by, max_digits

    def draw(self, split: str, number: int) -> tuple[np.ndarray, str]:
        """See `MovingDigits.draw`."""
        images, labels = self._digits(split)
        rng = self._rng(split, number)
        return moving_sentence(
            images,
            labels,
            named_by=self.named_by,
            max_digits=self.max_digits,
            size=self.size,
            rng=rng,
        )

    def _kind(self) -> tuple[object, ...]:
        return (self.kind, self.named_by, self.max_digits)
