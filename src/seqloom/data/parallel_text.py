"""`data=parallel_text` and `data=multi30k`: the user's own files, or a known data set that may be
fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from seqloom.data.batching import Batching
from seqloom.data.buffers import TextBuffer
from seqloom.data.cache import cache_root, file_digest
from seqloom.data.downloads import MULTI30K, TEST, Collection, download
from seqloom.data.readers import TABLE_ENDINGS, read_parallel_text
from seqloom.data.text_pairs import TextPairs
from seqloom.data.tokenizers import TokenizerOptions
from seqloom.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """A known data set: its files, and the stems of its splits."""

    collection: Collection
    stems: dict[str, str]


PRESETS = {"multi30k": Preset(MULTI30K, {"train": "train", "val": "val", "test": TEST})}


class ParallelText(TextPairs):
    """Sentence pairs of files; `num_train`, `num_val` and `num_test` are at most so many, the first
    ones.

    Args:
        root: folder of the files; None only with `download`: a folder of the cache.
        train, val, test: file stems under `root` or whole tables, see `readers`; None: the
            preset's.
        preset: a known data set, or None.
        download: fetch the preset's files that `root` lacks.
    """

    def __init__(
        self,
        *,
        source_language: str,
        target_language: str,
        tokenizer: TokenizerOptions,
        batching: Batching,
        root: str | None = None,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        preset: str | None = None,
        download: bool = False,
        num_train: int | None = None,
        num_val: int | None = None,
        num_test: int | None = None,
        seed: int = 1,
        num_workers: int = 0,
        lowercase: bool = False,
        normalization: str = "none",
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        too_long: str = "drop",
        cache_dir: str | None = None,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            source_language=source_language,
            target_language=target_language,
            tokenizer=tokenizer,
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            lowercase=lowercase,
            normalization=normalization,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            too_long=too_long,
            cache_dir=cache_dir,
            vocabulary_dir=vocabulary_dir,
        )
        self._preset = _known(preset)
        self._download = download
        if download and self._preset is None:
            raise ConfigError(
                "data.download=true",
                "only a known data set can be fetched",
                f"set data.preset={' or '.join(PRESETS)}, or data.download=false",
            )
        self._folder_of_files = self._choose_root(root, cache_dir)
        known = self._preset.stems if self._preset else {}
        self._stems = {
            split: _required(split, stem or known.get(split))
            for split, stem in {"train": train, "val": val, "test": test}.items()
        }

    def prepare_data(self) -> None:
        """See `TextPairs.prepare_data`; fetches the files first, if asked to."""
        if self._download and self._preset is not None:
            folder = self._folder_of_files
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".download.lock"):
                download(self._preset.collection, folder)
            self._download = False  # Lightning asks again; the files need no second check
        super().prepare_data()

    def read(self, split: str) -> tuple[TextBuffer, TextBuffer]:
        """See `TextPairs.read`."""
        return read_parallel_text(
            self._folder_of_files,
            self._stems[split],
            source_language=self.source_language,
            target_language=self.target_language,
        )

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """The languages, and name and contents of each file that the split may be read from."""
        stem, languages = self._stems[split], (self.source_language, self.target_language)
        endings = [f".{name}{packed}" for name in languages for packed in ("", ".gz")]
        paths = [self._folder_of_files / f"{stem}{end}" for end in ("", *endings, *TABLE_ENDINGS)]
        files = {path.name: file_digest(path) for path in paths if path.is_file()}
        return {"languages": languages, "stem": stem, "files": files}

    def _choose_root(self, root: str | None, cache_dir: str | None) -> Path:
        if root is not None:
            return Path(root).expanduser()
        if self._download and self._preset is not None:
            return cache_root(cache_dir) / self._preset.collection.name
        raise ConfigError("data.root=null", "the files have no folder", "set data.root=DIR")


def _known(preset: str | None) -> Preset | None:
    if preset is not None and preset not in PRESETS:
        raise ConfigError(
            f"data.preset={preset}", "is no known data set", f"use {', '.join(PRESETS)} or null"
        )
    return PRESETS[preset] if preset else None


def _required(split: str, stem: str | None) -> str:
    if stem is None:
        raise ConfigError(f"data.{split}=null", "the split has no files", f"name data.{split}")
    return stem
