"""`ClipReading`: what learners share whose model begins with a convolutional front: how the front
is trained, and its features apart from the rest.

    joint    the front learns from the start (`unfreeze_at_epoch=0`)
    staged   it is frozen before epoch `unfreeze_at_epoch`, then it learns too
    frozen   it never learns (`unfreeze_at_epoch=null`); its features may then be computed once and
             kept (`features=cached`)

A frozen front computes without gradients and keeps the statistics of its normalisations. It may
have a learning rate of its own. In a staged run its parameters stay known to the optimiser and to
DDP, so nothing is built anew when it begins to learn.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from seqloom.errors import ConfigError
from seqloom.layers.frames import ClipFront
from seqloom.learners.optimization import OwnRate
from seqloom.sequences import Padded

FEATURES = ("computed", "cached")


@dataclass(frozen=True, kw_only=True)
class FrontTraining:
    """How a front is trained.

    Attributes:
        unfreeze_at_epoch: see above.
        lr_factor: its learning rate is so many times the optimiser's.
        features: `computed` for each batch, or `cached`: once for each clip of a frozen front.

    Raises ConfigError for a negative number, and for cached features of a front that learns.
    """

    unfreeze_at_epoch: int | None = 0
    lr_factor: float = 1.0
    features: str = "computed"

    def __post_init__(self) -> None:
        epoch = self.unfreeze_at_epoch
        if epoch is not None and epoch < 0:
            raise ConfigError(
                f"learner.front.unfreeze_at_epoch={epoch}",
                "no epoch has this number",
                "write 0 for the first, null for never",
            )
        if self.lr_factor < 0:
            raise ConfigError(
                f"learner.front.lr_factor={self.lr_factor}", "would climb", "write 0 or more"
            )
        if self.features not in FEATURES:
            raise ConfigError(
                f"learner.front.features={self.features}", "unknown", "use computed or cached"
            )
        if self.features == "cached" and epoch is not None:
            raise ConfigError(
                "learner.front.features=cached",
                "the front learns, so its features change",
                "set learner.front.unfreeze_at_epoch=null, or features=computed",
            )


class ClipReading(LightningModule):
    """The part of a learner that has a front; the other base of its class is a `Learner`.

    Attributes:
        front: the front of the model.
        front_training: how it is trained.
        reads_maps: the model reads maps of the front, not vectors.
    """

    front_training: FrontTraining

    @property
    def front(self) -> ClipFront:
        front = getattr(self.model, "frames", None)
        assert isinstance(front, ClipFront)
        return front

    @property
    def reads_maps(self) -> bool:
        return bool(getattr(self.model, "reads_maps", False))

    @property
    def caches_features(self) -> bool:
        """Features are computed once for each clip, before training."""
        return self.front_training.features == "cached"

    def prepare_front(self, training: FrontTraining, height: int, width: int) -> None:
        """Called once, when the model is built: frames of this size must suit it."""
        self.front_training = training
        self.front.check_size(height, width)
        if training.unfreeze_at_epoch is None:
            self.front.requires_grad_(False)
        self.set_stage(0)

    def set_stage(self, epoch: int) -> None:
        """Freezes the front, or lets it learn, as is right in `epoch`."""
        starts = self.front_training.unfreeze_at_epoch
        frozen = starts is None or epoch < starts
        if frozen != self.front.frozen:
            self.front.frozen = frozen
            self.front.train(self.training)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Each batch, since a run may be resumed in the middle of an epoch.
        self.set_stage(self.current_epoch)

    def load_pretrained(self) -> None:
        """See `Learner.load_pretrained`."""
        self.front.load_pretrained()

    def own_rate(self) -> OwnRate | None:
        """See `Learner.own_rate`."""
        return OwnRate(self.front, self.front_training.lr_factor)

    def feature_key(self) -> str:
        """SHA-256 of all that decides what `features_of` answers, beside the frames."""
        front = self.front
        digest = hashlib.sha256()
        settings = (type(front).__name__, front.grid, front.motion, self.reads_maps)
        digest.update(repr((*settings, str(front.encoder))).encode())
        colours = dict(front.named_buffers(recurse=False))  # in no state dict
        for name, values in sorted({**front.state_dict(), **colours}.items()):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def features_of(self, frames: Tensor) -> Tensor:
        """Frames [T, 3, height, width] (bytes) of one clip -> [T', ...] float32 on the CPU, as a
        model in evaluation reads them."""
        was_training = self.front.training
        self.front.eval()
        clip = Padded(frames.unsqueeze(0).to(self.device), torch.tensor([len(frames)]))
        with torch.autocast(self.device.type, enabled=False):
            features = self.front(clip, as_maps=self.reads_maps).values[0].cpu()
        self.front.train(was_training)
        return features
