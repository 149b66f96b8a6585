"""Which share of the data a process has.

Under most strategies every process has its own. Where several processes hold parts of one model
(tensor parallel, a pipeline), they read the same batches and draw the same random numbers; the
strategy says so by Lightning's `distributed_sampler_kwargs`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning.pytorch import Trainer


@dataclass(frozen=True)
class DataRank:
    """The `rank`-th of `size` shares; `num_holders` processes have the same one."""

    rank: int = 0
    size: int = 1
    num_holders: int = 1


def data_rank(trainer: Trainer | None) -> DataRank:
    """This process's share; without a trainer there is one process."""
    if trainer is None:
        return DataRank()
    shares = trainer.distributed_sampler_kwargs
    if shares is None:
        return DataRank(trainer.global_rank, trainer.world_size)
    size = int(shares["num_replicas"])
    return DataRank(int(shares["rank"]), size, trainer.world_size // size)
