"""`SequenceToSequenceLearner`: an output for each step, and language models.

A problem whose both sides are text of one vocabulary is a language model: targets are the next
tokens. It answers a prompt with its continuation, suggests next words, and tells bits instead of
exact matches. Where data comes as streams (`Batch.continues`), the state is carried from window to
window and saved in checkpoints; validation and test carry states of their own. Refuses a language
model that reads both ways, and a search where there is nothing to search.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import torch

from seqloom.data.batch import Batch
from seqloom.data.spec import DataSpec, TokenSide
from seqloom.errors import ConfigError
from seqloom.layers.outputs import CRF, Output, TokenLoss
from seqloom.learners.answers import Answer
from seqloom.learners.base import Learner, Split
from seqloom.learners.carried_state import CarriedState
from seqloom.learners.next_words import WordTokens, next_words
from seqloom.learners.optimization import OptimizerRecipe
from seqloom.learners.schedules import Schedule
from seqloom.learners.searching import Search, find
from seqloom.learners.sequence_outputs import (
    predicted_sequence,
    real_steps,
    sequence_loss,
)
from seqloom.learners.sides import (
    check_model,
    check_output,
    has_ids,
    input_texts,
    read,
    size_of,
    target_texts,
)
from seqloom.metrics.elements import MeanLoss, NumberScores, StepScores
from seqloom.metrics.prediction import Prediction
from seqloom.sequences import Padded
from seqloom.topologies import SequenceToSequence

# Windows that a language model shows: their first half is a prompt, their second half the target.
NUM_CONTINUED = {"val": 2, "test": 20}
CARRIED_STATE = "carried_state"  # key in checkpoints


class ModelRecipe(Protocol):
    """What `model=sequence_to_sequence` gives: a model that still lacks its sizes."""

    def __call__(
        self, *, source_size: int, reads_ids: bool, target_size: int, shared_vocabulary: bool
    ) -> SequenceToSequence: ...


class SequenceToSequenceLearner(Learner):
    """The likelihood of every step's target.

    Args:
        spec: sequences on both sides, of equal lengths.
        model, optimizer: recipes.
        search: continues prompts; None where the model is no language model.
        label_smoothing: of ids; 0 for features.
        scheduler, config: see `Learner`.
    """

    model: SequenceToSequence

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: ModelRecipe,
        optimizer: OptimizerRecipe,
        scheduler: Schedule,
        search: Search | None,
        label_smoothing: float,
        config: dict[str, Any],
    ) -> None:
        is_language_model = spec.shared_vocabulary and isinstance(spec.source, TokenSide)
        check_model(model, {"sequence_to_sequence": SequenceToSequence})
        built = model(
            source_size=size_of(spec.source),
            reads_ids=has_ids(spec.source),
            target_size=size_of(spec.target),
            shared_vocabulary=spec.shared_vocabulary,
        )
        check_output(built.output, spec.target, allowed=(Output, CRF))
        _check(built, search, is_language_model)
        super().__init__(
            spec=spec,
            model=built,
            scores=(_scores(spec, is_language_model), _scores(spec, is_language_model)),
            optimizer=optimizer,
            scheduler=scheduler,
            config=config,
        )
        self.search, self.label_smoothing = search, label_smoothing
        self.has_lines = is_language_model
        self.carried = {split: CarriedState() for split in ("train", "val", "test")}

    def training_loss(self, batch: Batch) -> TokenLoss:
        _, target = batch.pair()
        readouts = self._readouts(batch, self.carried["train"])
        return sequence_loss(self.model.output, readouts, target, smoothing=self.label_smoothing)

    # A carried state is a part of training's state.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CARRIED_STATE] = self.carried["train"].gathered()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get(CARRIED_STATE, [])
        self.carried["train"].restore(saved, self.global_rank, self.device)

    def on_validation_epoch_start(self) -> None:
        self.carried["val"].clear()

    def on_test_epoch_start(self) -> None:
        self.carried["test"].clear()

    def evaluate(self, batch: Batch, batch_idx: int, split: Split) -> list[Prediction]:
        """Aligned sequences in float32, since what is counted is also shown; text in the precision
        of training."""
        _, target = batch.pair()
        with torch.autocast(self.device.type, enabled=self.has_lines and self._autocasts()):
            readouts = self._readouts(batch, self.carried[split])
            loss = sequence_loss(self.model.output, readouts, target)
            predicted = predicted_sequence(self.model.output, readouts)
        scores = self.scores(split)
        if has_ids(self.spec.target):
            scores.update(loss.nll, loss.num_tokens, predicted.values, target)
        else:
            scores.update(loss.nll, loss.num_tokens, *real_steps(predicted, target))
        if self.has_lines:
            return self._continued(batch, NUM_CONTINUED[split]) if batch_idx == 0 else []
        return self._shown(batch, predicted)

    @torch.inference_mode()
    def answer(self, texts: Sequence[str], num_best: int = 1) -> list[list[Answer]]:
        """Of a language model the continuations of each text, the best first; else the output of
        each line. Expects evaluation mode."""
        if not texts:
            return []
        source = read(self.spec.source, texts, with_end=False).to(self.device)
        if self.search is not None:
            return self._continuations(source, self.search, num_best)
        if num_best != 1:
            raise ConfigError(
                f"n_best={num_best}", "an aligned sequence has one output", "leave it out"
            )
        with torch.autocast(self.device.type, enabled=False):
            readouts, _ = self.model(source)
            predicted = predicted_sequence(self.model.output, readouts)
        return [
            [Answer(self.spec.target.format(row.cpu()), 0.0, 0.0)] for row in predicted.to_list()
        ]

    @torch.inference_mode()
    def suggest(self, texts: Sequence[str], num_best: int = 1) -> list[list[Answer]]:
        if not self.has_lines:
            return super().suggest(texts, num_best)
        prompts = [self.spec.source.parse(text).to(self.device) for text in texts]
        return [
            next_words(self.model, prompt, text, self._word_tokens, num_best)
            for prompt, text in zip(prompts, texts, strict=True)
        ]

    @cached_property
    def _word_tokens(self) -> WordTokens:
        tokenizer = self.spec.tokens()[0].tokenizer
        pieces = tokenizer.pieces(range(tokenizer.vocab_size))
        return WordTokens([piece.replace("\u2581", " ") for piece in pieces])

    def _readouts(self, batch: Batch, carried: CarriedState) -> Padded:
        source, _ = batch.pair()
        states = carried.start(batch.continues, self.model.encoder.initial_states(source))
        readouts, finals = self.model(source, states)
        if batch.continues is not None:
            carried.keep(finals)
        return readouts

    def _autocasts(self) -> bool:
        return torch.is_autocast_enabled(self.device.type)

    def _continuations(self, source: Padded, search: Search, num_best: int) -> list[list[Answer]]:
        """What follows each of the prompts, ids [B, T]."""
        decode = self.spec.tokens()[1].tokenizer.decode
        answers = []
        for prompt, hypotheses in zip(
            source.to_list(), find(search, self.model, source, num_best=num_best), strict=True
        ):
            before = prompt.tolist()
            start = len(decode(before))
            answers.append(
                [
                    Answer(decode([*before, *h.tokens])[start:], h.score, h.log_prob)
                    for h in hypotheses
                ]
            )
        return answers

    def _continued(self, batch: Batch, limit: int) -> list[Prediction]:
        """Windows of a text with what the model would have written after their first halves."""
        source, target = batch.pair()
        if self.search is None:
            return []
        chosen = (source.lengths >= 2).nonzero().squeeze(1)[:limit]
        if len(chosen) == 0:
            return []
        rows, halves = source.select(chosen), source.lengths[chosen] // 2
        prompts = Padded(rows.values[:, : int(halves.max())], halves)
        texts = self._continuations(prompts, self.search, 1)
        side = self.spec.target
        predictions = []
        for place, row in enumerate(chosen.tolist()):
            half, length = int(halves[place]), int(source.lengths[row])
            right = target.values[row, half - 1 : length].cpu()
            predictions.append(
                Prediction(
                    index=int(batch.index[row]),
                    input=self.spec.source.format(source.values[row, :half].cpu()),
                    target=side.format(right),
                    prediction=texts[place][0].text,
                    score=texts[place][0].score,
                    num_input_tokens=half,
                )
            )
        return predictions

    def _shown(self, batch: Batch, predicted: Padded) -> list[Prediction]:
        inputs = input_texts(self.spec.source, batch)
        targets = target_texts(self.spec.target, batch)
        return [
            Prediction(
                index=int(batch.index[row]),
                input=inputs[row],
                target=targets[row],
                prediction=self.spec.target.format(output.cpu()),
                score=0.0,
                num_input_tokens=len(output),
            )
            for row, output in enumerate(predicted.to_list())
        ]


def _scores(spec: DataSpec, is_language_model: bool) -> MeanLoss:
    if not has_ids(spec.target):
        return NumberScores()
    last = "bits_per_token" if is_language_model else "exact_match"
    return StepScores(names=("perplexity", "accuracy", last))


def _check(model: SequenceToSequence, search: Search | None, is_language_model: bool) -> None:
    if is_language_model and model.encoder.bidirectional:
        raise ConfigError(
            "model.bidirectional=true",
            "a language model may not read what comes next",
            "use model.bidirectional=false",
        )
    if is_language_model and search is None:
        raise ConfigError(
            "decoding=none", "a language model goes on from prompts", "use decoding=sample"
        )
    if not is_language_model and search is not None:
        raise ConfigError(
            f"decoding._target_={type(search).__name__}",
            "an output for each step needs no search",
            "use decoding=none",
        )
