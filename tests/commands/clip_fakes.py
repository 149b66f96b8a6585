"""A clip of greys, and a learner that answers by the greys that it sees."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqloom.cells import LSTM
from seqloom.commands.clips import ClipAnswers, predict_clips
from seqloom.data.spec import ClassSide, DataSpec, VideoSide
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError, DataError
from seqloom.layers.frames import SmallFrames
from seqloom.layers.outputs import Categorical
from seqloom.layers.recurrent import StackOptions
from seqloom.learners import Answer
from seqloom.learners.clip_reading import FrontTraining
from seqloom.learners.schedules import Constant
from seqloom.learners.video_classifier import VideoClassifierLearner
from seqloom.topologies import VideoClassifier
from seqloom.unrolling import Auto

NAMES = ("dark", "bright")
SIDE = VideoSide(FrameSampling(num_frames=4), ClipTransform(height=4, width=4))


class GreyClip:
    """Frame i is flat grey i % 256; a clip that is not whole ends with an error."""

    def __init__(self, num_frames: int, fps: float = 10.0, whole: bool = True) -> None:
        self.times_s = np.arange(num_frames) / fps
        self._whole = whole
        self.num_given, self.is_open = 0, True

    def read(self, indices: np.ndarray) -> np.ndarray:
        return np.stack([self._frame(index) for index in indices.tolist()])

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        for index, time_s in enumerate(self.times_s.tolist()):
            if not self._whole and index == len(self.times_s) - 1:
                raise DataError("bad.mp4", f"frame {index} does not decode", "copy it anew")
            self.num_given += 1
            yield time_s, self._frame(index)

    def close(self) -> None:
        self.is_open = False

    def __enter__(self) -> GreyClip:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _frame(self, index: int) -> np.ndarray:
        return np.full((4, 4, 3), index % 256, np.uint8)


class GreyLearner(nn.Module):
    """The probability of `bright` after frames is the mean of their greys over 255."""

    has_lines = False

    def __init__(self, *, carries: bool = True, held_back: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.batches: list[list[str]] = []
        self.pieces: list[int] = []
        self.windows: list[list[int]] = []
        self._carries, self._held_back = carries, held_back

    def answer(self, paths: Sequence[str], num_best: int = 1) -> list[list[Answer]]:
        self.batches.append(list(paths))
        for path in paths:
            if "bad" in path:
                raise DataError(path, "frame 3 does not decode", "copy it anew")
        answers = [[Answer("bright", 0.75, 0.0), Answer("dark", 0.25, 0.0)] for _ in paths]
        return [found[:num_best] for found in answers]

    def watch(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        if not self._carries:
            raise ConfigError("watch", "reads both ways", "use windows")
        total, number = 0.0, 0
        for chunk in chunks:
            self.pieces.append(len(chunk))
            found = []
            for frame in chunk:
                total, number = total + frame.float().mean().item() / 255, number + 1
                found.append([1 - total / number, total / number])
            yield torch.tensor(found)[self._held_back - 1 :: self._held_back]

    def probabilities(self, frames: Tensor) -> Tensor:
        greys = [int(frame.float().mean()) for frame in frames]
        self.windows.append(greys)
        share = sum(greys) / len(greys) / 255
        return torch.tensor([1 - share, share])

    def feature_key(self) -> str:
        return f"key {self.weight.item()}"

    def features_of(self, frames: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.pieces.append(len(frames))
        return frames.float().mean((1, 2, 3)).unsqueeze(1)


def loaded_run(learner: GreyLearner, target: object = None) -> Any:
    spec = DataSpec(source=SIDE, target=target or ClassSide(NAMES))
    return SimpleNamespace(learner=learner, spec=spec, device=torch.device("cpu"))


def answered(learner: GreyLearner, input_path: str, **options: Any) -> str:
    stream = io.StringIO()
    predict_clips(
        loaded_run(learner), input_path=input_path, output=stream, options=ClipAnswers(**options)
    )
    return stream.getvalue()


def small_learner(side: VideoSide, *, bidirectional: bool = False) -> VideoClassifierLearner:
    """A real one with a small frozen front and random weights, in evaluation mode."""
    torch.manual_seed(3)
    front = partial(
        SmallFrames,
        channels=(4, 8),
        norm="group",
        grid=1,
        motion="difference",
        max_frames=64,
        checkpointed=False,
    )
    model = partial(
        VideoClassifier,
        frames=front,
        feature_size=8,
        hidden_size=8,
        num_layers=1,
        bidirectional=bidirectional,
        pooling="mean",
        dropout=0.0,
        locked_dropout=False,
        stack=StackOptions(),
        cell=LSTM,
        unrolling=Auto(),
        output=Categorical,
    )
    learner = VideoClassifierLearner(
        spec=DataSpec(source=side, target=ClassSide(NAMES)),
        model=model,
        optimizer=torch.optim.Adam,
        scheduler=Constant(warmup_steps=0),
        front=FrontTraining(unfreeze_at_epoch=None, features="cached"),
        label_smoothing=0.0,
        config={},
    )
    return learner.eval()


def write_clip(path: Path, num_frames: int, seed: int) -> Path:
    """A square of random brightness in each frame, 32 x 24, 10 frames a second."""
    import av

    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number in range(num_frames):
            picture = np.zeros((24, 32, 3), np.uint8)
            picture[4:20, number % 16 : number % 16 + 16] = rng.integers(256)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
