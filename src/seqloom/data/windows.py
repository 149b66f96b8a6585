"""How one long text becomes batches: windows of consecutive steps, planned by position.

A text of N tokens is N - 1 steps: step p reads token p and is to write token p + 1. A plan is a
list of batches of spans, [B, 3] int64 of (first step, number of steps, 1 where the row goes on
where the same row of the batch before ended), or [B, 2] where no row ever goes on.
`StreamBatches` cuts the steps into contiguous rows and walks all rows at once, so that a state can
be carried (truncated back-propagation through time); `WindowBatches` draws windows from anywhere.
Plans are pure functions of (N, seed, epoch, world size); row k belongs to rank k % world size.
The price: a plan is held in memory, 24 bytes a window. Refuses a text that does not fill its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from seqloom.data.batching import Batches
from seqloom.errors import ConfigError


@runtime_checkable
class Windowing(Protocol):
    """A way to cut a text into batches of windows."""

    def spans(self, num_tokens: int, *, seed: int, epoch: int, world_size: int) -> Batches:
        """The batches of one epoch, as many in every epoch, a multiple of `world_size`; batch i is
        for the rank i % world_size.

        Raises ConfigError where the text is too short.
        """
        ...

    def evaluation_spans(self, num_tokens: int, *, world_size: int) -> Batches:
        """Every step exactly once, without chance; each rank has at least one batch, which has no
        row where there are fewer rows than ranks.

        The rows, and so the scores, are the same for any number of processes.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class StreamBatches:
    """Contiguous rows, window after window; each window goes on where the one before ended.

    In an epoch every token but the text's first is written exactly once: a row begins by reading
    the token that the row before wrote last. The last windows may be shorter, by one step less for
    some rows (a row then may have 0). Where they would leave a rank without any step, they are left
    out in training: fewer steps than there are ranks.

    Attributes:
        batch_size: rows of one process.
        window: steps after which the gradient is cut off.
        shift: each epoch begins at another place of the text, which is read as a ring, so that
            windows and rows end elsewhere. The price: one row goes on from the text's end to its
            beginning.
    """

    batch_size: int
    window: int
    shift: bool = False

    def __post_init__(self) -> None:
        _check_positive("batch_size", self.batch_size)
        _check_positive("window", self.window)

    def spans(self, num_tokens: int, *, seed: int, epoch: int, world_size: int) -> Batches:
        """See `Windowing.spans`."""
        num_steps, num_rows = num_tokens - 1, self.batch_size * world_size
        if num_steps < num_rows * self.window:
            raise _too_short(self.batch_size, self.window, num_tokens, world_size)
        offset = 0
        if self.shift:
            offset = int(np.random.default_rng([seed, epoch]).integers(num_steps))
        batches = _walk(num_steps, num_rows, self.window, world_size, offset)
        return batches[: len(batches) - len(batches) % world_size]

    def evaluation_spans(self, num_tokens: int, *, world_size: int) -> Batches:
        """See `Windowing.evaluation_spans`; `batch_size` rows over all processes, fewer where the
        text has fewer windows.
        """
        num_steps = num_tokens - 1
        num_rows = max(1, min(self.batch_size, num_steps // self.window))
        if num_steps < 1:
            raise ConfigError(
                "data", f"the text to evaluate has only {num_tokens} tokens", "give at least 2"
            )
        return _walk(num_steps, num_rows, self.window, world_size, 0)


@dataclass(frozen=True, kw_only=True)
class WindowBatches:
    """Windows drawn from anywhere in the text, each for itself, as many in every epoch.

    Attributes:
        batch_size: windows in a batch.
        window: steps of a window.
        windows_per_epoch: None: as many as would cover the text once.
        carry: an evaluation reads the text through, with its state carried; False: it begins anew
            in each window, as training does.
    """

    batch_size: int
    window: int
    windows_per_epoch: int | None = None
    carry: bool = True

    def __post_init__(self) -> None:
        _check_positive("batch_size", self.batch_size)
        _check_positive("window", self.window)
        if self.windows_per_epoch is not None:
            _check_positive("windows_per_epoch", self.windows_per_epoch)

    def spans(self, num_tokens: int, *, seed: int, epoch: int, world_size: int) -> Batches:
        """See `Windowing.spans`; the last batch may have fewer windows."""
        num_steps = num_tokens - 1
        if num_steps < self.window:
            raise _too_short(1, self.window, num_tokens, 1)
        num_windows = self.windows_per_epoch or -(-num_steps // self.window)
        rng = np.random.default_rng([seed, epoch])
        begins = rng.integers(num_steps - self.window + 1, size=num_windows)
        spans = np.stack([begins, np.full_like(begins, self.window)], axis=1)
        batches = [spans[i : i + self.batch_size] for i in range(0, num_windows, self.batch_size)]
        return batches[: len(batches) - len(batches) % world_size]

    def evaluation_spans(self, num_tokens: int, *, world_size: int) -> Batches:
        """See `Windowing.evaluation_spans`; the rows are those of `StreamBatches`."""
        stream = StreamBatches(batch_size=self.batch_size, window=self.window)
        batches = stream.evaluation_spans(num_tokens, world_size=world_size)
        return batches if self.carry else [spans[:, :2] for spans in batches]


def _walk(num_steps: int, num_rows: int, window: int, world_size: int, offset: int) -> Batches:
    """All steps, in rows whose lengths differ by at most one, the longer ones first; the last
    windows of ranks without a step are left out, but no rank's first.
    """
    shortest, num_longer = divmod(num_steps, num_rows)
    rows = np.arange(num_rows, dtype=np.int64)
    lengths = shortest + (rows < num_longer)
    begins = rows * shortest + np.minimum(rows, num_longer) + offset
    batches = []
    for done in range(0, int(lengths.max()), window):
        spans = np.empty((num_rows, 3), dtype=np.int64)
        spans[:, 0] = (begins + np.minimum(done, lengths)) % num_steps
        spans[:, 1] = np.clip(lengths - done, 0, window)
        spans[:, 2] = done > 0
        batches += [spans[rank::world_size] for rank in range(world_size)]
    while len(batches) > world_size and not batches[-1][:, 1].any():
        batches.pop()
    return batches


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"batching.{name}={value}", "must be positive", "write 1 or more")


def _too_short(batch_size: int, window: int, num_tokens: int, world_size: int) -> ConfigError:
    rows = f"{batch_size * world_size} rows of {window} steps"
    most = (num_tokens - 1) // (window * world_size)
    mend = f"write batching.batch_size={most} or less" if most else "lower batching.window"
    return ConfigError(
        f"batching.batch_size={batch_size} batching.window={window}",
        f"{rows} need {batch_size * world_size * window + 1} tokens, data.train has {num_tokens}",
        f"{mend}, or give more text",
    )
