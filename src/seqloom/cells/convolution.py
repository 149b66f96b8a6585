"""What the convolutional cells share: convolutions that keep the size of a map, over any number of
leading dimensions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from seqloom.cells.base import State
from seqloom.errors import ConfigError


def convolve(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[..., C, height, width] and [D, C, k, k], k odd -> [..., D, height, width]."""
    flat = F.conv2d(maps.flatten(0, -4), weight, bias, padding=weight.shape[-1] // 2)
    return flat.reshape(*maps.shape[:-3], *flat.shape[1:])


def maps_like(like: Tensor, state: State) -> State:
    """Parts [N, size] spread over the height and width of `like` [..., height, width]."""
    height, width = like.shape[-2:]
    return tuple(part[:, :, None, None].repeat(1, 1, height, width) for part in state)


def check_kernel(kernel_size: int) -> None:
    """Raises:
    ConfigError: a kernel that has no middle.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ConfigError(
            f"cell.kernel_size={kernel_size}", "has no middle", "set an odd number, 1 or more"
        )
