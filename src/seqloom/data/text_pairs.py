"""`TextPairs`: the DataModule of problems with text on both sides; its subclasses say where the
text comes from.

Ids and lines stay on disk, as bytes and offsets. Training may leave pairs out by the length policy;
validation and test keep every pair, and their references are the untouched lines.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from seqloom.data import cache
from seqloom.data.batching import Batching
from seqloom.data.buffers import TextBuffer, TokenBuffer
from seqloom.data.length_policy import LengthPolicy
from seqloom.data.loader import FixedTokens, PairDataset, ResegmentedTokens, Tokens
from seqloom.data.prepared import PreparedData
from seqloom.data.spec import DataSpec, TokenSide
from seqloom.data.tokenizers import SegmentationTable, Tokenizer, TokenizerOptions, train_tokenizer
from seqloom.data.vocabulary import save_spec

_log = logging.getLogger(__name__)

ENCODED_AT_ONCE = 20_000


class TextPairs(PreparedData):
    """Pairs of lines as batches of ids.

    Args:
        source_language, target_language: what is read and what is written.
        num_train, num_val, num_test: how many pairs; None is all there are.
        seed: of the order of examples and of BPE dropout.
        num_workers: processes that collate; 0: the training process itself.
        lowercase, normalization: given to the tokenizers; references stay as they are.
        max_source_length, max_target_length, too_long: see `LengthPolicy`.
        cache_dir: see `cache.cache_root`.
        tokenizer: what to train on the training split (both sides of it together when shared).
        batching: how rows become batches.
        vocabulary_dir: a run's saved tokenizers, to be used as they are; none are trained.
    """

    def __init__(
        self,
        *,
        source_language: str,
        target_language: str,
        tokenizer: TokenizerOptions,
        batching: Batching,
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
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            cache_dir=cache_dir,
            vocabulary_dir=vocabulary_dir,
        )
        self.source_language, self.target_language = source_language, target_language
        self.tokenizer = replace(tokenizer, lowercase=lowercase, normalization=normalization)
        self.policy = LengthPolicy(
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            too_long=too_long,
        )
        self._sources: dict[str, dict[str, object]] = {}
        self._texts: dict[str, tuple[TextBuffer, TextBuffer]] = {}  # only while preparing

    @abstractmethod
    def read(self, split: str) -> tuple[TextBuffer, TextBuffer]:
        """The lines of `split` (train, val or test), line i of both a pair."""

    @abstractmethod
    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """Plain values that change whenever `read(split)` would answer something else."""

    def prepare_data(self) -> None:
        """See `PreparedData.prepare_data`."""
        super().prepare_data()
        self._texts.clear()

    def vocabulary_parts(self) -> dict[str, object]:
        """See `PreparedData.vocabulary_parts`."""
        # Dropout cuts words anew, but does not change what is learnt.
        options = asdict(replace(self.tokenizer, bpe_dropout=0.0))
        return {"options": options, "train": self._parts("train")}

    def split_parts(self, split: str) -> dict[str, object]:
        """See `PreparedData.split_parts`."""
        parts: dict[str, object] = {"policy": asdict(self.policy), "text": self._parts(split)}
        if split == "train" and self.tokenizer.bpe_dropout:
            parts["dropout"] = [self.tokenizer.bpe_dropout, self.seed]
        return parts

    def _parts(self, split: str) -> dict[str, object]:
        if split not in self._sources:
            self._sources[split] = self.fingerprint_parts(split)
        return {"pairs": self.num_examples[split], **self._sources[split]}

    def _text(self, split: str) -> tuple[TextBuffer, TextBuffer]:
        if split not in self._texts:
            source, target = self.read(split)
            most = self.num_examples[split]
            if most is not None and len(source) > most:
                source, target = source.take(np.arange(most)), target.take(np.arange(most))
            self._texts[split] = source, target
        return self._texts[split]

    def make_vocabulary(self, folder: Path) -> cache.Facts:
        """See `PreparedData.make_vocabulary`."""
        source, target = self._text("train")
        shared = self.tokenizer.shared
        texts = [chain(source, target)] if shared else [source, target]
        sides = [TokenSide(train_tokenizer(text, self.tokenizer)) for text in texts]
        spec = DataSpec(source=sides[0], target=sides[-1], shared_vocabulary=shared)
        save_spec(spec, folder)
        return {"source": sides[0].vocab_size, "target": sides[-1].vocab_size}

    def make_split(self, split: str, folder: Path, spec: DataSpec) -> cache.Facts:
        """See `PreparedData.make_split`."""
        sides = [side.tokenizer for side in spec.tokens()]
        texts = self._text(split)
        encoded = [_encoded(t, text) for t, text in zip(sides, texts, strict=True)]
        rows, source, target, counts = self.policy.apply(*encoded, split=split)
        source.save(folder, "source")
        target.save(folder, "target")
        for name, tokenizer, text in zip(("source", "target"), sides, texts, strict=True):
            if split != "train":
                text.save(folder, f"{name}_text")
            elif self.tokenizer.bpe_dropout:
                table = SegmentationTable.from_texts(
                    tokenizer, text.take(rows), dropout=self.tokenizer.bpe_dropout, seed=self.seed
                )
                for part, array in table.arrays().items():
                    np.save(folder / f"{name}_table.{part}.npy", array, allow_pickle=False)
        return counts

    def load_split(self, split: str, folder: Path) -> PairDataset:
        """See `PreparedData.load_split`."""
        _log.info(self.policy.describe(split, cache.facts_of(folder)))
        if split == "train":
            return PairDataset(
                self._training_tokens(folder, "source", self.policy.max_source_length),
                self._training_tokens(folder, "target", self.policy.max_target_length),
            )
        return PairDataset(
            FixedTokens(TokenBuffer.load(folder, "source")),
            FixedTokens(TokenBuffer.load(folder, "target")),
            source_text=TextBuffer.load(folder, "source_text"),
            target_text=TextBuffer.load(folder, "target_text"),
        )

    def _training_tokens(self, folder: Path, name: str, max_length: int | None) -> Tokens:
        usual = TokenBuffer.load(folder, name)
        if not self.tokenizer.bpe_dropout:
            return FixedTokens(usual)
        paths = {
            part: folder / f"{name}_table.{part}.npy" for part in SegmentationTable.__annotations__
        }
        table = SegmentationTable.from_arrays(
            {part: np.load(path, mmap_mode="r", allow_pickle=False) for part, path in paths.items()}
        )
        return ResegmentedTokens(table, usual, seed=self.seed, max_length=max_length)


def _encoded(tokenizer: Tokenizer, text: TextBuffer) -> TokenBuffer:
    def rows() -> Iterator[list[int]]:
        lines = iter(text)
        while batch := list(islice(lines, ENCODED_AT_ONCE)):
            yield from tokenizer.encode_batch(batch)

    return TokenBuffer.from_rows(rows())
