"""`data=text_file`: your own text for a language model, a file a split or one file for all."""

from __future__ import annotations

import logging
from pathlib import Path

from seqloom.data.text_files import find_text, read_text
from seqloom.data.text_stream import TextStream
from seqloom.data.tokenizers import TokenizerOptions
from seqloom.data.windows import Windowing
from seqloom.errors import ConfigError, DataError

_log = logging.getLogger(__name__)

TRAINING_TENTHS = 9  # of one file; the rest is validation


class TextFile(TextStream):
    """Texts of files (see `text_files`), or one file of which the first 90% of the characters are
    for training and the rest for validation. Where no test text is named, the validation text is
    tested on, which the log says.

    Args:
        root: folder of the files; None: `path` alone says where it is.
        path: one file for all splits, instead of `train` and `val`.
        train, val, test: names of files under `root`, with or without their ending.

    The others are those of `TextStream`.
    """

    def __init__(
        self,
        *,
        tokenizer: TokenizerOptions,
        batching: Windowing,
        root: str | None = None,
        path: str | None = None,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        num_train: int | None = None,
        num_val: int | None = None,
        num_test: int | None = None,
        seed: int = 1,
        num_workers: int = 0,
        cache_dir: str | None = None,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
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
        self._names = {"train": train, "val": val, "test": test}
        self._one_file, self._text_root = path, root
        if path is not None and (train or val):
            raise ConfigError(
                f"data.path={path}",
                "one file for all splits, and a file for one of them",
                "write data.path=null, or null for data.train and data.val",
            )
        # A run's own vocabulary is given where only one split may be read.
        for split in () if vocabulary_dir else ("train", "val"):
            self._check_named(split)

    def prepare_data(self) -> None:
        """See `PreparedData.prepare_data`."""
        if self._names["test"] is None and "test" in self._wanted():
            _log.info("data.test=null: the validation text is the test text")
        super().prepare_data()

    def read(self, split: str) -> str:
        """See `TextStream.read`."""
        if split == "test" and self._names["test"] is None:
            return self.read("val")
        self._check_named(split)
        root, name = Path(self._text_root or ".").expanduser(), self._names[split]
        if name is not None:
            return read_text(find_text(root, name))
        path = find_text(root, str(self._one_file))
        text = read_text(path)
        end = len(text) * TRAINING_TENTHS // 10
        if not end:
            raise DataError(str(path), "one character cannot be divided", "give more text")
        return text[:end] if split == "train" else text[end:]

    def _check_named(self, split: str) -> None:
        if self._names[split] is None and self._one_file is None:
            raise ConfigError(
                f"data.{split}=null",
                "the split has no file",
                "set data.path=FILE, or data.root=DIR with data.train and data.val",
            )
        if self._names[split] is not None and self._text_root is None:
            raise ConfigError("data.root=null", "the files have no folder", "set data.root=DIR")
