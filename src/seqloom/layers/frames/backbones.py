"""Encoders of torchvision by name, cut off before they forget where in the frame something was.

What is kept of a network is everything before its last pooling: ResNet, VGG, Inception, MobileNet,
EfficientNet and their relatives for frames; r3d_18, mc3_18 and r2plus1d_18 for volumes. First
weights are random, those of a file (a state dict, read with `weights_only`), or torchvision's own
by name, which need a download; where that is not possible the weights stay random, and the log
says so. Motion is seen by the first convolution, which for six channels starts as two halves of
three.
"""

from __future__ import annotations

import logging
import pickle
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from seqloom.errors import ConfigError, DataError
from seqloom.layers.frames.front import DEVIATION, MEAN, Colour, FrameFront, VolumeFront

_log = logging.getLogger(__name__)

# torchvision knows many more; these keep a map [F, h, w] to the end.
FRAME_FAMILIES = (
    "resnet",
    "resnext",
    "wide_resnet",
    "vgg",
    "inception_v3",
    "mobilenet",
    "efficientnet",
    "convnext",
    "regnet",
)
VOLUME_FAMILIES = ("r3d_18", "mc3_18", "r2plus1d_18")
# Networks whose published weights were trained with other colours than ImageNet's. Inception brings
# frames to them in a first step that is cut off here.
_HALVES: tuple[Colour, Colour] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_KINETICS: tuple[Colour, Colour] = (
    (0.43216, 0.394666, 0.37645),
    (0.22803, 0.22145, 0.216989),
)
COLOURS = {
    "inception_v3": _HALVES,
    "efficientnet_v2_l": _HALVES,
    **dict.fromkeys(VOLUME_FAMILIES, _KINETICS),
}
# Of the classifiers that are cut off, in the names of a file's weights.
HEADS = ("fc.", "classifier.", "AuxLogits.")


class TorchvisionFrames(FrameFront):
    """Frames through a network of `torchvision.models`.

    Args:
        name: of the network, `resnet18`.
        weights: null, a file, or a name that torchvision gives to weights (`DEFAULT`).

    The others are those of `ClipFront`.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None,
        grid: int,
        motion: str,
        max_frames: int,
        checkpointed: bool,
    ) -> None:
        if not name.startswith(FRAME_FAMILIES):
            raise _unknown(name, FRAME_FAMILIES)
        encoder = trunk(name, FRAME_FAMILIES)
        super().__init__(
            encoder=encoder,
            num_channels=_num_channels(encoder, torch.zeros(1, 3, 96, 96)),
            grid=grid,
            motion=motion,
            max_frames=max_frames,
            checkpointed=checkpointed,
        )
        self.name, self.weights = name, weights
        self.use_colours(*COLOURS.get(name, (MEAN, DEVIATION)))
        if motion == "both":
            widen_first(encoder)

    def load_pretrained(self) -> None:
        """See `ClipFront.load_pretrained`."""
        load_weights(self.encoder, self.name, self.weights)


class TorchvisionVolumes(VolumeFront):
    """Clips through a network of `torchvision.models.video`.

    Args:
        name: one of `VOLUME_FAMILIES`.
        weights: null, a file, or a name that torchvision gives to weights (`DEFAULT`).

    The others are those of `ClipFront`.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None,
        grid: int,
        motion: str,
        max_frames: int,
        checkpointed: bool,
    ) -> None:
        if name not in VOLUME_FAMILIES:
            raise _unknown(name, VOLUME_FAMILIES)
        encoder = trunk(name, VOLUME_FAMILIES)
        super().__init__(
            encoder=encoder,
            num_channels=_num_channels(encoder, torch.zeros(1, 3, 16, 64, 64)),
            grid=grid,
            motion=motion,
            max_frames=max_frames,
            checkpointed=checkpointed,
        )
        self.name, self.weights = name, weights
        self.use_colours(*COLOURS.get(name, (MEAN, DEVIATION)))
        if motion == "both":
            widen_first(encoder)

    def load_pretrained(self) -> None:
        """See `ClipFront.load_pretrained`."""
        load_weights(self.encoder, self.name, self.weights)


