"""Encoders of our own: a few strided convolutions, for small frames and a CPU.

A block is a convolution of stride 2, a normalisation and a ReLU; each halves the sides of a map.
Group normalisation (Wu and He 2018) is the default: it knows nothing of other clips, so a clip has
the same features alone and in a batch, in training too. The price of few layers: they see small
parts of a frame, so large frames ask for more blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from seqloom.errors import ConfigError
from seqloom.layers.frames.front import FrameFront, VolumeFront

NORMS = ("group", "batch", "none")
GROUP_CHANNELS = 8
FRAME_CHANNELS = {"none": 3, "difference": 3, "both": 6}


class SmallFrames(FrameFront):
    """Frames through blocks of 2-D convolutions.

    Args:
        channels: of each block, at least one.
        norm: `group`, `batch` or `none`.

    The others are those of `ClipFront`.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        norm: str,
        grid: int,
        motion: str,
        max_frames: int,
        checkpointed: bool,
    ) -> None:
        convolution = partial(nn.Conv2d, kernel_size=3, stride=2, padding=1)
        super().__init__(
            encoder=blocks(channels, norm, motion, convolution, nn.BatchNorm2d),
            num_channels=channels[-1],
            grid=grid,
            motion=motion,
            max_frames=max_frames,
            checkpointed=checkpointed,
        )


class SmallVolumes(VolumeFront):
    """Clips through blocks of 3-D convolutions (Tran et al. 2015), which keep their number of
    steps.

    Args:
        channels: of each block, at least one.
        norm: `group`, `batch` or `none`.

    The others are those of `ClipFront`.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        norm: str,
        grid: int,
        motion: str,
        max_frames: int,
        checkpointed: bool,
    ) -> None:
        convolution = partial(nn.Conv3d, kernel_size=3, stride=(1, 2, 2), padding=1)
        super().__init__(
            encoder=blocks(channels, norm, motion, convolution, nn.BatchNorm3d),
            num_channels=channels[-1],
            grid=grid,
            motion=motion,
            max_frames=max_frames,
            checkpointed=checkpointed,
        )


def blocks(
    channels: Sequence[int],
    norm: str,
    motion: str,
    convolution: Callable[..., nn.Module],
    batch_norm: type[nn.Module],
) -> nn.Sequential:
    """A block for each number of `channels`; the first sees what `motion` gives.

    Raises ConfigError for no block, a block without channels, an unknown normalisation.
    """
    if not channels or min(channels) < 1:
        raise ConfigError(
            f"frames.channels={list(channels)}", "no block of channels", "write [32, 64, 128]"
        )
    if norm not in NORMS:
        raise ConfigError(f"frames.norm={norm}", "unknown", f"use {', '.join(NORMS)}")
    layers: list[nn.Module] = []
    before = FRAME_CHANNELS.get(motion, 3)
    for number in channels:
        layers += [
            convolution(before, number, bias=norm == "none"),
            _norm(norm, number, batch_norm),
            nn.ReLU(),
        ]
        before = number
    return nn.Sequential(*layers)


def _norm(norm: str, num_channels: int, batch_norm: type[nn.Module]) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return batch_norm(num_channels)
    num_groups = max(1, num_channels // GROUP_CHANNELS)
    return nn.GroupNorm(num_groups if num_channels % num_groups == 0 else 1, num_channels)
