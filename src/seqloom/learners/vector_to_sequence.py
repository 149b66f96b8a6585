"""`VectorToSequenceLearner`: a text for a class, or for what a vector or several show.

Scores are those of the right text under teacher forcing: with many right answers (names in the
style of a language) no written text is the wrong one. Equal sources get samples of their own in
evaluation, numbered by the examples' places in the split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from seqloom.data.batch import Batch
from seqloom.data.spec import DataSpec, TokenSide
from seqloom.decoding import SampledSearch
from seqloom.errors import ConfigError
from seqloom.layers.outputs import TokenLoss
from seqloom.learners.answers import Answer
from seqloom.learners.base import Learner, Split
from seqloom.learners.optimization import OptimizerRecipe
from seqloom.learners.schedules import Schedule
from seqloom.learners.searching import Search, find
from seqloom.learners.sequence_outputs import predicted_sequence, sequence_loss
from seqloom.learners.sides import (
    as_sequences,
    check_model,
    check_output,
    has_ids,
    input_texts,
    read,
    size_of,
    target_texts,
)
from seqloom.metrics.elements import StepScores
from seqloom.metrics.prediction import Prediction
from seqloom.sequences import Padded
from seqloom.topologies import VectorToSequence

NUM_SHOWN = 4  # texts that a validation writes; a test writes all


class ModelRecipe(Protocol):
    """What `model=vector_to_sequence` gives: a model that still lacks its sizes."""

    def __call__(
        self, *, source_size: int, reads_ids: bool, target_size: int
    ) -> VectorToSequence: ...


class VectorToSequenceLearner(Learner):
    """The likelihood of each example's tokens.

    Args:
        spec: a value (or several) for each example on the source's side, tokens on the target's.
        model, optimizer: recipes.
        search: finds outputs.
        label_smoothing: see `LinearCrossEntropy`.
        scheduler, config: see `Learner`.
    """

    model: VectorToSequence

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: ModelRecipe,
        optimizer: OptimizerRecipe,
        scheduler: Schedule,
        search: Search,
        label_smoothing: float,
        config: dict[str, Any],
    ) -> None:
        if not isinstance(spec.target, TokenSide):
            raise ConfigError(
                "learner=vector_to_sequence", "this data has no text as target", "use another task"
            )
        check_model(model, {"vector_to_sequence": VectorToSequence})
        built = model(
            source_size=size_of(spec.source),
            reads_ids=has_ids(spec.source),
            target_size=size_of(spec.target),
        )
        check_output(built.output, spec.target)
        names = ("perplexity", "accuracy")
        super().__init__(
            spec=spec,
            model=built,
            scores=(StepScores(names=names), StepScores(names=names)),
            optimizer=optimizer,
            scheduler=scheduler,
            config=config,
        )
        self.search, self.label_smoothing = search, label_smoothing
        self.decode = spec.target.tokenizer.decode

    def training_loss(self, batch: Batch) -> TokenLoss:
        source, target = self._sides(batch)
        readouts, _ = self.model(source, target)
        return sequence_loss(self.model.output, readouts, target, smoothing=self.label_smoothing)

    def evaluate(self, batch: Batch, batch_idx: int, split: Split) -> list[Prediction]:
        source, target = self._sides(batch)
        readouts, _ = self.model(source, target)
        loss = sequence_loss(self.model.output, readouts, target)
        predicted = predicted_sequence(self.model.output, readouts)
        self.scores(split).update(loss.nll, loss.num_tokens, predicted.values, target)
        if split == "test":
            return self._written(batch, source.batch_size)
        return self._written(batch, NUM_SHOWN) if batch_idx == 0 else []

    @torch.inference_mode()
    def answer(self, texts: Sequence[str], num_best: int = 1) -> list[list[Answer]]:
        """Texts for each line (the name of a class, or numbers). Expects evaluation mode."""
        if not texts:
            return []
        source = read(self.spec.source, texts, with_end=False).to(self.device)
        found = find(self.search, self.model, source, num_best=num_best)
        return [
            [Answer(self.decode(h.tokens), h.score, h.log_prob) for h in hypotheses]
            for hypotheses in found
        ]

    def _sides(self, batch: Batch) -> tuple[Padded, Padded]:
        assert isinstance(batch.target, Padded)
        return as_sequences(batch.source, is_ids=has_ids(self.spec.source)), batch.target

    def _written(self, batch: Batch, limit: int) -> list[Prediction]:
        source, _ = self._sides(batch)
        source = source.select(torch.arange(min(limit, source.batch_size)))
        search = self.search
        if isinstance(search, SampledSearch):
            search = search.numbered(batch.index[: source.batch_size])
        inputs = input_texts(self.spec.source, batch)
        targets = target_texts(self.spec.target, batch)
        return [
            Prediction(
                index=int(batch.index[row]),
                input=inputs[row],
                target=targets[row],
                prediction=self.decode(best.tokens),
                score=best.score,
                num_input_tokens=int(source.lengths[row]),
            )
            for row, (best, *_) in enumerate(find(search, self.model, source))
        ]
