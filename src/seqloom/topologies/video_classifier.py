"""`VideoClassifier`: a convolutional front, recurrent layers over its features, one class a clip;
and `FrameAverage`, what it has to beat.

    VideoClassifier   front -> linear layer -> recurrent layers -> pooling over time -> classes
    FrameAverage      front -> linear layer of each frame -> classes of each frame, their logits
                      averaged: what single frames tell, whatever their order

Cells over vectors read a map's mean over a grid; convolutional cells (ConvLSTM, ConvGRU) read whole
maps, and their outputs are averaged over space after the recurrence. Beside the classifier's own
answer stands that of a linear layer which sees each frame's features alone and leaves no trace in
them: how far one comes without time (none for fronts that see several frames at once).

A long clip is watched in chunks of frames: `advance` carries states, the last frame and the pooling
on. Refused for models that read both ways or see several frames at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqloom.cells import State
from seqloom.errors import ConfigError
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.frames import FrameFront, FrontRecipe, front_of
from seqloom.layers.outputs import OutputRecipe
from seqloom.layers.pooling import Pooling
from seqloom.layers.recurrent import CellRecipe, StackOptions, stack_of_layers
from seqloom.sequences import Padded
from seqloom.unrolling import Unrolling


@dataclass(frozen=True)
class Watched:
    """What one chunk of a long clip hands to the next.

    Attributes:
        states: of the recurrent layers, one row.
        last_frame: [1, 3, H, W] bytes.
        pooled: see `Pooling.running`.
    """

    states: list[State]
    last_frame: Tensor
    pooled: Tensor


class VideoClassifier(nn.Module):
    """Clips to one readout a clip, which `output` turns into scores or a loss.

    Args:
        target_size: classes.
        frames: recipe of the front.
        feature_size: E, features (of maps: channels) that the recurrent layers read, by a linear
            layer from the front's.
        hidden_size: H, features (channels) of an output, both directions together.
        num_layers: L.
        bidirectional: layers read both ways, H / 2 each.
        pooling: last, mean, max or attention, see `Pooling`.
        dropout: probability on the front's features, between layers, on outputs.
        locked_dropout: one dropout mask a clip instead of one a step.
        stack, cell, unrolling: the recurrent layers.
        output: recipe of the output layer.

    Attributes:
        reads_maps: the recurrent layers read maps.
    """

    def __init__(
        self,
        *,
        target_size: int,
        frames: FrontRecipe | None,
        feature_size: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        pooling: str,
        dropout: float,
        locked_dropout: bool,
        stack: StackOptions,
        cell: CellRecipe,
        unrolling: Unrolling,
        output: OutputRecipe,
    ) -> None:
        super().__init__()
        if bidirectional and hidden_size % 2:
            raise ConfigError(
                f"model.hidden_size={hidden_size}",
                "two directions share it",
                "set an even number or model.bidirectional=false",
            )
        self.frames = front_of(frames)
        self.dropout = SequenceDropout(probability=dropout, locked=locked_dropout)
        self.stack = stack_of_layers(
            feature_size,
            num_layers,
            cell=cell,
            unrolling=unrolling,
            output_size=hidden_size,
            dropout=self.dropout,
            options=stack,
            bidirectional=bidirectional,
        )
        self.reads_maps = self.stack.reads_maps
        self.projection: nn.Linear | nn.Conv2d = (
            nn.Conv2d(self.frames.num_channels, feature_size, 1)
            if self.reads_maps
            else nn.Linear(self.frames.feature_size, feature_size)
        )
        only_first = stack.bidirectional_layers == "first" and num_layers > 1
        self.reads_both_ways = bidirectional
        self.ends_both_ways = bidirectional and not only_first
        size = self.stack.output_size
        self.pooling = Pooling(kind=pooling, size=size)
        self.output = output(input_size=size, output_size=target_size, embedding=None)
        self.frame_output: nn.Linear | None = None
        if self.frames.sees_single_frames:
            inputs = self.frames.num_channels if self.reads_maps else self.frames.feature_size
            self.frame_output = nn.Linear(inputs, target_size)

    def forward(self, source: Padded) -> Tensor:
        """Clips [B, T, 3, H, W] (bytes), or their features -> readouts [B, R]."""
        return self.classify(self.features(source))

    def features(self, source: Padded) -> Padded:
        """What the front gives: [B, T', F * grid * grid], or maps [B, T', F, h, w]."""
        return self.frames(source, as_maps=self.reads_maps)

    def classify(self, features: Padded) -> Tensor:
        """Features of clips -> readouts [B, R]."""
        outputs = self.outputs(features)
        return self.pooling(outputs, self._last(outputs))

    def outputs(self, features: Padded) -> Padded:
        """Features of clips -> what the recurrent layers give after each step: [B, T', R]."""
        read = features.with_values(self._read(features.values))
        states = self.stack.initial_states(read.values, read.batch_size)
        outputs, _ = self.stack(read, states)
        return outputs.with_values(self.dropout(self._over_space(outputs.values)))

    def frame_logits(self, features: Padded) -> Tensor | None:
        """Scores [B, C] of single frames, averaged over a clip; its gradient ends at the features.
        None where features are not those of single frames."""
        if self.frame_output is None:
            return None
        values = self._over_space(features.values.detach())
        return mean_over_time(features.with_values(self.frame_output(self.dropout(values))))

    def advance(self, frames: Tensor, before: Watched | None) -> tuple[Tensor, Watched]:
        """The next frames [K, 3, H, W] (bytes, K >= 1) of one clip, and what came before (None at
        its start) -> the readout [K, R] that the clip up to each frame has, and what to hand on.
        """
        self.check_forward()
        features = features_of_next(self, frames, before)
        read = features.with_values(self._read(features.values))
        states = self.stack.initial_states(read.values, 1) if before is None else before.states
        outputs, states = self.stack(read, states)
        pooled, handed_on = self.pooling.running(
            self._over_space(outputs.values).squeeze(0), None if before is None else before.pooled
        )
        return pooled, Watched(states, frames[-1:], handed_on)

    def check_forward(self) -> None:
        """Raises ConfigError for a model that cannot watch a clip while it goes on."""
        if self.reads_both_ways:
            raise _cannot_go_on("it reads clips both ways")
        if not isinstance(self.frames, FrameFront):
            raise _cannot_go_on("its front sees several frames at once")

    def _read(self, values: Tensor) -> Tensor:
        """What the first layer reads of features [B, T', ...]."""
        values = self.dropout(values)
        if isinstance(self.projection, nn.Linear):
            return self.dropout(torch.relu(self.projection(values)))
        maps = self.projection(values.flatten(0, 1)).relu()
        return self.dropout(maps.reshape(*values.shape[:2], *maps.shape[1:]))

    def _over_space(self, values: Tensor) -> Tensor:
        """[B, T, F, h, w] -> [B, T, F]; vectors as they are."""
        return values.mean(dim=(-2, -1)) if self.reads_maps else values

    def _last(self, outputs: Padded) -> Tensor:
        """[B, R]: where each direction has read the whole clip."""
        values = outputs.values
        last = outputs.last(values.new_zeros(outputs.batch_size, values.shape[-1]))
        if not self.ends_both_ways:
            return last
        half = values.shape[-1] // 2
        return torch.cat([last[:, :half], values[:, 0, half:]], dim=-1)


class FrameAverage(nn.Module):
    """Clips to one readout a clip: the mean of its frames' readouts, whose logits are the mean of
    the frames' logits, since the output layer is linear.

    Args:
        target_size: classes.
        frames: recipe of the front.
        hidden_size: features of a frame's readout.
        dropout: probability on the front's features and on readouts.
        output: recipe of the output layer.
    """

    reads_maps = False

    def __init__(
        self,
        *,
        target_size: int,
        frames: FrontRecipe | None,
        hidden_size: int,
        dropout: float,
        output: OutputRecipe,
    ) -> None:
        super().__init__()
        self.frames = front_of(frames)
        self.dropout = SequenceDropout(probability=dropout, locked=True)
        self.hidden = nn.Linear(self.frames.feature_size, hidden_size)
        self.pooling = Pooling(kind="mean", size=hidden_size)
        self.output = output(input_size=hidden_size, output_size=target_size, embedding=None)

    def forward(self, source: Padded) -> Tensor:
        """See `VideoClassifier.forward`."""
        return self.classify(self.features(source))

    def features(self, source: Padded) -> Padded:
        """See `VideoClassifier.features`."""
        return self.frames(source)

    def classify(self, features: Padded) -> Tensor:
        """See `VideoClassifier.classify`."""
        outputs = self.outputs(features)
        return self.pooling(outputs, outputs.values[:, 0])

    def outputs(self, features: Padded) -> Padded:
        """Each frame's own readout [B, T', R]."""
        values = torch.relu(self.hidden(self.dropout(features.values)))
        return features.with_values(self.dropout(values))

    def frame_logits(self, features: Padded) -> Tensor | None:
        """None: the model itself is the classifier of single frames."""
        return None

    def advance(self, frames: Tensor, before: Watched | None) -> tuple[Tensor, Watched]:
        """See `VideoClassifier.advance`."""
        self.check_forward()
        features = features_of_next(self, frames, before)
        outputs = self.outputs(features).values.squeeze(0)
        pooled, handed_on = self.pooling.running(outputs, None if before is None else before.pooled)
        return pooled, Watched([], frames[-1:], handed_on)

    def check_forward(self) -> None:
        """See `VideoClassifier.check_forward`."""
        if not isinstance(self.frames, FrameFront):
            raise _cannot_go_on("its front sees several frames at once")


def mean_over_time(steps: Padded) -> Tensor:
    """[B, T, F] -> [B, F]: the mean of the real steps."""
    counts = steps.lengths.clamp(min=1).to(steps.values.device).unsqueeze(1)
    return steps.zeroed().values.sum(dim=1) / counts


def features_of_next(
    model: VideoClassifier | FrameAverage, frames: Tensor, before: Watched | None
) -> Padded:
    """Features [1, K, ...] of the next frames [K, 3, H, W] of a clip; the front sees the one before
    them too."""
    seen = frames if before is None else torch.cat([before.last_frame, frames])
    clip = Padded(seen.unsqueeze(0), torch.tensor([len(seen)]))
    values = model.features(clip).values[:, -len(frames) :]
    return Padded(values, torch.tensor([len(frames)]))


def _cannot_go_on(why: str) -> ConfigError:
    return ConfigError(
        "this run's model", f"{why}, so no state can be carried on", "use whole clips"
    )
