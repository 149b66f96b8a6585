"""`share_out`: ranks do equal work in every step, and lose and repeat nothing for it."""

from __future__ import annotations

import numpy as np
import pytest

from seqloom.data.batching import Batching, Bucketed, PaddedBatches, share_out

BATCHINGS = (
    Bucketed(batch_size=64),
    Bucketed(max_tokens=2048),
    Bucketed(max_tokens=4096),
    PaddedBatches(batch_size=64),
)
WORLD_SIZES = (2, 4, 8)


def sentence_lengths(num_rows: int, seed: int = 0) -> np.ndarray:
    """Lengths as of captions: a log-normal bulk, a few four times as long, sides that differ."""
    rng = np.random.default_rng(seed)
    source = np.clip(rng.lognormal(2.75, 0.33, num_rows).astype(np.int64), 3, 60)
    target = np.clip(source + rng.integers(-4, 7, num_rows), 3, None)
    return np.stack([source, target], axis=1)


def cost(batch: np.ndarray, lengths: np.ndarray) -> int:
    """Padded steps of both sides, by their definition."""
    return sum(len(batch) * max(int(lengths[row, side]) for row in batch) for side in (0, 1))


def imbalance(batches: list[np.ndarray], lengths: np.ndarray, world_size: int) -> float:
    """The mean over steps of (max - mean) / mean."""
    steps = [
        [cost(batch, lengths) for batch in batches[i : i + world_size]]
        for i in range(0, len(batches) - world_size + 1, world_size)
    ]
    return float(np.mean([max(step) / np.mean(step) - 1 for step in steps]))


@pytest.mark.parametrize("world_size", WORLD_SIZES)
@pytest.mark.parametrize("batching", BATCHINGS)
def test_ranks_work_equally_in_every_step(batching: Batching, world_size: int) -> None:
    lengths = sentence_lengths(29000)
    plan = batching.plan(lengths, seed=1, epoch=0)
    shared = share_out(plan, lengths, world_size=world_size, uneven="cut")
    random = imbalance(plan, lengths, world_size)
    dealt = imbalance(shared, lengths, world_size)
    # With 8 ranks there are half as many steps, and the one of the longest sentences weighs more.
    assert dealt <= (0.02 if world_size <= 4 else 0.03) < random


@pytest.mark.parametrize("world_size", WORLD_SIZES)
@pytest.mark.parametrize("batching", BATCHINGS)
def test_balancing_loses_less_than_one_step_and_repeats_nothing(
    batching: Batching, world_size: int
) -> None:
    lengths = sentence_lengths(3001)
    plan = batching.plan(lengths, seed=1, epoch=0)
    shared = share_out(plan, lengths, world_size=world_size, uneven="cut")
    planned, given = ({tuple(batch.tolist()) for batch in batches} for batches in (plan, shared))
    assert given <= planned
    assert len(given) == len(shared) == len(plan) // world_size * world_size


def test_balanced_steps_come_in_mixed_order() -> None:
    lengths = sentence_lengths(29000)
    plan = Bucketed(batch_size=64).plan(lengths, seed=1, epoch=0)
    shared = share_out(plan, lengths, world_size=4, uneven="cut")
    costs = [cost(batch, lengths) for batch in shared[::4]]
    ranks = np.argsort(np.argsort(costs))
    assert abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) < 0.3


def test_what_a_cut_leaves_out_differs_between_epochs() -> None:
    lengths = sentence_lengths(1000)
    left_out = []
    for epoch in range(2):
        plan = Bucketed(batch_size=64).plan(lengths, seed=1, epoch=epoch)
        shared = share_out(plan, lengths, world_size=5, uneven="cut")
        given = {int(row) for batch in shared for row in batch}
        left_out.append(set(range(1000)) - given)
    assert left_out[0]
    assert left_out[0] != left_out[1]
