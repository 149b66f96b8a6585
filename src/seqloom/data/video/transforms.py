"""From the pixels of a clip to the pixels that a model reads: cut, resized and, in training,
changed by chance.

The one idea: what chance decides is drawn once a clip, from the generator that is given, so that a
crop does not tremble and a batch is a pure function of its rows. A part of the picture is cut out
and resized, so that nothing is resized that is thrown away. Scaling to numbers is the model's work.
The price: an edge of a cut part does not see the pixels beyond it. Refuses what would give a
picture of no pixels, or one that chance cannot draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqloom.data.video.moving_part import moving_part
from seqloom.errors import ConfigError

RESIZES = ("crop", "stretch", "motion")
MARGIN = 1.2  # the side of a moving part, with what is around it
SHIFT = 0.3  # of its side, that chance moves a moving part by at most, from end to end
WIDEST = 4.0


@dataclass(frozen=True, kw_only=True)
class ClipTransform:
    """What is done to the frames of a clip, all of them alike.

    Attributes:
        height, width: pixels of the answer.
        resize: `crop` (the largest part in the middle that has the shape of the answer) or
            `stretch` (the whole picture, whatever becomes of its shape) or `motion` (the part
            where something moves, see `moving_part`; needs the whole clip).
        crop_scale: in training a part of that part, anywhere in the picture (`motion`: near it,
            and larger too), whose area is a share of it drawn from these two bounds; None: the same
            part as in evaluation.
        flip: how probably left and right change places; not for classes that differ in it.
        invert: how probably bright and dark change places.
        brightness, contrast, saturation: each is multiplied by a factor drawn from 1 - x to 1 + x,
            in this order; 0: unchanged.
        grayscale: three equal channels, also in evaluation.
    """

    height: int = 64
    width: int = 64
    resize: str = "crop"
    crop_scale: Sequence[float] | None = None
    flip: float = 0.0
    invert: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    grayscale: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise self._error(name, "a picture has pixels", "write 1 or more")
        if self.resize not in RESIZES:
            raise self._error("resize", "is not known", f"use {' or '.join(RESIZES)}")
        for name in ("flip", "invert"):
            if not 0 <= getattr(self, name) <= 1:
                raise self._error(name, "is no probability", "write 0 for never, 0.5 for half")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise self._error(name, "the factor would be below 0", "write 0 to 1")
        if self.crop_scale is not None:
            bounds = tuple(self.crop_scale)
            highest = WIDEST if self.resize == "motion" else 1.0
            if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= highest:
                raise self._error(
                    "crop_scale",
                    f"two shares of an area are needed, at most {highest:g}, the smaller first",
                    "write [0.8,1.0], or null for none",
                )
            object.__setattr__(self, "crop_scale", bounds)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator | None) -> Tensor:
        """uint8 [T, 3, height, width], contiguous.

        Args:
            frames: uint8 [T, H, W, 3], T may be 0.
            rng: draws the same number of numbers for every clip; None: evaluation, no chance.
        """
        clip = torch.from_numpy(frames).permute(0, 3, 1, 2)
        chances = None if rng is None else rng.random(8)
        top, left, height, width = self._part(frames, chances)
        clip = clip[:, :, top : top + height, left : left + width]
        if (height, width) != (self.height, self.width):
            clip = self._resized(clip)
        if chances is not None:
            clip = self._coloured(clip, chances[4:7])
            if chances[7] < self.invert:
                clip = 255 - clip
            if chances[3] < self.flip:
                clip = clip.flip(-1)
        if self.grayscale and len(clip):
            from torchvision.transforms.v2 import functional

            clip = functional.rgb_to_grayscale(clip, num_output_channels=3)
        # numpy turns bytes of pixels into planes many times faster than torch does.
        return torch.from_numpy(np.ascontiguousarray(clip.numpy()))

    @property
    def is_random(self) -> bool:
        """Whether training sees other pixels than evaluation."""
        strengths = (self.flip, self.invert, self.brightness, self.contrast, self.saturation)
        return self.crop_scale is not None or any(strengths)

    def _part(self, frames: np.ndarray, chances: np.ndarray | None) -> tuple[int, int, int, int]:
        """Top, left, height and width of what is cut out of each picture."""
        if self.resize == "motion":
            return self._moving(frames, chances)
        height, width = frames.shape[1:3]
        part_height, part_width = height, width
        if self.resize == "crop":
            part_height = min(height, round(width * self.height / self.width))
            part_width = min(width, round(height * self.width / self.height))
        share = (0.5, 0.5)
        if chances is not None and self.crop_scale is not None:
            low, high = self.crop_scale
            side = (low + (high - low) * chances[0]) ** 0.5
            part_height, part_width = round(part_height * side), round(part_width * side)
            share = (chances[1], chances[2])
        part_height, part_width = max(part_height, 1), max(part_width, 1)
        top = min(int(share[0] * (height - part_height + 1)), height - part_height)
        left = min(int(share[1] * (width - part_width + 1)), width - part_width)
        return top, left, part_height, part_width

    def _moving(self, frames: np.ndarray, chances: np.ndarray | None) -> tuple[int, int, int, int]:
        """The part where something moves, in the shape of the answer."""
        height, width = frames.shape[1:3]
        row, column, side = moving_part(frames)
        side *= MARGIN
        if chances is not None and self.crop_scale is not None:
            low, high = self.crop_scale
            row += (chances[1] - 0.5) * SHIFT * side
            column += (chances[2] - 0.5) * SHIFT * side
            side *= (low + (high - low) * chances[0]) ** 0.5
        shorter = min(self.height, self.width)
        part_height = min(height, max(1, round(side * self.height / shorter)))
        part_width = min(width, max(1, round(side * self.width / shorter)))
        top = min(max(0, round(row - part_height / 2)), height - part_height)
        left = min(max(0, round(column - part_width / 2)), width - part_width)
        return top, left, part_height, part_width

    def _resized(self, clip: Tensor) -> Tensor:
        if not len(clip):
            return clip.new_zeros((0, 3, self.height, self.width))
        # Takes seconds to import, which clips of the right size should not wait for.
        from torchvision.transforms.v2 import functional

        return functional.resize(clip, [self.height, self.width], antialias=True)

    def _coloured(self, clip: Tensor, chances: np.ndarray) -> Tensor:
        strengths = (self.brightness, self.contrast, self.saturation)
        if not any(strengths) or not len(clip):
            return clip
        from torchvision.transforms.v2 import functional

        changes = (
            functional.adjust_brightness,
            functional.adjust_contrast,
            functional.adjust_saturation,
        )
        for change, strength, chance in zip(changes, strengths, chances.tolist(), strict=True):
            if strength:
                clip = change(clip, 1 + strength * (2 * chance - 1))
        return clip

    def _error(self, name: str, why: str, instead: str) -> ConfigError:
        value = getattr(self, name)
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = "[" + ",".join(map(str, value)) + "]"
        return ConfigError(f"data.transform.{name}={value}", why, instead)
