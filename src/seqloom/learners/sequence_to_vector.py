"""`SequenceToVectorLearner`: one class, or one vector of numbers, for a whole sequence.

Evaluation is in float32: a class is also shown and counted, and must not depend on what stands
beside it in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from seqloom.data.batch import Batch
from seqloom.data.spec import DataSpec
from seqloom.errors import ConfigError
from seqloom.layers.outputs import TokenLoss
from seqloom.learners.answers import Answer
from seqloom.learners.base import Learner, Split
from seqloom.learners.class_answers import ranked_classes
from seqloom.learners.optimization import OptimizerRecipe
from seqloom.learners.schedules import Schedule
from seqloom.learners.sides import (
    check_model,
    check_output,
    has_ids,
    input_texts,
    read,
    size_of,
    target_texts,
)
from seqloom.metrics.elements import ClassScores, MeanLoss, NumberScores
from seqloom.metrics.prediction import Prediction
from seqloom.sequences import Padded
from seqloom.topologies import SequenceToVector


class ModelRecipe(Protocol):
    """What `model=sequence_to_vector` gives: a model that still lacks its sizes."""

    def __call__(
        self, *, source_size: int, reads_ids: bool, target_size: int
    ) -> SequenceToVector: ...


class SequenceToVectorLearner(Learner):
    """The likelihood of each example's class or numbers.

    Args:
        spec: sequences on the source's side, a value for each example on the target's.
        model, optimizer: recipes.
        label_smoothing: of classes; 0 for numbers.
        scheduler, config: see `Learner`.
    """

    model: SequenceToVector

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: ModelRecipe,
        optimizer: OptimizerRecipe,
        scheduler: Schedule,
        label_smoothing: float,
        config: dict[str, Any],
    ) -> None:
        check_model(model, {"sequence_to_vector": SequenceToVector})
        built = model(
            source_size=size_of(spec.source),
            reads_ids=has_ids(spec.source),
            target_size=size_of(spec.target),
        )
        check_output(built.output, spec.target)
        super().__init__(
            spec=spec,
            model=built,
            scores=(_scores(spec), _scores(spec)),
            optimizer=optimizer,
            scheduler=scheduler,
            config=config,
        )
        self.label_smoothing = label_smoothing

    def training_loss(self, batch: Batch) -> TokenLoss:
        source, target = _sides(batch)
        readouts = self.model(source)
        return self.model.output.loss(readouts, target, smoothing=self.label_smoothing)

    def evaluate(self, batch: Batch, batch_idx: int, split: Split) -> list[Prediction]:
        source, target = _sides(batch)
        with torch.autocast(self.device.type, enabled=False):
            readouts = self.model(source)
            loss = self.model.output.loss(readouts, target)
            answers = self._answers(readouts, 1)
            predicted = self.model.output.predict(readouts)
        self.scores(split).update(loss.nll, loss.num_tokens, predicted, target)
        inputs = input_texts(self.spec.source, batch)
        targets = target_texts(self.spec.target, batch)
        return [
            Prediction(
                index=int(batch.index[row]),
                input=inputs[row],
                target=targets[row],
                prediction=best.text,
                score=best.score,
                num_input_tokens=int(source.lengths[row]),
            )
            for row, (best,) in enumerate(answers)
        ]

    @torch.inference_mode()
    def answer(self, texts: Sequence[str], num_best: int = 1) -> list[list[Answer]]:
        """The likeliest classes of each line with their probabilities as scores, or its numbers.

        Expects evaluation mode.
        """
        if not texts:
            return []
        source = read(self.spec.source, texts, with_end=True).to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            return self._answers(self.model(source), num_best)

    def _answers(self, readouts: Tensor, num_best: int) -> list[list[Answer]]:
        side = self.spec.target
        if not has_ids(side):
            if num_best != 1:
                raise ConfigError(f"n_best={num_best}", "numbers have one answer", "leave it out")
            return [
                [Answer(side.format(row), 0.0, 0.0)]
                for row in self.model.output.predict(readouts).cpu()
            ]
        return ranked_classes(side, self.model.output.logits(readouts), num_best)


def _sides(batch: Batch) -> tuple[Padded, Tensor]:
    assert isinstance(batch.source, Padded)
    assert isinstance(batch.target, Tensor)
    return batch.source, batch.target


def _scores(spec: DataSpec) -> MeanLoss:
    return ClassScores(num_classes=size_of(spec.target)) if has_ids(spec.target) else NumberScores()
