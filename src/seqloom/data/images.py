"""`data=digits` and `data=mnist`: handwritten digits read row by row, or pixel by pixel.

Sequential MNIST is Le, Jaitly & Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified
Linear Units", 2015: 784 steps of one pixel, and with `permuted` in one fixed random order, so that
what lies side by side is far apart. Pictures stay bytes in memory and become 0..1 in a batch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqloom.data.batching import Batching
from seqloom.data.cache import file_digest
from seqloom.data.embedded.digits import HIGHEST, digits
from seqloom.data.examples import ExampleData, Examples, Ragged
from seqloom.data.idx_files import find_idx, read_labelled_images
from seqloom.data.spec import ClassSide, DataSpec, FeatureSide
from seqloom.errors import ConfigError

STEPS = ("rows", "pixels")
NUM_MNIST_VALIDATION = 5000


class Images(ExampleData):
    """Square pictures of ten digits as sequences, and the digit as a class.

    Args:
        steps: `rows` (a step is a row of the picture) or `pixels` (a step is one pixel).
        permuted: the pixels in a random order that `seed` fixes, the same for every picture.
        side: pixels in a row, and rows.

    The others are those of `SequenceData`.
    """

    def __init__(
        self,
        *,
        batching: Batching,
        steps: str,
        permuted: bool,
        side: int,
        num_train: int | None,
        num_val: int | None,
        num_test: int | None,
        seed: int,
        num_workers: int,
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
        if steps not in STEPS:
            raise ConfigError(f"data.steps={steps}", "is not known", f"use {' or '.join(STEPS)}")
        self.steps, self.permuted, self.side = steps, permuted, side

    def sides(self) -> DataSpec:
        """See `ExampleData.sides`."""
        features = self.side if self.steps == "rows" else 1
        return DataSpec(source=FeatureSide(features), target=ClassSide(tuple(map(str, range(10)))))

    def as_examples(self, images: np.ndarray, labels: np.ndarray, highest: int) -> Examples:
        """Pictures [N, side, side] uint8 in 0..highest and labels [N], in the order of steps."""
        pixels = images.reshape(len(images), -1)
        if self.permuted:
            pixels = pixels[:, self.permutation()]
        features = self.side if self.steps == "rows" else 1
        block = pixels.reshape(len(images), -1, features)
        return Examples(Ragged.from_block(block), labels, scale=1 / highest)

    def permutation(self) -> np.ndarray:
        """[side * side] which pixel comes at which place."""
        return np.random.default_rng([self.seed, self.side]).permutation(self.side**2)

    def form(self) -> dict[str, object]:
        """Plain values that say in which form pictures are read."""
        return {"steps": self.steps, "permuted": self.permuted and self.seed}


class Digits(Images):
    """1797 digits of 8 x 8 pixels, see `embedded.digits`; `num_train`, `num_val` and `num_test` are
    at most so many of each split, the first ones.

    The arguments are those of `Images`.
    """

    def __init__(
        self,
        *,
        batching: Batching,
        steps: str = "rows",
        permuted: bool = False,
        num_train: int | None = None,
        num_val: int | None = None,
        num_test: int | None = None,
        seed: int = 1,
        num_workers: int = 0,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            batching=batching,
            steps=steps,
            permuted=permuted,
            side=8,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            vocabulary_dir=vocabulary_dir,
        )

    def make(self, split: str, spec: DataSpec) -> Examples:
        """See `ExampleData.make`."""
        images, labels = digits(split, seed=self.seed)
        most = self.num_examples[split]
        return self.as_examples(images[:most], labels[:most], HIGHEST)

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """See `ExampleData.fingerprint_parts`."""
        return {"seed": self.seed, **self.form()}


class Mnist(Images):
    """MNIST (LeCun et al. 1998) from its four idx files, plain or gzip.

    The last `num_val` of the 60,000 training pictures are for validation; the rest is trained on,
    at most `num_train` of it; the test pictures are tested on, at most `num_test`.

    Args:
        root: folder of train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, each with or without .gz.
        num_val: None: 5000.

    The others are those of `Images`.
    """

    def __init__(
        self,
        *,
        batching: Batching,
        root: str | None,
        steps: str = "rows",
        permuted: bool = False,
        num_train: int | None = None,
        num_val: int | None = NUM_MNIST_VALIDATION,
        num_test: int | None = None,
        seed: int = 1,
        num_workers: int = 0,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            batching=batching,
            steps=steps,
            permuted=permuted,
            side=28,
            num_train=num_train,
            num_val=num_val or NUM_MNIST_VALIDATION,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            vocabulary_dir=vocabulary_dir,
        )
        if root is None:
            raise ConfigError("data.root=null", "the files have no folder", "set data.root=DIR")
        self._folder = Path(root).expanduser()

    def make(self, split: str, spec: DataSpec) -> Examples:
        """See `ExampleData.make`."""
        images, labels = read_labelled_images(*self._files(split), side=self.side)
        if split != "test":
            num_val = self.num_examples["val"] or NUM_MNIST_VALIDATION
            if num_val >= len(images):
                raise ConfigError(
                    f"data.num_val={num_val}",
                    f"there are only {len(images)} pictures to train on and to validate on",
                    "write fewer",
                )
            part = slice(None, -num_val) if split == "train" else slice(-num_val, None)
            images, labels = images[part], labels[part]
        most = self.num_examples[split]
        return self.as_examples(images[:most], labels[:most], 255)

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """See `ExampleData.fingerprint_parts`."""
        files = {path.name: file_digest(path) for path in self._files(split)}
        return {"files": files, "validation": self.num_examples["val"], **self.form()}

    def _files(self, split: str) -> tuple[Path, Path]:
        stem = "t10k" if split == "test" else "train"
        return (
            find_idx(self._folder, f"{stem}-images-idx3-ubyte"),
            find_idx(self._folder, f"{stem}-labels-idx1-ubyte"),
        )
