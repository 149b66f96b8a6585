"""`EncoderDecoderLearner`: trains a translator on pairs of token sequences.

Any model that reads a source and then writes a target by itself fits: the encoder-decoder, the
plain recurrent network of the measured baseline, the captioner of clips. Training is teacher
forcing or scheduled sampling; validation writes greedily, tests and predictions by the run's own
search, always in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from seqloom.data.batch import Batch
from seqloom.data.spec import DataSpec, TokenSide
from seqloom.errors import ConfigError
from seqloom.layers.outputs import TokenLoss
from seqloom.learners.answers import Answer
from seqloom.learners.base import Learner, Split
from seqloom.learners.optimization import OptimizerRecipe, progress
from seqloom.learners.schedules import Schedule
from seqloom.learners.searching import Search, find
from seqloom.learners.sequence_outputs import sequence_loss
from seqloom.learners.sides import (
    check_model,
    check_output,
    input_texts,
    read,
    size_of,
    target_texts,
)
from seqloom.metrics.prediction import Prediction
from seqloom.metrics.translation import TranslationScores
from seqloom.sequences import EOS_ID
from seqloom.topologies import DelayedSequenceToSequence, EncoderDecoder, VideoCaptioner

Translator = EncoderDecoder | DelayedSequenceToSequence | VideoCaptioner


class TranslatorRecipe(Protocol):
    """What `model=` gives: a model that still lacks its vocabularies."""

    def __call__(
        self,
        *,
        source_size: int,
        reads_ids: bool,
        target_vocab_size: int,
        shared_vocabulary: bool,
    ) -> EncoderDecoder | DelayedSequenceToSequence: ...


class EncoderDecoderLearner(Learner):
    """Teacher forcing (or scheduled sampling) on the target, loss a token of the whole update.

    Args:
        spec: tokens on both sides.
        model, optimizer: recipes.
        search: finds outputs in tests and predictions; validation is greedy.
        label_smoothing: see `LinearCrossEntropy`.
        scheduled_sampling: probability, reached linearly at the end of training, that the decoder
            reads its own last word instead of the right one; 0 is teacher forcing.
        normalize: the update is a mean over `tokens`, or over `sequences` of each one's summed
            loss.
        scheduler, config: see `Learner`.
    """

    model: Translator

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: TranslatorRecipe,
        optimizer: OptimizerRecipe,
        scheduler: Schedule,
        search: Search,
        label_smoothing: float,
        scheduled_sampling: float,
        normalize: str,
        config: dict[str, Any],
    ) -> None:
        if normalize not in ("tokens", "sequences"):
            raise ConfigError(
                f"learner.normalize={normalize}", "unknown", "use tokens or sequences"
            )
        if not isinstance(spec.target, TokenSide):
            raise ConfigError("learner", "this data has no text to write", "use the task's learner")
        translator = self.build_model(spec, model)
        check_output(translator.output, spec.target)
        super().__init__(
            spec=spec,
            model=translator,
            scores=(TranslationScores(), TranslationScores()),
            optimizer=optimizer,
            scheduler=scheduler,
            config=config,
        )
        self.target_side = spec.target
        self.search = search
        self.label_smoothing = label_smoothing
        self.scheduled_sampling = scheduled_sampling
        self.normalize = normalize

    def build_model(self, spec: DataSpec, model: TranslatorRecipe) -> Translator:
        """The model for these sides.

        Raises ConfigError for a source that the learner cannot read.
        """
        if not isinstance(spec.source, TokenSide):
            raise ConfigError(
                "learner=encoder_decoder", "this data is not text to text", "use the task's learner"
            )
        check_model(model, {"encoder_decoder": EncoderDecoder, "plain": DelayedSequenceToSequence})
        return model(
            source_size=spec.source.vocab_size,
            reads_ids=True,
            target_vocab_size=size_of(spec.target),
            shared_vocabulary=spec.shared_vocabulary,
        )

    def training_loss(self, batch: Batch) -> TokenLoss:
        return self._loss(batch, self._sampling(), self.label_smoothing)

    def divisor(self, batch: Batch, loss: TokenLoss) -> int:
        return loss.num_tokens if self.normalize == "tokens" else len(batch.index)

    def evaluate(self, batch: Batch, batch_idx: int, split: Split) -> list[Prediction]:
        loss = self._loss(batch)
        predictions = self._predict(batch, self.search.greedy() if split == "val" else self.search)
        self.scores(split).update(loss.nll, loss.num_tokens, predictions)
        return predictions

    @torch.inference_mode()
    def answer(self, texts: Sequence[str], num_best: int = 1) -> list[list[Answer]]:
        """Translations of each text, the best first. Expects evaluation mode."""
        if not texts:
            return []
        source = read(self.spec.source, texts, with_end=True).to(self.device)
        found = find(self.search, self.model, source, num_best=num_best)
        target = self.target_side
        return [
            [Answer(target.tokenizer.decode(h.tokens), h.score, h.log_prob) for h in hypotheses]
            for hypotheses in found
        ]

    @torch.inference_mode()
    def attention_maps(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """For each text: `input_pieces` [S], `output_pieces` [T], `weights` T x S or none."""
        if not texts:
            return []
        source = read(self.spec.source, texts, with_end=True).to(self.device)
        found = find(self.search, self.model, source, with_attention=True)
        maps = []
        for text, values, (best, *_) in zip(texts, source.to_list(), found, strict=True):
            output = [*best.tokens, EOS_ID] if best.finished else list(best.tokens)
            weights = [list(row[: len(values)]) for row in best.attention]
            num_steps = len(weights[0]) if weights else len(values)
            maps.append(
                {
                    "input_pieces": self.source_pieces(text, values, num_steps),
                    "output_pieces": self.target_side.tokenizer.pieces(output),
                    "weights": weights if any(weights) else [],
                }
            )
        return maps

    def source_pieces(self, text: str, values: Tensor, num_steps: int) -> list[str]:
        """What each of the `num_steps` steps that attention looks at is called, of the source
        `values` that was read from `text`."""
        assert isinstance(self.spec.source, TokenSide)
        return self.spec.source.tokenizer.pieces(values.tolist())

    def _predict(self, batch: Batch, search: Search) -> list[Prediction]:
        source, _ = batch.pair()
        found = find(search, self.model, source)
        inputs, targets = (
            input_texts(self.spec.source, batch),
            target_texts(self.spec.target, batch),
        )
        return [
            Prediction(
                index=int(batch.index[row]),
                input=inputs[row],
                target=targets[row],
                prediction=self.target_side.tokenizer.decode(best.tokens),
                score=best.score,
                num_input_tokens=int(source.lengths[row]),
            )
            for row, (best, *_) in enumerate(found)
        ]

    def _loss(self, batch: Batch, sampling: float = 0.0, smoothing: float = 0.0) -> TokenLoss:
        """Sums over the real target tokens of a batch."""
        source, target = batch.pair()
        readouts, _ = self.model(source, target, sampling)
        return sequence_loss(self.model.output, readouts, target, smoothing=smoothing)

    def _sampling(self) -> float:
        """The probability of scheduled sampling at this update."""
        if not self.scheduled_sampling:
            return 0.0
        return self.scheduled_sampling * progress(self.trainer, self.trainer.global_step)
