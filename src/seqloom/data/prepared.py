"""`PreparedData`: a DataModule whose splits are prepared once, on disk, and mapped into memory.

The one idea: everything that can be prepared is prepared once into folders of the cache, named by a
hash of all that they depend on (contents of files, options, tokenizers), one for the vocabulary and
one for each split. A start finds them, maps them into memory and trains; a changed file or option
has another name. The price: each start hashes the source files once.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from pathlib import Path

from seqloom.data import cache
from seqloom.data.batching import Batching
from seqloom.data.loader import BatchSource
from seqloom.data.module import SequenceData
from seqloom.data.spec import DataSpec
from seqloom.data.vocabulary import load_spec
from seqloom.data.windows import Windowing

FORMAT = 1  # of the prepared folders; raise it when their files change


class PreparedData(SequenceData):
    """Splits in folders of the cache.

    Args:
        cache_dir: see `cache.cache_root`.

    The others are those of `SequenceData`.
    """

    def __init__(
        self,
        *,
        batching: Batching | Windowing,
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
        self._root = cache.cache_root(cache_dir)
        self._keys: dict[str, str] = {}

    @abstractmethod
    def vocabulary_parts(self) -> dict[str, object]:
        """Plain values that change whenever `make_vocabulary` would write something else."""

    @abstractmethod
    def split_parts(self, split: str) -> dict[str, object]:
        """Plain values that change whenever `make_split` would write something else for the same
        vocabulary.
        """

    @abstractmethod
    def make_vocabulary(self, folder: Path) -> cache.Facts:
        """Writes both sides into `folder` (`vocabulary.save_spec`), learnt from the training
        split.
        """

    @abstractmethod
    def make_split(self, split: str, folder: Path, spec: DataSpec) -> cache.Facts:
        """Writes what `load_split` maps."""

    @abstractmethod
    def load_split(self, split: str, folder: Path) -> BatchSource:
        """What `make_split` wrote, mapped into memory."""

    def prepare_data(self) -> None:
        """Makes the folders that are missing or damaged; one process at a time, the others wait.

        Lightning calls it before every fit and test. The contents of the sources count as they were
        at the first call.
        """
        if self.vocabulary_dir is None:
            cache.ensure(self._vocabulary, self.make_vocabulary)
        for split in self._wanted():
            cache.ensure(self._folder(split), partial(self._make, split))

    def describe(self) -> DataSpec:
        """See `SequenceData.describe`."""
        return load_spec(self._vocabulary)

    def load(self, split: str) -> BatchSource:
        """See `SequenceData.load`."""
        return self.load_split(split, self._folder(split))

    def key(self, split: str) -> str:
        """See `SequenceData.key`."""
        if split not in self._keys:
            parts = {"format": FORMAT, "vocabulary": self._vocabulary_key()}
            self._keys[split] = cache.fingerprint_of(parts | self.split_parts(split))
        return self._keys[split]

    @property
    def _vocabulary(self) -> Path:
        return self.vocabulary_dir or self._root / f"vocabulary-{self._vocabulary_key()[:32]}"

    def _folder(self, split: str) -> Path:
        return self._root / f"{split}-{self.key(split)[:32]}"

    def _vocabulary_key(self) -> str:
        if "vocabulary" not in self._keys:
            parts: dict[str, object]
            if self.vocabulary_dir is not None:
                files = sorted(self.vocabulary_dir.glob("*.json"))
                parts = {file.name: cache.file_digest(file) for file in files}
            else:
                parts = {"format": FORMAT, **self.vocabulary_parts()}
            self._keys["vocabulary"] = cache.fingerprint_of(parts)
        return self._keys["vocabulary"]

    def _make(self, split: str, folder: Path) -> cache.Facts:
        return self.make_split(split, folder, load_spec(self._vocabulary))
