"""`TextPairs`: the DataModule of problems with text on both sides; its subclasses say where the
text comes from.

The one idea: everything that can be prepared is prepared once into folders of the cache, named by a
hash of all that they depend on (contents of files, options, tokenizers), one for the vocabulary and
one for each split. A start finds them, maps them into memory and trains; a changed file or option
has another name. Ids and lines stay on disk, as bytes and offsets. The price: each start hashes the
source files once. Training may leave pairs out by the length policy; validation and test keep every
pair, and their references are the untouched lines.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn

from seqloom.data import cache
from seqloom.data.batching import Batching, TrainingPlan, WorldBatchSampler, padding_fractions
from seqloom.data.buffers import TextBuffer, TokenBuffer
from seqloom.data.length_policy import LengthPolicy
from seqloom.data.loader import FixedTokens, Loader, PairDataset, ResegmentedTokens, Tokens
from seqloom.data.spec import DataSpec, TokenSide
from seqloom.data.tokenizers import SegmentationTable, Tokenizer, TokenizerOptions, train_tokenizer
from seqloom.data.vocabulary import load_spec, save_spec
from seqloom.errors import ConfigError

_log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
FORMAT = 1  # of the prepared folders; raise it when their files change
ENCODED_AT_ONCE = 20_000
# An evaluation with a run's own tokenizers needs nothing but the split that it is about.
SPLIT_OF_EVALUATION = {
    TrainerFn.VALIDATING: "val",
    TrainerFn.TESTING: "test",
}


class TextPairs(LightningDataModule):
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
        vocabulary_dir: use the tokenizers in there (`vocabulary.save_spec`) as they are, and train
            none.
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
        super().__init__()
        self.source_language, self.target_language = source_language, target_language
        self.num_pairs = {"train": num_train, "val": num_val, "test": num_test}
        self.seed, self.num_workers = seed, num_workers
        self.tokenizer = replace(tokenizer, lowercase=lowercase, normalization=normalization)
        self.batching = batching
        self.policy = LengthPolicy(
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            too_long=too_long,
        )
        self.vocabulary_dir = vocabulary_dir
        self._root = cache.cache_root(cache_dir)
        self._sources: dict[str, dict[str, object]] = {}
        self._keys: dict[str, str] = {}
        self._texts: dict[str, tuple[TextBuffer, TextBuffer]] = {}  # only while preparing
        self._datasets: dict[str, PairDataset] = {}
        self._spec: DataSpec | None = None
        self._loaders: list[Loader] = []
        self._train_loader: Loader | None = None
        for name, number in self.num_pairs.items():
            if number is not None and number < 1:
                raise ConfigError(
                    f"data.num_{name}={number}", "is no pair at all", "write 1 or more"
                )

    def read(self, split: str) -> tuple[TextBuffer, TextBuffer]:
        """The lines of `split` (train, val or test), line i of both a pair."""
        raise NotImplementedError

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """Plain values that change whenever `read(split)` would answer something else."""
        raise NotImplementedError

    @property
    def spec(self) -> DataSpec:
        """The two vocabularies; after `setup`."""
        assert self._spec is not None, "setup comes first"
        return self._spec

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides what the splits hold: contents, tokenizers, length
        policy.
        """
        return cache.fingerprint_of({split: self._key(split) for split in SPLITS})

    def save_vocabulary(self, folder: Path) -> None:
        """Writes the tokenizers into `folder`, for `vocabulary.load_spec` or `vocabulary_dir`."""
        save_spec(self.spec, folder)

    def prepare_data(self) -> None:
        """Makes the folders that are missing or damaged; one process at a time, the others wait.

        Lightning calls it before every fit and test. The contents of the sources count as they were
        at the first call.
        """
        if self.vocabulary_dir is None:
            cache.ensure(self._vocabulary, self._make_vocabulary)
        for split in self._wanted():
            cache.ensure(self._folder(split), partial(self._make, split))
        self._texts.clear()

    def setup(self, stage: str | None = None) -> None:
        """Maps what `prepare_data` made into memory; again only what is new."""
        if self._spec is None:
            self._spec = load_spec(self._vocabulary)
        for split in self._wanted():
            if split not in self._datasets:
                folder = self._folder(split)
                facts = cache.facts_of(folder)
                _log.info(self.policy.describe(split, facts))
                self._datasets[split] = self._load(split, folder)

    def teardown(self, stage: str) -> None:
        """Ends the worker processes of all loaders."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()
        self._train_loader = None

    def train_dataloader(self) -> Loader:
        """This rank's share of every epoch, the same number of batches on every rank.

        One loader serves a whole fit, however often Lightning asks, so that its workers persist.
        """
        if self._train_loader is None:
            rank, world_size = self._place()
            plan = TrainingPlan(self.batching, self._datasets["train"].lengths, seed=self.seed)
            sampler = WorldBatchSampler(plan, rank=rank, world_size=world_size, uneven="cut")
            if not len(sampler):
                raise ConfigError(
                    f"trainer.devices={world_size}",
                    "there are fewer batches in an epoch than processes",
                    "use fewer, or lower batching.batch_size or batching.max_tokens",
                )
            self._train_loader = self._loader("train", sampler)
        if self.trainer is not None:
            self._train_loader.set_epoch(self.trainer.current_epoch)
        return self._train_loader

    def val_dataloader(self) -> Loader:
        """This rank's share of the validation split; every pair on exactly one rank."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> Loader:
        """This rank's share of the test split; every pair on exactly one rank."""
        return self._evaluation_loader("test")

    def padding_fractions(self) -> dict[str, float]:
        """The part of the training batches' steps that is padding, planned for epoch 0."""
        plan = TrainingPlan(self.batching, self._datasets["train"].lengths, seed=self.seed)
        source, target = padding_fractions(*plan(0))
        return {"train/source_padding": source, "train/target_padding": target}

    @property
    def _vocabulary(self) -> Path:
        return self.vocabulary_dir or self._root / f"vocabulary-{self._vocabulary_key()[:32]}"

    def _folder(self, split: str) -> Path:
        return self._root / f"{split}-{self._key(split)[:32]}"

    def _wanted(self) -> tuple[str, ...]:
        function = None if self.trainer is None else self.trainer.state.fn
        if self.vocabulary_dir is not None and function in SPLIT_OF_EVALUATION:
            return (SPLIT_OF_EVALUATION[function],)
        return SPLITS

    def _parts(self, split: str) -> dict[str, object]:
        if split not in self._sources:
            self._sources[split] = self.fingerprint_parts(split)
        return {"pairs": self.num_pairs[split], **self._sources[split]}

    def _vocabulary_key(self) -> str:
        if "vocabulary" not in self._keys:
            parts: dict[str, object]
            if self.vocabulary_dir is not None:
                files = sorted(self.vocabulary_dir.glob("*.json"))
                parts = {file.name: cache.file_digest(file) for file in files}
            else:
                # Dropout cuts words anew, but does not change what is learnt.
                options = asdict(replace(self.tokenizer, bpe_dropout=0.0))
                parts = {"format": FORMAT, "options": options, "train": self._parts("train")}
            self._keys["vocabulary"] = cache.fingerprint_of(parts)
        return self._keys["vocabulary"]

    def _key(self, split: str) -> str:
        if split not in self._keys:
            parts = {
                "format": FORMAT,
                "vocabulary": self._vocabulary_key(),
                "policy": asdict(self.policy),
                "text": self._parts(split),
            }
            if split == "train" and self.tokenizer.bpe_dropout:
                parts["dropout"] = [self.tokenizer.bpe_dropout, self.seed]
            self._keys[split] = cache.fingerprint_of(parts)
        return self._keys[split]

    def _text(self, split: str) -> tuple[TextBuffer, TextBuffer]:
        if split not in self._texts:
            source, target = self.read(split)
            most = self.num_pairs[split]
            if most is not None and len(source) > most:
                source, target = source.take(np.arange(most)), target.take(np.arange(most))
            self._texts[split] = source, target
        return self._texts[split]

    def _make_vocabulary(self, folder: Path) -> cache.Facts:
        source, target = self._text("train")
        shared = self.tokenizer.shared
        texts = [chain(source, target)] if shared else [source, target]
        sides = [TokenSide(train_tokenizer(text, self.tokenizer)) for text in texts]
        spec = DataSpec(source=sides[0], target=sides[-1], shared_vocabulary=shared)
        save_spec(spec, folder)
        return {"source": spec.source.vocab_size, "target": spec.target.vocab_size}

    def _make(self, split: str, folder: Path) -> cache.Facts:
        spec = load_spec(self._vocabulary)
        sides = spec.source.tokenizer, spec.target.tokenizer
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

    def _load(self, split: str, folder: Path) -> PairDataset:
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

    def _place(self) -> tuple[int, int]:
        return (
            (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        )

    def _evaluation_loader(self, split: str) -> Loader:
        rank, world_size = self._place()
        lengths = self._datasets[split].lengths(0)
        if len(lengths) < world_size:
            # A rank without a batch would skip its evaluation, and the others wait for it for ever.
            raise ConfigError(
                f"trainer.devices={world_size}",
                f"data.{split} has only {len(lengths)} pairs, and each process needs one",
                f"use at most {len(lengths)}",
            )
        plan = self.batching.evaluation_plan(lengths)
        sampler = WorldBatchSampler(
            lambda _: (plan, lengths), rank=rank, world_size=world_size, uneven="keep"
        )
        return self._loader(split, sampler)

    def _loader(self, split: str, sampler: WorldBatchSampler) -> Loader:
        batching = f"{type(self.batching).__name__} {self.batching} {self.seed}"
        loader = Loader(
            self._datasets[split],
            sampler,
            fingerprint=cache.fingerprint_of({"split": self._key(split), "batching": batching}),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )
        self._loaders.append(loader)
        return loader


def _encoded(tokenizer: Tokenizer, text: TextBuffer) -> TokenBuffer:
    def rows() -> Iterator[list[int]]:
        lines = iter(text)
        while batch := list(islice(lines, ENCODED_AT_ONCE)):
            yield from tokenizer.encode_batch(batch)

    return TokenBuffer.from_rows(rows())
