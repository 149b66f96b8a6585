"""Which rows form a batch, and in which order: planning only, in numpy, before any tensor exists.

The one idea: a plan is a list of batches (arrays of row indices) and a pure function of (lengths,
seed, epoch), so every rank, every worker and every resumed run computes the same one, and no random
state has to be kept. Lengths are padded steps, end symbol included. `share_out` puts a plan into
the order in which ranks walk it, `WorldBatchSampler` is one rank's walk. Plans of one long text are
in `windows`. The price: an epoch's plan is held in memory, 8 bytes a row.
Refuses an example that alone exceeds `max_tokens`, and limits that contradict each other.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from seqloom.errors import ConfigError

_log = logging.getLogger(__name__)

Batches = list[np.ndarray]
"""Each [B] rows; or [B, 2] or [B, 3], see `windows`."""
Uneven = Literal["cut", "keep"]


@runtime_checkable
class Batching(Protocol):
    """A way to cut N rows into batches."""

    @property
    def has_fixed_length(self) -> bool:
        """Whether every epoch of N rows has the same number of batches, whatever the lengths."""
        ...

    def plan(self, lengths: np.ndarray, *, seed: int, epoch: int) -> Batches:
        """The batches of one epoch: row indices (int64), every row exactly once.

        Args:
            lengths: [N, 2] source and target steps of each row, end symbol included.
        """
        ...

    def evaluation_plan(self, lengths: np.ndarray) -> Batches:
        """The same limits without chance: longest sources first, and no row is refused."""
        ...


@dataclass(frozen=True, kw_only=True)
class PaddedBatches:
    """Batches of rows in random order; what bucketing is compared with.

    Attributes:
        batch_size: rows in a batch; the last batch may have fewer.
        max_tokens: instead of `batch_size`, an upper bound of rows x longest sequence of either
            side.
        max_rows: an upper bound of rows beside `max_tokens`.
        longest_first: the costliest batch opens epoch 0, so that memory runs out in the first
            minute or never.
    """

    batch_size: int | None = None
    max_tokens: int | None = None
    max_rows: int | None = None
    longest_first: bool = False

    def __post_init__(self) -> None:
        if (self.batch_size is None) == (self.max_tokens is None):
            raise ConfigError(
                f"batching.batch_size={self.batch_size} batching.max_tokens={self.max_tokens}",
                "exactly one of the two bounds a batch",
                "set one of them and write null for the other",
            )
        for name in ("batch_size", "max_tokens", "max_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"batching.{name}={value}", "must be positive", "write 1 or more")

    @property
    def has_fixed_length(self) -> bool:
        return self.batch_size is not None

    def order(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[N] the rows in the order in which they are cut into batches."""
        return rng.permutation(len(lengths))

    def plan(self, lengths: np.ndarray, *, seed: int, epoch: int) -> Batches:
        """See `Batching.plan`."""
        self._check_fits(lengths)
        rng = np.random.default_rng([seed, epoch])
        batches = self._cut(self.order(lengths, rng), lengths)
        batches = self._arrange(batches, rng)
        if self.longest_first and epoch == 0 and batches:
            costliest = int(padded_steps(batches, lengths).sum(1).argmax())
            batches[0], batches[costliest] = batches[costliest], batches[0]
        return batches

    def evaluation_plan(self, lengths: np.ndarray) -> Batches:
        """See `Batching.evaluation_plan`; a row longer than `max_tokens` is a batch of its own."""
        return self._cut(np.lexsort((-lengths[:, 1], -lengths[:, 0])), lengths)

    def _arrange(self, batches: Batches, rng: np.random.Generator) -> Batches:
        return [batches[i] for i in rng.permutation(len(batches))]

    def _check_fits(self, lengths: np.ndarray) -> None:
        longest = int(lengths.max(initial=0))
        if self.max_tokens is not None and longest > self.max_tokens:
            row, side = np.unravel_index(lengths.argmax(), lengths.shape)
            raise ConfigError(
                f"batching.max_tokens={self.max_tokens}",
                f"the {('source', 'target')[side]} of example {row} alone has {longest} tokens",
                f"set batching.max_tokens={longest} or more, or limit data.max_source_length"
                " and data.max_target_length",
            )

    def _cut(self, order: np.ndarray, lengths: np.ndarray) -> Batches:
        num_rows = len(order)
        most = min(self.batch_size or num_rows, self.max_rows or num_rows)
        if self.max_tokens is None:
            starts = list(range(0, num_rows, max(1, most)))
        else:
            starts = _starts_by_tokens(
                lengths[order].max(axis=1).astype(np.int64), self.max_tokens, most
            )
        return [order[start:end] for start, end in pairwise([*starts, num_rows])]


