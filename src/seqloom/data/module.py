"""`SequenceData`: what every DataModule is: splits, one loader each, and what they hold.

The one idea: a subclass says what a split holds (`load`), what hash names that (`key`) and what its
sides are (`describe`); plans, ranks, loaders and their resumption are the same for all. A batch is
a pure function of (epoch, plan), see `loader`. One loader serves a whole fit, so that its workers
persist. The price: a subclass that cuts something else than rows overrides the three plans.
Refuses a batching that is not for its kind of data, and more processes than an epoch has
batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn

from seqloom.data import cache
from seqloom.data.batching import (
    Batches,
    Batching,
    TrainingPlan,
    WorldBatchSampler,
    padding_fractions,
    share_out,
)
from seqloom.data.loader import BatchSource, Loader, RowSource
from seqloom.data.ranks import data_rank
from seqloom.data.spec import DataSpec
from seqloom.data.vocabulary import save_spec
from seqloom.data.windows import Windowing
from seqloom.errors import ConfigError

SPLITS = ("train", "val", "test")
# An evaluation with a run's own vocabulary needs nothing but the split that it is about.
SPLIT_OF_EVALUATION = {
    TrainerFn.VALIDATING: "val",
    TrainerFn.TESTING: "test",
}
BATCHINGS: dict[type, str] = {
    Batching: "cuts examples, write batching=bucketed or batching=padded",
    Windowing: "cuts one long text, write batching=stream or batching=windows",
}


class SequenceData(LightningDataModule, ABC):
    """Three splits as batches.

    Args:
        batching: how a split becomes batches.
        num_train, num_val, num_test: how many examples (characters, of one long text); None is all
            there are.
        seed: of everything that is drawn.
        num_workers: processes that collate; 0: the training process itself.
        vocabulary_dir: a run's saved spec (`vocabulary.save_spec`), to be used as it is.
    """

    cut_by: ClassVar[type] = Batching
    """The kind of batching that this data is for, one of `BATCHINGS`."""

    def __init__(
        self,
        *,
        batching: Batching | Windowing,
        num_train: int | None,
        num_val: int | None,
        num_test: int | None,
        seed: int,
        num_workers: int,
        vocabulary_dir: Path | None,
    ) -> None:
        super().__init__()
        if not isinstance(batching, self.cut_by):
            does = BATCHINGS[self.cut_by].split(", ")
            raise ConfigError(
                f"batching: {type(batching).__name__}",
                f"{type(self).__name__} needs one that {does[0]}",
                does[1],
            )
        self.batching, self.seed, self.num_workers = batching, seed, num_workers
        self.num_examples = {"train": num_train, "val": num_val, "test": num_test}
        self.vocabulary_dir = vocabulary_dir
        self._datasets: dict[str, BatchSource] = {}
        self._spec: DataSpec | None = None
        self._loaders: list[Loader] = []
        self._train_loader: Loader | None = None
        for name, number in self.num_examples.items():
            if number is not None and number < 1:
                raise ConfigError(
                    f"data.num_{name}={number}", "is no example at all", "write 1 or more"
                )

    @abstractmethod
    def describe(self) -> DataSpec:
        """Both sides; called once, after `prepare_data`."""

    @abstractmethod
    def load(self, split: str) -> BatchSource:
        """What `split` (train, val or test) holds; called once a split, after `describe`."""

    @abstractmethod
    def key(self, split: str) -> str:
        """A hash that changes whenever `load(split)` would answer something else."""

    @property
    def spec(self) -> DataSpec:
        """Both sides; after `setup`."""
        assert self._spec is not None, "setup comes first"
        return self._spec

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides what the splits hold."""
        return cache.fingerprint_of({split: self.key(split) for split in SPLITS})

    def save_vocabulary(self, folder: Path) -> None:
        """Writes both sides into `folder`, for `vocabulary.load_spec` or `vocabulary_dir`."""
        save_spec(self.spec, folder)

    def setup(self, stage: str | None = None) -> None:
        """Loads what is wanted and not yet there."""
        if self._spec is None:
            self._spec = self.describe()
        for split in self._wanted():
            if split not in self._datasets:
                self._datasets[split] = self.load(split)

    def teardown(self, stage: str) -> None:
        """Ends the worker processes of all loaders."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()
        self._train_loader = None

    def train_dataloader(self) -> Loader:
        """This rank's share of every epoch, the same number of batches on every rank."""
        if self._train_loader is None:
            share = data_rank(self.trainer)
            rank, world_size = share.rank, share.size
            sampler = WorldBatchSampler(
                self.training_plan(world_size), rank=rank, world_size=world_size
            )
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
        """This rank's share of the validation split; every example on exactly one rank."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> Loader:
        """This rank's share of the test split; every example on exactly one rank."""
        return self._evaluation_loader("test")

    def training_plan(self, world_size: int) -> Callable[[int], Batches]:
        """The batches of each epoch, for `WorldBatchSampler`."""
        plan = self._plan_of_rows()
        return lambda epoch: share_out(*plan(epoch), world_size=world_size, uneven="cut")

    def evaluation_plan(self, split: str, world_size: int) -> Batches:
        """The batches of an evaluation, for `WorldBatchSampler`; each rank has at least one, which
        is empty where there are fewer rows than ranks.
        """
        lengths = self._lengths(split)
        assert isinstance(self.batching, Batching)
        batches = self.batching.evaluation_plan(lengths)
        return share_out(batches, lengths, world_size=world_size, uneven="keep")

    def padding_fractions(self) -> dict[str, float]:
        """The part of the training batches' steps that is padding, planned for epoch 0, of every
        side whose lengths differ.
        """
        batches, lengths = self._plan_of_rows()(0)
        shares = padding_fractions(batches, lengths)
        return {
            f"train/{side}_padding": share
            for side, share, steps in zip(("source", "target"), shares, lengths.T, strict=True)
            if steps.min() != steps.max()
        }

    def _plan_of_rows(self) -> TrainingPlan:
        assert isinstance(self.batching, Batching)
        return TrainingPlan(
            self.batching, cast(RowSource, self._datasets["train"]).lengths, seed=self.seed
        )

    def _lengths(self, split: str) -> np.ndarray:
        return cast(RowSource, self._datasets[split]).lengths(0)

    def _wanted(self) -> tuple[str, ...]:
        function = None if self.trainer is None else self.trainer.state.fn
        if self.vocabulary_dir is not None and function in SPLIT_OF_EVALUATION:
            return (SPLIT_OF_EVALUATION[function],)
        return SPLITS

    def _evaluation_loader(self, split: str) -> Loader:
        share = data_rank(self.trainer)
        rank, world_size = share.rank, share.size
        plan = self.evaluation_plan(split, world_size)
        sampler = WorldBatchSampler(lambda _: plan, rank=rank, world_size=world_size)
        return self._loader(split, sampler)

    def _loader(self, split: str, sampler: WorldBatchSampler) -> Loader:
        batching = f"{type(self.batching).__name__} {self.batching} {self.seed}"
        loader = Loader(
            self._datasets[split],
            sampler,
            fingerprint=cache.fingerprint_of({"split": self.key(split), "batching": batching}),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )
        self._loaders.append(loader)
        return loader
