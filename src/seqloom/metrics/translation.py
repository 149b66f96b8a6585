"""Scores of translations over the whole corpus: sacreBLEU's BLEU and chrF (Post 2018), and exact
match.

Never a mean over batches: predictions are gathered from all ranks, counted once each, ordered, and
scored once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sacrebleu.metrics import BLEU, CHRF
from torch import Tensor

from seqloom.metrics.elements import MeanLoss, perplexity
from seqloom.metrics.prediction import Prediction, gather_predictions


@dataclass(frozen=True)
class Scores:
    """Values by metric name (without a split), and the signatures that say how they were
    computed."""

    values: dict[str, float]
    signatures: dict[str, str]


def score_translations(predictions: Iterable[Prediction]) -> Scores:
    """Corpus BLEU (13a, cased), chrF2 and the share of predictions that equal their target; 0 of
    nothing."""
    predictions = list(predictions)
    bleu, chrf = BLEU(), CHRF()
    if not predictions:
        return Scores({"bleu": 0.0, "chrf": 0.0, "exact_match": 0.0}, {})
    outputs = [prediction.prediction for prediction in predictions]
    references = [[prediction.target for prediction in predictions]]
    num_exact = sum(p.prediction == p.target for p in predictions)
    values = {
        "bleu": bleu.corpus_score(outputs, references).score,
        "chrf": chrf.corpus_score(outputs, references).score,
        "exact_match": num_exact / len(predictions),
    }
    signatures = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    return Scores(values, signatures)


class TranslationScores(MeanLoss):
    """Of texts: the loss of their tokens, and what `score_translations` says of all of them."""

    names = ("perplexity", "bleu", "chrf", "exact_match")

    def __init__(self) -> None:
        super().__init__()
        self._own: list[Prediction] = []

    def update(self, nll: Tensor, num_elements: int, predictions: Sequence[Prediction]) -> None:
        super().update(nll, num_elements)
        self._own += predictions

    def compute(self) -> dict[str, float]:
        """To be called on every rank: it gathers all predictions, each example once."""
        loss = super().compute()["loss"]
        scores = score_translations(gather_predictions(self._own))
        self.signatures = scores.signatures
        return {"loss": loss, "perplexity": perplexity(loss), **scores.values}

    def reset(self) -> None:
        super().reset()
        self._own = []