@dataclass(frozen=True, kw_only=True)
class Bucketed(PaddedBatches):
    """Batches of rows of similar length on both sides, in random order.

    Rows are shuffled and dealt into equal pools of at most `pool_size`. Inside a pool they follow a
    snake: source lengths ascend, and the target lengths of one source length ascend and of the next
    one descend, so that a batch that runs over from one source length to the next still holds
    similar targets. Every second pool runs backwards. Pools and ties differ between epochs, and the
    batches are shuffled.

    Attributes:
        pool_size: larger pools pad less and mix less; null is one pool of everything.
    """

    pool_size: int | None = 16384

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool_size is not None and self.pool_size < 1:
            raise ConfigError(
                f"batching.pool_size={self.pool_size}",
                "must be positive",
                "write 1 or more, or null",
            )

    def order(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `PaddedBatches.order`."""
        rows = rng.permutation(len(lengths))
        num_pools = -(-len(rows) // self.pool_size) if self.pool_size and len(rows) else 1
        pools = [pool[_snake(lengths[pool])] for pool in np.array_split(rows, num_pools)]
        return np.concatenate([pool[::-1] if i % 2 else pool for i, pool in enumerate(pools)])


@dataclass(frozen=True, kw_only=True)
class SortedBatches(PaddedBatches):
    """Batches of rows sorted by source length, shortest first; ties are shuffled."""

    def order(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `PaddedBatches.order`."""
        rows = rng.permutation(len(lengths))
        return rows[np.argsort(lengths[rows, 0], kind="stable")]

    def _arrange(self, batches: Batches, rng: np.random.Generator) -> Batches:
        return batches


def padded_steps(batches: Batches, lengths: np.ndarray) -> np.ndarray:
    """[num_batches, 2] int64: steps that each batch computes on each side, padding included."""
    if not batches:
        return np.zeros((0, 2), dtype=np.int64)
    sizes = np.array([len(batch) for batch in batches], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    longest = np.maximum.reduceat(lengths[np.concatenate(batches)], starts, axis=0)
    return longest.astype(np.int64) * sizes[:, None]


def padding_fractions(batches: Batches, lengths: np.ndarray) -> tuple[float, float]:
    """The part of all source and of all target steps that is padding: (padded - real) / padded."""
    padded = padded_steps(batches, lengths).sum(axis=0)
    real = sum((lengths[batch].sum(axis=0, dtype=np.int64) for batch in batches), np.zeros(2))
    source, target = (padded - real) / np.maximum(padded, 1)
    return float(source), float(target)


def share_out(batches: Batches, lengths: np.ndarray, *, world_size: int, uneven: Uneven) -> Batches:
    """The global plan as the ranks walk it: rank r takes every batch i with i % world_size == r.

    In training (`cut`) the batches of one step, i to i + world_size - 1, are of similar
    cost, so that no rank waits for another; a step stands where the earliest of its batches stood
    in the plan. With world_size 1 the plan is unchanged.

    Args:
        uneven: `cut` leaves out the last batches, so that all ranks get the same number; `keep`
            does not (evaluation), but splits batches as long as there are fewer than ranks. A rank
            without a row gets a batch of none: who had no batch would leave the others waiting.
    """
    if uneven == "keep":
        batches = _split_until(batches, world_size)
        nothing = np.empty(0, dtype=np.int64)
        return batches + [nothing] * (world_size - len(batches))
    batches = batches[: len(batches) - len(batches) % world_size]
    if world_size == 1 or not batches:
        return batches
    cost = padded_steps(batches, lengths).sum(axis=1)
    steps = np.argsort(-cost, kind="stable").reshape(-1, world_size)
    steps = steps[np.argsort(steps.min(axis=1), kind="stable")]
    return [batches[i] for i in steps.reshape(-1)]


class TrainingPlan:
    """The batches of every epoch of a training split, always the same number of them.

    Schedules ask for the number of steps once, and Lightning for the length of an epoch, so it must
    not change. Where lengths decide it (`max_tokens`), every epoch gets that of epoch 0 and one in
    a hundred more: an epoch with fewer has its largest batches halved, and one with still more (not
    seen yet) leaves out the rest, with a warning.

    Args:
        lengths: [N, 2] steps of each row in an epoch, which BPE dropout changes.
    """

    def __init__(
        self, batching: Batching, lengths: Callable[[int], np.ndarray], *, seed: int
    ) -> None:
        self._batching, self._lengths, self._seed = batching, lengths, seed
        self._num_batches: int | None = None

    def __call__(self, epoch: int) -> tuple[Batches, np.ndarray]:
        """The global batches of `epoch`, and the lengths that they were planned by."""
        lengths = self._lengths(epoch)
        batches = self._batching.plan(lengths, seed=self._seed, epoch=epoch)
        if self._batching.has_fixed_length:
            return batches, lengths
        if self._num_batches is None:
            first = batches if epoch == 0 else self._plan_of_epoch_zero()
            self._num_batches = len(first) + -(-len(first) // 100)
        if len(batches) > self._num_batches:
            surplus = len(batches) - self._num_batches
            _log.warning("epoch %d leaves out %d of %d batches", epoch, surplus, len(batches))
        batches = _split_until(batches, self._num_batches, first=1)
        return batches[: self._num_batches], lengths

    def _plan_of_epoch_zero(self) -> Batches:
        return self._batching.plan(self._lengths(0), seed=self._seed, epoch=0)


class WorldBatchSampler:
    """One rank's batches of an epoch; the same number on every rank in training, known before the
    first.

    Its order depends on nothing but the plan, the epoch and its place. Lightning reaches
    `set_epoch` by `.sampler`, and finds no `batch_size` and `drop_last` by which it would rebuild
    the sampler.

    Args:
        plan: the global batches of an epoch, batch i for the rank i % world_size; a pure function.
    """

    def __init__(
        self, plan: Callable[[int], Batches], *, rank: int = 0, world_size: int = 1
    ) -> None:
        assert 0 <= rank < world_size
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.start = 0
        """How many batches an iteration leaves out at the front, until it is set back or the epoch
        is another.
        """
        self._plan = plan
        self._planned: Batches | None = None

    @property
    def sampler(self) -> WorldBatchSampler:
        return self

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iteration; a new one begins at its first batch."""
        if epoch != self.epoch:
            self.epoch, self.start, self._planned = epoch, 0, None

    @property
    def batches(self) -> Batches:
        """This rank's batches of the epoch, all of them."""
        if self._planned is None:
            self._planned = self._plan(self.epoch)[self.rank :: self.world_size]
        return self._planned

    def __len__(self) -> int:
        """Batches in the whole epoch, also when an iteration starts later."""
        return len(self.batches)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.batches[self.start :])


def _snake(lengths: np.ndarray) -> np.ndarray:
    """[N] an order by source length whose target lengths ascend and descend in turn; ties stay as
    they are.
    """
    _, step = np.unique(lengths[:, 0], return_inverse=True)
    target = np.where(step % 2 == 0, lengths[:, 1], -lengths[:, 1])
    return np.lexsort((target, step))


def _starts_by_tokens(longest: np.ndarray, max_tokens: int, max_rows: int) -> list[int]:
    """Where batches begin when each takes rows as long as rows x longest <= max_tokens."""
    starts, start, num_rows = [], 0, len(longest)
    while start < num_rows:
        most = max(1, min(max_rows, max_tokens // max(1, int(longest[start]))))
        padded = np.maximum.accumulate(longest[start : start + most])
        fits = padded * np.arange(1, len(padded) + 1) <= max_tokens
        starts.append(start)
        start += max(1, int(np.count_nonzero(fits)))
    return starts


def _split_until(batches: Batches, num_batches: int, *, first: int = 0) -> Batches:
    """Halves the batch of most rows until there are `num_batches`, or only single rows are left.

    The second half of a batch goes to the end. Batches before index `first` stay whole.
    """
    batches = list(batches)
    by_size = [(-len(batch), i) for i, batch in enumerate(batches) if i >= first]
    heapq.heapify(by_size)
    while len(batches) < num_batches and by_size and by_size[0][0] < -1:
        _, i = heapq.heappop(by_size)
        middle = len(batches[i]) // 2
        batches[i], half = batches[i][:middle], batches[i][middle:]
        heapq.heappush(by_size, (-len(batches[i]), i))
        heapq.heappush(by_size, (-len(half), len(batches)))
        batches.append(half)
    return batches