def trunk(name: str, families: tuple[str, ...]) -> nn.Sequential:
    """The network `name` with random weights, up to its last pooling. Raises ConfigError for one
    that torchvision does not have."""
    try:
        return cut(_network(name))
    except ValueError:
        raise _unknown(name, families) from None


def _network(name: str) -> nn.Module:
    from torchvision import models

    with warnings.catch_warnings():  # of how a later version will draw first weights
        warnings.simplefilter("ignore", FutureWarning)
        return models.get_model(name, weights=None)


def cut(model: nn.Module) -> nn.Sequential:
    """What comes before the last pooling."""
    features = getattr(model, "features", None)
    if isinstance(features, nn.Sequential):
        return features
    children = []
    for name, child in model.named_children():
        if name == "avgpool":
            break
        if name != "AuxLogits":  # Inception's second classifier is no step of the way
            children.append(child)
    return nn.Sequential(*children)


def load_weights(encoder: nn.Module, name: str, weights: str | None) -> None:
    """Puts the weights that `weights` names into the trunk of `name`, as three channels see them.

    Raises:
        ConfigError: torchvision has no weights of that name.
        DataError: a file that is no state dict of this network.
    """
    from torchvision import models

    if weights is None:
        _log.info("frames.name=%s: random first weights", name)
        return
    if Path(weights).expanduser().is_file():
        model = _network(name)
        _load_file(model, Path(weights).expanduser(), name)
    else:
        try:
            known = models.get_model_weights(name)[weights]
        except KeyError:
            names = ", ".join(entry.name for entry in models.get_model_weights(name))
            raise ConfigError(
                f"frames.weights={weights}",
                f"is no file, and no weights of {name}",
                f"name a file, or one of DEFAULT, {names}",
            ) from None
        try:
            model = models.get_model(name, weights=known)
        except OSError as error:  # no network, or no such address
            _log.warning(
                "frames.weights=%s could not be downloaded (%s): random first weights",
                weights,
                error,
            )
            return
    trained = cut(model)
    first = _first_convolution(encoder)
    if first.in_channels == 6:
        widen_first(trained)
    encoder.load_state_dict(trained.state_dict())
    _log.info("frames.name=%s: first weights are %s", name, weights)


def widen_first(encoder: nn.Module) -> None:
    """The first convolution for six channels: two copies of its weights for three, halved, so that
    its outputs keep their size."""
    first = _first_convolution(encoder)
    with torch.no_grad():
        first.weight = nn.Parameter(torch.cat([first.weight, first.weight], dim=1) / 2)
    first.in_channels = 2 * first.in_channels


def _first_convolution(encoder: nn.Module) -> nn.Conv2d | nn.Conv3d:
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            return module
    raise AssertionError("a trunk begins with a convolution")


def _load_file(model: nn.Module, path: Path, name: str) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        # A head may be for other classes than torchvision's; it is cut off, so it need not fit.
        trained = {key: value for key, value in state.items() if not key.startswith(HEADS)}
        missing, unknown = model.load_state_dict(trained, strict=False)
    except (
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
        OSError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        # The first line of torch's own message says nothing where shapes differ; the last one does.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        why = lines[-1].strip() if "state_dict" in lines[0] else lines[0]
        raise DataError(str(path), f"is no state dict of {name} ({why})", "name another") from None
    lacking = [key for key in (*missing, *unknown) if not key.startswith(HEADS)]
    if lacking:
        raise DataError(
            str(path),
            f"is no state dict of {name} ({lacking[0]} and {len(lacking) - 1} others do not fit)",
            "set frames.name to the network that it is of",
        )


def _num_channels(encoder: nn.Module, example: Tensor) -> int:
    was_training = encoder.training
    with torch.no_grad():
        channels = encoder.eval()(example).shape[1]
    encoder.train(was_training)
    return int(channels)


def _unknown(name: str, families: tuple[str, ...]) -> ConfigError:
    return ConfigError(
        f"frames.name={name}", "torchvision has no such encoder", f"use {', '.join(families)}"
    )
