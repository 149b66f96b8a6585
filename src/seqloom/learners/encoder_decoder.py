"""`EncoderDecoderLearner`: trains an encoder-decoder on pairs of token sequences, and scores it as
a translator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from seqloom.data.batch import PairBatch
from seqloom.data.spec import DataSpec
from seqloom.decoding.protocol import Hypothesis
from seqloom.errors import ConfigError
from seqloom.layers.output import TokenLoss
from seqloom.learners.optimization import (
    OptimizerRecipe,
    UpdateSums,
    configure,
    progress,
    scale_and_clip,
)
from seqloom.learners.schedules import Schedule
from seqloom.metrics.prediction import Prediction, gather_predictions
from seqloom.metrics.token_loss import TokenNegativeLogLikelihood, perplexity
from seqloom.metrics.translation import score_translations
from seqloom.sequences import EOS_ID, Padded
from seqloom.topologies import EncoderDecoder


class ModelRecipe(Protocol):
    """What `model=encoder_decoder` gives: a model that still lacks its vocabularies."""

    def __call__(
        self, *, source_vocab_size: int, target_vocab_size: int, shared_vocabulary: bool
    ) -> EncoderDecoder: ...


class Search(Protocol):
    """What `decoding=` gives."""

    def greedy(self) -> Search:
        """The greedy search under the same limits."""
        ...

    def __call__(
        self,
        model: EncoderDecoder,
        source: Padded,
        *,
        num_best: int = 1,
        with_attention: bool = False,
    ) -> list[list[Hypothesis]]: ...


@dataclass(frozen=True)
class Translation:
    """One output text, its score (what the search ranks by) and the log probability of its
    tokens."""

    text: str
    score: float
    log_prob: float


class EncoderDecoderLearner(LightningModule):
    """Teacher forcing (or scheduled sampling) on the target, loss a token of the whole update.

    Args:
        spec: the two sides of the data.
        model, optimizer: recipes.
        scheduler: the learning rate's schedule.
        search: finds outputs in tests and predictions; validation is greedy.
        label_smoothing: see `LinearCrossEntropy`.
        scheduled_sampling: probability, reached linearly at the end of training, that the decoder
            reads its own last word instead of the right one; 0 is teacher forcing.
        normalize: the update is a mean over `tokens`, or over `sequences` of each one's summed
            loss.
        config: the run's whole resolved config as plain values; kept in checkpoints.
    """

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: ModelRecipe,
        optimizer: OptimizerRecipe,
        scheduler: Schedule,
        search: Search,
        label_smoothing: float,
        scheduled_sampling: float,
        normalize: str,
        config: dict[str, Any],
    ) -> None:
        super().__init__()
        if normalize not in ("tokens", "sequences"):
            raise ConfigError(
                f"learner.normalize={normalize}", "unknown", "use tokens or sequences"
            )
        self.save_hyperparameters({"config": config})
        self.spec = spec
        self.model = model(
            source_vocab_size=spec.source.vocab_size,
            target_vocab_size=spec.target.vocab_size,
            shared_vocabulary=spec.shared_vocabulary,
        )
        self.optimizer_recipe, self.schedule = optimizer, scheduler
        self.search, self.greedy = search, search.greedy()
        self.label_smoothing = label_smoothing
        self.scheduled_sampling = scheduled_sampling
        self.normalize = normalize
        self.update_sums = UpdateSums()
        self.val_nll = TokenNegativeLogLikelihood()
        self.test_nll = TokenNegativeLogLikelihood()
        self.val_predictions: list[Prediction] = []
        self.test_predictions: list[Prediction] = []
        self.signatures: dict[str, str] = {}

    @property
    def metric_names(self) -> frozenset[str]:
        """What is logged under validation and test, and may be monitored."""
        scores = ("perplexity", "bleu", "chrf", "exact_match")
        validation = {f"val/{name}" for name in ("loss", *scores)}
        return frozenset(validation | {f"test/{name}" for name in ("nll", *scores)})

    # Training

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        loss = self._loss(batch, self._sampling(), self.label_smoothing)
        by_tokens = self.normalize == "tokens"
        self.update_sums.add(loss, loss.num_tokens if by_tokens else len(batch.index))
        # A sum: `configure_gradient_clipping` divides by the update's count. Lightning divides by
        # the number of accumulated batches, which is undone here.
        return loss.loss * self.trainer.accumulate_grad_batches

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        factor, loss = self.update_sums.take(self.trainer)
        norm = scale_and_clip(self.parameters(), factor, gradient_clip_val)
        self.log("train/loss", loss)
        self.log("train/gradient_norm", norm)
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        return configure(self, self.optimizer_recipe, self.schedule)

    def count_batch(self, batch: PairBatch) -> dict[str, int]:
        """What throughput and padding are computed from."""
        source, target = batch.source, batch.target
        return {
            "examples": len(batch.index),
            "source_tokens": source.num_elements,
            "target_tokens": target.num_elements,
            "source_positions": source.values.numel(),
            "target_positions": target.values.numel(),
        }

    # Validation and test

    def validation_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Any]:
        loss = self._loss(batch)
        self.val_nll.update(loss.nll, loss.num_tokens)
        predictions = self._predict(batch, self.greedy)
        self.val_predictions += predictions
        return {"predictions": predictions}

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val", self.val_nll, self.val_predictions)
        self.val_predictions = []

    def test_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Any]:
        loss = self._loss(batch)
        self.test_nll.update(loss.nll, loss.num_tokens)
        predictions = self._predict(batch, self.search)
        self.test_predictions += predictions
        return {"predictions": predictions}

    def on_test_epoch_end(self) -> None:
        self._log_scores("test", self.test_nll, self.test_predictions)
        self.test_predictions = []

    def _log_scores(
        self, split: str, nll: TokenNegativeLogLikelihood, own: list[Prediction]
    ) -> None:
        """Logs the same values on every rank: all of them are computed from what all ranks saw."""
        nats = float(nll.compute())
        nll.reset()
        scores = score_translations(gather_predictions(own))
        name = "loss" if split == "val" else "nll"
        values = {name: nats, "perplexity": perplexity(nats), **scores.values}
        self.log_dict({f"{split}/{key}": value for key, value in values.items()})
        self.signatures = {f"{split}/{key}": value for key, value in scores.signatures.items()}

    # Use

    @torch.inference_mode()
    def translate(self, texts: Sequence[str], num_best: int = 1) -> list[list[Translation]]:
        """Outputs of each text, the best first. Expects evaluation mode."""
        if not texts:
            return []
        found = self._find(self.search, self._source(texts), num_best=num_best)
        decode = self.spec.target.tokenizer.decode
        return [
            [Translation(decode(h.tokens), h.score, h.log_prob) for h in hypotheses]
            for hypotheses in found
        ]

    @torch.inference_mode()
    def attention_maps(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """For each text: `input_pieces` [S], `output_pieces` [T], `weights` T x S or none."""
        if not texts:
            return []
        source = self._source(texts)
        found = self._find(self.search, source, with_attention=True)
        maps = []
        for ids, (best, *_) in zip(source.to_list(), found, strict=True):
            output = [*best.tokens, EOS_ID] if best.finished else list(best.tokens)
            weights = [list(row[: len(ids)]) for row in best.attention]
            maps.append(
                {
                    "input_pieces": self.spec.source.tokenizer.pieces(ids.tolist()),
                    "output_pieces": self.spec.target.tokenizer.pieces(output),
                    "weights": weights if any(weights) else [],
                }
            )
        return maps

    def _find(
        self, search: Search, source: Padded, *, num_best: int = 1, with_attention: bool = False
    ) -> list[list[Hypothesis]]:
        """Searches in float32, whatever training computes in.

        A sentence alone and in a batch of 64 goes through other kernels; in bfloat16 their rounding
        could decide between two words.
        """
        with torch.autocast(self.device.type, enabled=False):
            return search(self.model, source, num_best=num_best, with_attention=with_attention)

    def _source(self, texts: Sequence[str]) -> Padded:
        """Texts as the model reads them: ids [B, S], each row ending with the end symbol."""
        rows = self.spec.source.tokenizer.encode_batch(texts)
        return Padded.from_list([torch.tensor([*row, EOS_ID]) for row in rows]).to(self.device)

    def _predict(self, batch: PairBatch, search: Search) -> list[Prediction]:
        found = self._find(search, batch.source)
        decode = self.spec.target.tokenizer.decode
        return [
            Prediction(
                index=int(batch.index[row]),
                input=batch.source_text[row],
                target=batch.target_text[row],
                prediction=decode(best.tokens),
                score=best.score,
                num_input_tokens=int(batch.source.lengths[row]),
            )
            for row, (best, *_) in enumerate(found)
        ]

    def _loss(self, batch: PairBatch, sampling: float = 0.0, smoothing: float = 0.0) -> TokenLoss:
        """Sums over the real target tokens of a batch."""
        readouts, _ = self.model(batch.source, batch.target, sampling)
        hidden, targets = readouts.values, batch.target.values
        if batch.target.is_full:
            hidden, targets = hidden.flatten(0, 1), targets.flatten()
        else:
            mask = batch.target.mask()
            hidden, targets = hidden[mask], targets[mask]
        return self.model.output.loss(hidden, targets, smoothing=smoothing)

    def _sampling(self) -> float:
        """The probability of scheduled sampling at this update."""
        if not self.scheduled_sampling:
            return 0.0
        return self.scheduled_sampling * progress(self.trainer, self.trainer.global_step)
