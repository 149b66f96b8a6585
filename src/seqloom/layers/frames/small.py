"""Encoders of our own: a few strided convolutions, for small frames and a CPU.

A block is a convolution of stride 2, a normalisation and a ReLU; each halves the sides of a map.
Group normalisation (Wu and He 2018) is the default: it knows nothing of other clips, so a clip has
the same features alone and in a batch, in training too. The price of few layers: they see small
parts of a frame, so large frames ask for more blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        check_blocks(channels, norm)
        blocks: list[nn.Module] = []
        before = FRAME_CHANNELS.get(motion, 3)
        for number in channels:
            convolution = nn.Conv2d(before, number, 3, stride=2, padding=1, bias=norm == "none")
            blocks += [convolution, _norm(norm, number, nn.BatchNorm2d), nn.ReLU()]
            before = number
        super().__init__(
            encoder=nn.Sequential(*blocks),
            num_channels=before,
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
        check_blocks(channels, norm)
        blocks: list[nn.Module] = []
        before = FRAME_CHANNELS.get(motion, 3)
        for number in channels:
            convolution = nn.Conv3d(
                before, number, 3, stride=(1, 2, 2), padding=1, bias=norm == "none"
            )
            blocks += [convolution, _norm(norm, number, nn.BatchNorm3d), nn.ReLU()]
            before = number
        super().__init__(
            encoder=nn.Sequential(*blocks),
            num_channels=before,
            grid=grid,
            motion=motion,
            max_frames=max_frames,
            checkpointed=checkpointed,
        )


def check_blocks(channels: Sequence[int], norm: str) -> None:
    """Raises ConfigError for no block, a block without channels, an unknown normalisation."""
    if not channels or min(channels) < 1:
        raise ConfigError(
            f"frames.channels={list(channels)}", "no block of channels", "write [32, 64, 128]"
        )
    if norm not in NORMS:
        raise ConfigError(f"frames.norm={norm}", "unknown", f"use {', '.join(NORMS)}")


def _norm(norm: str, num_channels: int, batch_norm: type[nn.Module]) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return batch_norm(num_channels)
    num_groups = max(1, num_channels // GROUP_CHANNELS)
    return nn.GroupNorm(num_groups if num_channels % num_groups == 0 else 1, num_channels)
