"""`VideoCaptionerLearner`: trains a captioner on clips and their sentences.

The idea: an `EncoderDecoderLearner` whose model begins with a front. `model=encoder_decoder` is the
translator behind it, and attention is told over moments of a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqloom.data.spec import DataSpec, TokenSide, VideoSide
from seqloom.errors import ConfigError
from seqloom.layers.frames import FrontRecipe, front_of
from seqloom.learners.answers import ClipEvidence
from seqloom.learners.clip_reading import ClipReading, FrontTraining
from seqloom.learners.encoder_decoder import EncoderDecoderLearner, Translator, TranslatorRecipe
from seqloom.learners.optimization import OptimizerRecipe
from seqloom.learners.schedules import Schedule
from seqloom.learners.searching import Search
from seqloom.learners.sides import check_model
from seqloom.topologies import EncoderDecoder, VideoCaptioner


class VideoCaptionerLearner(ClipReading, EncoderDecoderLearner):
    """See `EncoderDecoderLearner`; of clips.

    Args:
        spec: clips on the source's side, tokens on the target's.
        frames: recipe of the front.
        front: how it is trained.

    The others are those of `EncoderDecoderLearner`.
    """

    model: VideoCaptioner

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: TranslatorRecipe,
        frames: FrontRecipe | None,
        front: FrontTraining,
        optimizer: OptimizerRecipe,
        scheduler: Schedule,
        search: Search,
        label_smoothing: float,
        scheduled_sampling: float,
        normalize: str,
        config: dict[str, Any],
    ) -> None:
        if not isinstance(spec.source, VideoSide):
            raise ConfigError(
                "learner=video_captioner", "this data has no clips", "use the task's learner"
            )
        self._frames = frames
        super().__init__(
            spec=spec,
            model=model,
            optimizer=optimizer,
            scheduler=scheduler,
            search=search,
            label_smoothing=label_smoothing,
            scheduled_sampling=scheduled_sampling,
            normalize=normalize,
            config=config,
        )
        self.clips = spec.source
        self.prepare_front(front, spec.source.height, spec.source.width)

    def build_model(self, spec: DataSpec, model: TranslatorRecipe) -> Translator:
        """See `EncoderDecoderLearner.build_model`."""
        assert isinstance(spec.target, TokenSide)
        check_model(model, {"encoder_decoder": EncoderDecoder})
        frames = front_of(self._frames)
        translator = model(
            source_size=frames.feature_size,
            reads_ids=False,
            target_vocab_size=spec.target.vocab_size,
            shared_vocabulary=False,
        )
        assert isinstance(translator, EncoderDecoder)
        return VideoCaptioner(frames=frames, translator=translator)

    def attention_maps(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """See `EncoderDecoderLearner.attention_maps`. Clip by clip: a front may give fewer steps
        than frames, and beside a longer clip its padding would be told as moments."""
        maps: list[dict[str, Any]] = []
        for text in texts:
            maps += super().attention_maps([text])
        return maps

    def source_pieces(self, text: str, values: Tensor, num_steps: int) -> list[str]:
        """See `EncoderDecoderLearner.source_pieces`: the moments of the clip, in seconds."""
        times_s, _ = self.clips.read(text)
        steps = np.arange(num_steps) * len(times_s) // num_steps
        return [f"{time_s:.2f} s" for time_s in times_s[steps]]

    def evidence(self, texts: Sequence[str]) -> list[ClipEvidence]:
        """The clips at the paths `texts` as the model sees them; no classes."""
        seen = [self.clips.read(text) for text in texts]
        return [ClipEvidence(times, clip, (), torch.zeros(len(clip), 0)) for times, clip in seen]
