"""Fronts of video models: clips to a sequence of feature maps, or of vectors.

`FrameFront` looks at single frames, `VolumeFront` at several at once. An option of the config group
`frames` is a front with an encoder: one of our own, or one of torchvision's by name.
"""

from seqloom.layers.frames.backbones import TorchvisionFrames, TorchvisionVolumes
from seqloom.layers.frames.front import (
    ClipFront,
    FrameFront,
    FrontRecipe,
    VolumeFront,
    front_of,
)
from seqloom.layers.frames.small import SmallFrames, SmallVolumes

__all__ = [
    "ClipFront",
    "FrameFront",
    "FrontRecipe",
    "SmallFrames",
    "SmallVolumes",
    "TorchvisionFrames",
    "TorchvisionVolumes",
    "VolumeFront",
    "front_of",
]
