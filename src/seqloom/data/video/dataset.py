"""`ClipDataset`: from the rows of a plan to a batch of decoded frames.

The one idea: a clip is opened where a batch is made of it and closed after it, and what chance
decides (frames, crop, colours) comes from a generator of (seed, epoch, row), so that a batch is a
pure function of its key in any process, with any number of workers. Only the number of frames is
known before, for the plan. The price: every epoch decodes anew, unless `features` stand for clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqloom.data.batch import Batch, Values
from seqloom.data.loader import Key
from seqloom.data.spec import Side, VideoSide
from seqloom.data.video.reader import open_clip
from seqloom.sequences import Padded


class ClipDataset:
    """N clips with their targets; an item is a whole batch, asked for by its epoch and rows.

    `features` may be set to a function from a row to float32 [T', ...]: that is then the source of
    the row, and no clip is opened. Lengths stay those of the frames.

    Args:
        paths: of the clips.
        num_frames: [N] int64, how many frames of each are looked at.
        side: how they are looked at.
        targets: [N] int64 class ids, or N rows of token ids that end with the end symbol.
        target_side: what the ids mean.
        seed: of frames and changes by chance; None: evaluation, without chance and with the text of
            targets in the batch.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        num_frames: np.ndarray,
        side: VideoSide,
        targets: np.ndarray | Sequence[np.ndarray],
        target_side: Side,
        seed: int | None,
    ) -> None:
        assert len(paths) == len(num_frames) == len(targets)
        self.paths = list(paths)
        self.features: Callable[[int], Tensor] | None = None
        self._num_frames, self._side = num_frames, side
        self._targets, self._target_side, self._seed = targets, target_side, seed

    def __len__(self) -> int:
        return len(self.paths)

    def lengths(self, epoch: int) -> np.ndarray:
        """See `RowSource.lengths`."""
        if isinstance(self._targets, np.ndarray):
            steps = np.ones(len(self), dtype=np.int64)
        else:
            steps = np.array([len(row) for row in self._targets], dtype=np.int64)
        return np.stack([self._num_frames, steps], axis=1)

    def __getitem__(self, key: Key) -> Batch:
        """Source uint8 [B, T, 3, height, width], or float32 where features are set.

        Raises DataError for a clip that does not decode.
        """
        epoch, rows = key
        numbers = rows.tolist()
        target = self._target(numbers)
        return Batch(
            torch.from_numpy(rows.astype(np.int64)),
            Padded.from_list([self._source(epoch, row) for row in numbers]),
            target,
            tuple(str(self.paths[row]) for row in numbers),
            () if self._seed is not None else self._text(target),
        )

    def _source(self, epoch: int, row: int) -> Tensor:
        if self.features is not None:
            return self.features(row)
        rng = None if self._seed is None else np.random.default_rng([self._seed, epoch, row])
        with open_clip(self.paths[row]) as clip:
            frames = clip.read(self._side.sampling.choose(clip.times_s, rng))
        return self._side.transform(frames, rng)

    def _target(self, rows: list[int]) -> Values:
        if isinstance(self._targets, np.ndarray):
            return torch.from_numpy(self._targets[rows])
        return Padded.from_list([torch.from_numpy(self._targets[row]) for row in rows])

    def _text(self, target: Values) -> tuple[str, ...]:
        values = target.to_list() if isinstance(target, Padded) else list(target)
        return tuple(self._target_side.format(value) for value in values)
