"""Small token data without text, and a model that remembers which rows it was trained on."""

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from seqloom.data.batch import Batch
from seqloom.data.batching import Batching, Bucketed, TrainingPlan, WorldBatchSampler, share_out
from seqloom.data.buffers import TokenBuffer
from seqloom.data.loader import FixedTokens, Loader, PairDataset
from seqloom.data.module import SequenceData
from seqloom.sequences import Padded

VOCAB_SIZE = 30


def random_tokens(num_rows: int, seed: int = 0) -> TokenBuffer:
    """Rows of 0 to 12 ids, none of them special."""
    rng = np.random.default_rng(seed)
    return TokenBuffer.from_rows(
        rng.integers(4, VOCAB_SIZE, rng.integers(0, 13)).tolist() for _ in range(num_rows)
    )


def random_pairs(num_rows: int) -> PairDataset:
    """Pairs of unrelated rows."""
    return PairDataset(
        FixedTokens(random_tokens(num_rows)), FixedTokens(random_tokens(num_rows, seed=1))
    )


def training_loader(
    num_rows: int = 26,
    *,
    batching: Batching | None = None,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    fingerprint: str = "same",
) -> Loader:
    """Seven batches an epoch, if nothing else is asked for."""
    pairs = random_pairs(num_rows)
    plan = TrainingPlan(batching or Bucketed(batch_size=4), pairs.lengths, seed=5)
    sampler = WorldBatchSampler(
        lambda epoch: share_out(*plan(epoch), world_size=world_size, uneven="cut"),
        rank=rank,
        world_size=world_size,
    )
    return Loader(pairs, sampler, fingerprint=fingerprint, num_workers=num_workers)


class RowRecorder(LightningModule):
    """A bag of embeddings whose weights depend on every batch and on their order."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(VOCAB_SIZE, 4, generator=generator))
        self.rows: list[list[int]] = []
        self.validated: list[list[int]] = []
        self.tested: list[list[int]] = []

    def _loss(self, batch: Batch) -> Tensor:
        source, target = (self.weight[side.values].mean(dim=1) for side in batch.pair())
        return (source * target.tanh() - 1).square().mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.rows.append(batch.index.tolist())
        return self._loss(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated.append(batch.index.tolist())

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.tested.append(batch.index.tolist())

    def predict_step(self, batch: Batch, batch_idx: int) -> list[int]:
        return batch.index.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def loader(datamodule: SequenceData, split: str) -> Loader:
    """The loader of `train`, `val` or `test`."""
    return getattr(datamodule, f"{split}_dataloader")()


def rows(side: Padded | Tensor) -> list[Tensor]:
    """Each example of a side."""
    return side.to_list() if isinstance(side, Padded) else list(side)


def examples(datamodule: SequenceData, split: str) -> list[tuple[Tensor, Tensor]]:
    """Source and target of every example, in the order of its index."""
    found = {}
    for batch in loader(datamodule, split):
        pairs = zip(rows(batch.source), rows(batch.target), strict=True)
        found |= dict(zip(batch.index.tolist(), pairs, strict=True))
    return [found[i] for i in range(len(found))]
