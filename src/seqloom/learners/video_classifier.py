"""`VideoClassifierLearner`: one class for a clip, and beside it what single frames say.

Trained is the likelihood of each clip's class; the classifier of single frames learns from the same
batches, and its gradient ends at the features, so it changes nothing but its own layer. Evaluation
is in float32, as for every class that is shown and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.data.batch import Batch
from seqloom.data.spec import ClassSide, DataSpec, VideoSide
from seqloom.errors import ConfigError
from seqloom.layers.outputs import TokenLoss
from seqloom.learners.answers import Answer, ClipEvidence
from seqloom.learners.base import Learner, Split
from seqloom.learners.class_answers import ranked_classes
from seqloom.learners.clip_reading import ClipReading, FrontTraining
from seqloom.learners.optimization import OptimizerRecipe
from seqloom.learners.schedules import Schedule
from seqloom.learners.sides import check_model, check_output, target_texts
from seqloom.metrics.elements import VideoScores
from seqloom.metrics.prediction import Prediction
from seqloom.sequences import Padded
from seqloom.topologies import FrameAverage, VideoClassifier, Watched


class ModelRecipe(Protocol):
    """What `model=` gives: a model that still lacks its number of classes."""

    def __call__(self, *, target_size: int) -> VideoClassifier | FrameAverage: ...


class VideoClassifierLearner(ClipReading, Learner):
    """The likelihood of each clip's class.

    Args:
        spec: clips on the source's side, classes on the target's.
        model, optimizer: recipes.
        front: how the front is trained.
        label_smoothing: probability mass spread over all classes.
        scheduler, config: see `Learner`.
    """

    model: VideoClassifier | FrameAverage

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: ModelRecipe,
        optimizer: OptimizerRecipe,
        scheduler: Schedule,
        front: FrontTraining,
        label_smoothing: float,
        config: dict[str, Any],
    ) -> None:
        if not (isinstance(spec.source, VideoSide) and isinstance(spec.target, ClassSide)):
            raise ConfigError(
                "learner=video_classifier",
                "this data is not clips with classes",
                "use the task's learner",
            )
        check_model(model, {"video_classifier": VideoClassifier, "frame_average": FrameAverage})
        built = model(target_size=spec.target.vocab_size)
        check_output(built.output, spec.target)
        has_frames = getattr(built, "frame_output", None) is not None
        super().__init__(
            spec=spec,
            model=built,
            scores=(
                VideoScores(num_classes=spec.target.vocab_size, has_frame_answers=has_frames),
                VideoScores(num_classes=spec.target.vocab_size, has_frame_answers=has_frames),
            ),
            optimizer=optimizer,
            scheduler=scheduler,
            config=config,
        )
        self.clips, self.classes = spec.source, spec.target
        self.label_smoothing = label_smoothing
        self.prepare_front(front, spec.source.height, spec.source.width)

    def training_loss(self, batch: Batch) -> TokenLoss:
        source, target = _sides(batch)
        features = self.model.features(source)
        readouts = self.model.classify(features)
        loss = self.model.output.loss(readouts, target, smoothing=self.label_smoothing)
        frame_logits = self.model.frame_logits(features)
        if frame_logits is None:
            return loss
        beside = F.cross_entropy(frame_logits.float(), target, reduction="sum")
        # Adds its gradient and not its value: what is told is the classifier's own loss.
        return TokenLoss(loss.loss + (beside - beside.detach()), loss.nll, loss.num_tokens)

    def evaluate(self, batch: Batch, batch_idx: int, split: Split) -> list[Prediction]:
        source, target = _sides(batch)
        with torch.autocast(self.device.type, enabled=False):
            features = self.model.features(source)
            readouts = self.model.classify(features)
            loss = self.model.output.loss(readouts, target)
            logits, frame_logits = (
                self.model.output.logits(readouts),
                self.model.frame_logits(features),
            )
        scores = self.scores(split)
        assert isinstance(scores, VideoScores)
        scores.update(loss.nll, loss.num_tokens, logits.argmax(dim=-1), target)
        if frame_logits is not None:
            scores.update_frames(frame_logits.argmax(dim=-1), target)
        targets = target_texts(self.classes, batch)
        return [
            Prediction(
                index=int(batch.index[row]),
                input=batch.source_text[row],
                target=targets[row],
                prediction=best.text,
                score=best.score,
                num_input_tokens=int(source.lengths[row]),
            )
            for row, (best,) in enumerate(ranked_classes(self.classes, logits, 1))
        ]

    def clipped_apart(self) -> list[nn.Parameter]:
        """See `Learner.clipped_apart`: the classifier of single frames."""
        layer = getattr(self.model, "frame_output", None)
        return [] if layer is None else list(layer.parameters())

    @torch.inference_mode()
    def answer(self, texts: Sequence[str], num_best: int = 1) -> list[list[Answer]]:
        """The likeliest classes of the clips at the paths `texts`, with their probabilities as
        scores. Expects evaluation mode.

        Raises DataError for a clip that cannot be read.
        """
        if not texts:
            return []
        clips = Padded.from_list([self.clips.parse(text) for text in texts])
        return ranked_classes(self.classes, self._logits(clips), num_best)

    @torch.inference_mode()
    def probabilities(self, frames: Tensor) -> Tensor:
        """Of each class, for one clip's frames [T, 3, height, width] (bytes): [C] float32 on the
        CPU. Expects evaluation mode."""
        clip = Padded(frames.unsqueeze(0), torch.tensor([len(frames)]))
        return self._logits(clip)[0].softmax(dim=-1).cpu()

    def watch(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Chunks [K, 3, height, width] (bytes, K >= 1) of one clip, one after the other -> for each
        the probabilities [K, C] (float32 on the CPU) of the classes after each of its frames, given
        all so far. Needs memory for one chunk. Expects evaluation mode.

        Raises ConfigError for a model that reads both ways or several frames at once.
        """
        self.model.check_forward()
        return self._watch(chunks)

    @torch.inference_mode()
    def evidence(self, texts: Sequence[str]) -> list[ClipEvidence]:
        """How the model saw the clips at the paths `texts`. Expects evaluation mode."""
        return [self._evidence(text) for text in texts]

    def _evidence(self, text: str) -> ClipEvidence:
        times_s, frames = self.clips.read(text)
        clip = Padded(frames.unsqueeze(0).to(self.device), torch.tensor([len(frames)]))
        with torch.autocast(self.device.type, enabled=False):
            outputs = self.model.outputs(self.model.features(clip)).values[0]
            found = self.model.output.logits(outputs).softmax(dim=-1).cpu()
        # A front that sees several frames at once may give fewer steps than there are frames.
        steps = np.arange(len(frames)) * len(found) // len(frames)
        return ClipEvidence(times_s, frames, self.classes.names, found[torch.from_numpy(steps)])

    @torch.inference_mode()
    def _watch(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        before: Watched | None = None
        for frames in chunks:
            with torch.autocast(self.device.type, enabled=False):
                readouts, before = self.model.advance(frames.to(self.device), before)
                found = self.model.output.logits(readouts).softmax(dim=-1).cpu()
            yield found  # outside, so that the caller's own autocast is as it was

    def _logits(self, clips: Padded) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            return self.model.output.logits(self.model(clips.to(self.device)))


def _sides(batch: Batch) -> tuple[Padded, Tensor]:
    assert isinstance(batch.source, Padded)
    assert isinstance(batch.target, Tensor)
    return batch.source, batch.target
