"""`ClipFront`: what stands between clips and recurrent layers: a convolutional encoder that
computes real frames and never padding.

Clips of unequal length lie in one `Padded`. A `FrameFront` takes the valid frames of all of them as
one flat batch, in chunks of at most `max_frames`; a `VolumeFront` looks at several frames at once,
so it takes clips of equal length together. Either way no statistic of a normalisation ever sees a
padded frame, and a clip's features do not depend on what it was padded with. What comes out is a
map [F, h, w] a step, averaged over a grid of `grid` x `grid` fields where a vector is wanted.

Frames arrive as bytes and are normalised here, with the mean and deviation of ImageNet's colours
unless the encoder's weights were trained with others (`use_colours`).
`motion` adds what changed since the frame before (Wang et al. 2016 call it RGB difference). A
frozen front stays in evaluation mode and computes without gradients. The price of chunks: batch
normalisation in training mode sees a chunk, not the batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seqloom.errors import ConfigError
from seqloom.sequences import Padded

MOTIONS = ("none", "difference", "both")
Colour = tuple[float, float, float]
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# A difference of two neighbouring frames is small; this gives it about the size of a frame.
DIFFERENCE_SCALE = 4.0


class FrontRecipe(Protocol):
    """What `frames=` gives: a front that is made where its model is."""

    def __call__(self) -> ClipFront: ...


def front_of(recipe: FrontRecipe | None) -> ClipFront:
    """The front that `frames=` gives. Raises ConfigError for none."""
    if recipe is None:
        raise ConfigError("frames=none", "clips need a front", "use frames=small_cnn")
    return recipe()


class ClipFront(nn.Module):
    """Clips to features.

    Args:
        encoder: the convolutional network.
        num_channels: F of its maps.
        grid: fields of a side over which a map is averaged where a vector is wanted; 1: the mean
            of the whole map.
        motion: what the encoder sees: `none` (frames), `difference` (each frame minus the one
            before it, zero at first), `both` (six channels).
        max_frames: frames that are computed at a time.
        checkpointed: the encoder's inside is computed again for the backward pass, not kept.

    Attributes:
        feature_size: of a vector: F * grid * grid.
        frozen: it is not trained now; see above. Set it before `train()` or a step.
        sees_single_frames: a step's features come from one frame alone.
    """

    sees_single_frames = False

    def __init__(
        self,
        *,
        encoder: nn.Module,
        num_channels: int,
        grid: int,
        motion: str,
        max_frames: int,
        checkpointed: bool,
    ) -> None:
        super().__init__()
        if motion not in MOTIONS:
            raise ConfigError(f"frames.motion={motion}", "unknown", f"use {', '.join(MOTIONS)}")
        for name, value in (("grid", grid), ("max_frames", max_frames)):
            if value < 1:
                raise ConfigError(f"frames.{name}={value}", "must be positive", "write 1 or more")
        self.encoder = encoder
        self.num_channels, self.grid, self.motion = num_channels, grid, motion
        self.max_frames, self.checkpointed = max_frames, checkpointed
        self.feature_size = num_channels * grid * grid
        self.frozen = False
        self.use_colours(MEAN, DEVIATION)

    def use_colours(self, mean: Colour, deviation: Colour) -> None:
        """Frames are normalised with these from now on, red, green, blue, of a scale of 0..1. For
        constructors: a checkpoint does not hold them."""
        for name, numbers in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(numbers)[:, None, None], persistent=False)

    def load_pretrained(self) -> None:
        """Takes over weights that the config names; nothing where it names none. For a new run:
        a checkpoint holds all weights."""

    @abstractmethod
    def encoded(self, clips: Padded, *, as_maps: bool) -> Padded:
        """Frames [B, T, 3, H, W] -> see `forward`."""

    def forward(self, clips: Padded, *, as_maps: bool = False) -> Padded:
        """Clips [B, T, 3, H, W], bytes in 0..255 -> vectors [B, T', feature_size], or maps [B, T',
        F, h, w]. What is no bytes is features already, and given back."""
        if clips.values.dtype != torch.uint8:
            return clips
        with torch.no_grad() if self.frozen else nullcontext():
            return self.encoded(clips, as_maps=as_maps)

    def train(self, mode: bool = True) -> Self:
        """A frozen front stays in evaluation mode: its normalisations keep their statistics."""
        return super().train(mode and not self.frozen)

    def check_size(self, height: int, width: int) -> None:
        """Raises ConfigError for frames that are too small for the encoder or its grid."""
        is_training, why = self.training, None
        self.eval()
        try:
            with torch.no_grad():
                black = torch.zeros(1, 8, 3, height, width, dtype=torch.uint8)
                maps = self.forward(Padded(black, torch.tensor([8])), as_maps=True)
            side = min(maps.values.shape[-2:])
            if side < self.grid:
                why = f"its maps have a side of {side}, frames.grid={self.grid} asks for more"
        except RuntimeError as error:
            why = " ".join(str(error).split())
        self.train(is_training)
        if why is not None:
            raise ConfigError(
                f"data.transform: {height} x {width} pixels",
                f"they do not suit this encoder ({why})",
                "set a larger data.transform.height and width, or a smaller frames.grid",
            )

    def inputs(self, frames: Tensor, before: Tensor) -> Tensor:
        """Frames and, of each, the one before it, bytes [..., 3, H, W] -> [..., C, H, W]."""
        seen = self.normalized(frames)
        if self.motion == "none":
            return seen
        change = (seen - self.normalized(before)) * DIFFERENCE_SCALE
        return change if self.motion == "difference" else torch.cat([seen, change], dim=-3)

    def normalized(self, frames: Tensor) -> Tensor:
        assert isinstance(self.mean, Tensor)
        assert isinstance(self.deviation, Tensor)
        return (frames.to(self.mean.dtype) / 255 - self.mean) / self.deviation

    def encode(self, inputs: Tensor) -> Tensor:
        """The encoder, with or without its inside kept."""
        if not (self.checkpointed and self.training and torch.is_grad_enabled()):
            return self.encoder(inputs)
        encoder = self.encoder
        maps = checkpoint(
            encoder,
            inputs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _statistics_kept(encoder)),
        )
        assert isinstance(maps, Tensor)
        return maps

    def reduced(self, maps: Tensor, *, as_maps: bool) -> Tensor:
        """Maps [N, F, h, w] as they are, or as vectors [N, feature_size]."""
        return maps if as_maps else F.adaptive_avg_pool2d(maps, self.grid).flatten(1)


class FrameFront(ClipFront):
    """A front that encodes frame by frame: a step for each frame.

    The arguments are those of `ClipFront`; `encoder` is [N, C, H, W] -> [N, F, h, w].
    """

    @property
    def sees_single_frames(self) -> bool:  # type: ignore[override]
        return self.motion == "none"

    def encoded(self, clips: Padded, *, as_maps: bool) -> Padded:
        """See `ClipFront.encoded`; T' = T."""
        mask = clips.mask()
        frames = clips.values.flatten(0, 1) if clips.is_full else clips.values[mask]
        before = _indices_before(clips.lengths).to(frames.device)
        # Chunks of about equal size: a batch normalisation in training must not meet a lone frame.
        num_chunks = max(1, -(-len(frames) // self.max_frames))
        chunks = torch.arange(len(frames), device=frames.device).tensor_split(num_chunks)
        encoded = torch.cat(
            [
                self.reduced(
                    self.encode(self.inputs(frames[rows], frames[before[rows]])), as_maps=as_maps
                )
                for rows in chunks
            ]
        )
        if clips.is_full:
            return clips.with_values(encoded.reshape(*mask.shape, *encoded.shape[1:]))
        values = encoded.new_zeros(*mask.shape, *encoded.shape[1:])
        values[mask] = encoded
        return clips.with_values(values)


class VolumeFront(ClipFront):
    """A front that sees several frames at once; clips of equal length are computed together.

    The arguments are those of `ClipFront`; `encoder` is [N, C, T, H, W] -> [N, F, T', h, w], where
    T' >= 1 depends on T alone. `max_frames` bounds the frames of the clips of one call; a clip is
    never cut.
    """

    def encoded(self, clips: Padded, *, as_maps: bool) -> Padded:
        """See `ClipFront.encoded`; row i has as many steps as the encoder gives for its length."""
        rows: list[Tensor] = [clips.values.new_empty(0)] * clips.batch_size
        for length in clips.lengths.unique().tolist():
            same = (clips.lengths == length).nonzero().flatten()
            for part in same.split(max(1, self.max_frames // max(length, 1))):
                steps = self._steps(clips.values[part.to(clips.values.device), :length], as_maps)
                for row, features in zip(part.tolist(), steps, strict=True):
                    rows[row] = features
        return Padded.from_list(rows)

    def _steps(self, frames: Tensor, as_maps: bool) -> Tensor:
        """Clips of one length [N, T, 3, H, W] -> [N, T', ...]."""
        before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
        maps = self.encode(self.inputs(frames, before).transpose(1, 2)).transpose(1, 2)
        steps = self.reduced(maps.flatten(0, 1), as_maps=as_maps)
        return steps.reshape(*maps.shape[:2], *steps.shape[1:])


def _indices_before(lengths: Tensor) -> Tensor:
    """[N] for the frames of all clips one after the other: which one comes before each; a first
    frame comes before itself."""
    before = torch.arange(int(lengths.sum())) - 1
    firsts = lengths.cumsum(0) - lengths
    firsts = firsts[lengths > 0]
    before[firsts] = firsts
    return before


@contextmanager
def _statistics_kept(encoder: nn.Module) -> Iterator[None]:
    """Batch normalisations compute as in training, and leave their running statistics alone: the
    first pass has counted the batch."""
    norms: list[Any] = [
        module
        for module in encoder.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    kept = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, kept, counts, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
