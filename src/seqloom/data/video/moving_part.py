"""Where in a clip something moves: the part of the picture that is worth a model's few pixels.

The one idea: what changes between neighbouring frames, summed over the clip and rid of the noise
that is everywhere, is a map of movement; the part holds the middle of its mass, in height and in
width. A person far away thus fills the answer as one close by does. The price: the whole clip must
be known, and a second mover in the background draws the part to itself.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

BLUR = 5  # pixels of a side
NOISE = 1.5  # times the median change, which is taken for noise
TAIL = 0.06  # of the mass on each side, left out
LEAST = 0.3  # of the shorter side of the picture


def moving_part(frames: np.ndarray) -> tuple[float, float, float]:
    """Row and column of the middle, and the side of a square, in pixels, of uint8 [T, H, W, 3].

    The whole height or width, whichever is shorter, where nothing moves or T < 2.
    """
    height, width = frames.shape[1:3]
    shorter = float(min(height, width))
    if len(frames) < 2:
        return height / 2, width / 2, shorter
    grey = torch.from_numpy(frames).float().mean(dim=-1)
    change = (grey[1:] - grey[:-1]).abs().mean(dim=0)
    change = F.avg_pool2d(change[None, None], BLUR, stride=1, padding=BLUR // 2)[0, 0]
    mass = (change - NOISE * change.median()).clamp(min=0) ** 1.5
    if float(mass.sum()) == 0:
        return height / 2, width / 2, shorter
    top, bottom = _middle(mass.sum(dim=1))
    left, right = _middle(mass.sum(dim=0))
    side = max(bottom - top, right - left, LEAST * shorter)
    return (top + bottom) / 2, (left + right) / 2, min(side, shorter)


def _middle(mass: torch.Tensor) -> tuple[int, int]:
    """First and last place of the middle of a distribution [N]."""
    share = mass.cumsum(0) / mass.sum()
    return int((share < TAIL).sum()), int((share < 1 - TAIL).sum())
