"""`metric_sums`: a metric of a test set as sums over its examples, from stored predictions.

The idea: a resampled test set has other weights on the same examples; where a metric is a function
of sums over examples, its score on 1,000 resampled sets is one product of matrices, and no text is
cut into words twice (Koehn 2004). The price: a metric that is no such function of the predictions'
texts (perplexity, mean squared error) has no test over examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqloom.errors import DataError
from seqloom.sweeps.statistics.edits import edit_distance

Array = NDArray[np.float64]

MAX_CLASSES = 200  # of F1, which keeps three sums a class for each example


@dataclass(frozen=True, eq=False)
class ExampleSums:
    """What each of N examples adds to the K sums that a score is made of.

    Attributes:
        values: [N, K].
        score: makes sums [..., K] into scores [...]; 0 of nothing.
        examples: tells which test set this is: only sums of the same one can be compared.
    """

    values: Array
    score: Callable[[Array], Array]
    examples: str = ""

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.values)

    @property
    def total(self) -> float:
        """The score of the whole test set; to be held against the metric that the run told."""
        return float(self.score(self.values.sum(axis=0)))


def metric_sums(
    name: str, targets: Sequence[str], predictions: Sequence[str]
) -> ExampleSums | None:
    """The sums of the metric `name` (without its split), or None where texts do not tell it.

    Known are `bleu` and `chrf` (0 to 100, sacreBLEU's with its defaults, equal to `corpus_score`),
    `exact_match`, and, 0 to 1, `accuracy` and `f1` of one class an example (F1 as the mean over
    classes, of at most 200), `wer` and `cer` (edits over the number of target words or characters).

    Raises:
        DataError: not as many predictions as targets.
    """
    if len(targets) != len(predictions):
        raise DataError(
            f"{len(predictions)} predictions",
            f"there are {len(targets)} targets",
            "one prediction for each target",
        )
    count = _COUNTERS.get(name)
    if count is None:
        return None
    counted = count(targets, predictions)
    if counted is None:
        return None
    values, score = counted
    examples = hashlib.sha256("\0".join(targets).encode()).hexdigest()
    return ExampleSums(values, score, examples)


Counted = tuple[Array, Callable[[Array], Array]]


def _bleu(targets: Sequence[str], predictions: Sequence[str]) -> Counted:
    from sacrebleu.metrics import BLEU

    # `force` only keeps sacreBLEU from warning of text that looks tokenised.
    return _segments(BLEU(force=True), targets, predictions, 10), _score_bleu


def _chrf(targets: Sequence[str], predictions: Sequence[str]) -> Counted:
    from sacrebleu.metrics import CHRF

    return _segments(CHRF(), targets, predictions, 18), _score_chrf


def _segments(metric: object, targets: Sequence[str], predictions: Sequence[str], k: int) -> Array:
    """sacreBLEU's statistics of each sentence [N, K], by the call that its own tests make."""
    if not targets:
        return np.zeros((0, k))
    rows = metric._extract_corpus_statistics(predictions, [targets])  # type: ignore[attr-defined]
    return np.array(rows, dtype=np.float64)


def _score_bleu(sums: Array) -> Array:
    """BLEU with smoothing `exp`; K = (output length, reference length, 4 matches, 4 n-grams)."""
    lengths, references = sums[..., 0], sums[..., 1]
    right, total = sums[..., 2:6], sums[..., 6:10]
    missing = (right == 0).cumsum(axis=-1)  # each order without a match halves once more
    smoothed = np.where(right == 0, 0.5**missing, right)
    precisions = 100 * _divide(smoothed, total)
    with np.errstate(divide="ignore"):
        log_mean = np.log(precisions).mean(axis=-1)
    penalty = np.exp(np.minimum(0.0, 1 - references / np.maximum(lengths, 1e-9)))
    exists = (right > 0).any(axis=-1) & (total > 0).all(axis=-1)
    return np.where(exists, penalty * np.exp(log_mean), 0.0)


def _score_chrf(sums: Array) -> Array:
    """chrF2; K = 6 orders of (n-grams of output, of reference, matches)."""
    orders = sums.reshape(*sums.shape[:-1], 6, 3)
    outputs, references, matches = orders[..., 0], orders[..., 1], orders[..., 2]
    counts = (outputs > 0) & (references > 0)
    num_orders = counts.sum(axis=-1)
    precision = _divide(np.where(counts, _divide(matches, outputs), 0.0).sum(axis=-1), num_orders)
    recall = _divide(np.where(counts, _divide(matches, references), 0.0).sum(axis=-1), num_orders)
    return 100 * _divide(5 * precision * recall, 4 * precision + recall)


def _right(targets: Sequence[str], predictions: Sequence[str]) -> Counted:
    pairs = zip(targets, predictions, strict=True)
    return _with_lengths([float(t == p) for t, p in pairs], [1] * len(targets)), _score_ratio


def _wer(targets: Sequence[str], predictions: Sequence[str]) -> Counted:
    return _edits([t.split() for t in targets], [p.split() for p in predictions])


def _cer(targets: Sequence[str], predictions: Sequence[str]) -> Counted:
    return _edits(targets, predictions)


def _edits(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> Counted:
    distances = [edit_distance(t, p) for t, p in zip(targets, predictions, strict=True)]
    return _with_lengths(distances, [len(t) for t in targets]), _score_ratio


def _f1(targets: Sequence[str], predictions: Sequence[str]) -> Counted | None:
    classes = sorted({*targets, *predictions})
    if len(classes) > MAX_CLASSES:
        return None
    ids = {name: index for index, name in enumerate(classes)}
    one_hot = np.eye(len(classes))
    predicted = one_hot[[ids[p] for p in predictions]] if classes else np.zeros((0, 0))
    actual = one_hot[[ids[t] for t in targets]] if classes else np.zeros((0, 0))
    return np.concatenate([predicted * actual, predicted + actual], axis=-1), _score_f1


def _score_f1(sums: Array) -> Array:
    """The mean of F1 over classes that occur; K = (right of each class, targets + predictions)."""
    right, occurring = np.split(sums, 2, axis=-1)
    return _divide(_divide(2 * right, occurring).sum(axis=-1), (occurring > 0).sum(axis=-1))


def _score_ratio(sums: Array) -> Array:
    """K = (above, below) the line."""
    return _divide(sums[..., 0], sums[..., 1])


def _with_lengths(values: Sequence[float], lengths: Sequence[int]) -> Array:
    return np.array([values, lengths], dtype=np.float64).reshape(2, -1).T


def _divide(above: Array, below: Array) -> Array:
    """0 where nothing is below the line."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


_COUNTERS: dict[str, Callable[[Sequence[str], Sequence[str]], Counted | None]] = {
    "bleu": _bleu,
    "chrf": _chrf,
    "exact_match": _right,
    "accuracy": _right,
    "f1": _f1,
    "wer": _wer,
    "cer": _cer,
}
