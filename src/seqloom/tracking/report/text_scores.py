"""Scores of sentences and of groups of sentences, by sacrebleu, with the run's own settings.

The idea: the page must not invent a score: chrF and BLEU are sacrebleu's, with the tokeniser and
case that the signatures in the summary name. A group's score is the corpus score of the group,
never a mean of sentences.
The price: 0.3 ms a sentence, so at most 5,000 sentences, evenly spread, are scored. A tokeniser
that would need a download or a package that is not there gives way to 13a, and `note` says so.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF

from seqloom.tracking.report.differences import num_words
from seqloom.tracking.report.run_data import Prediction, RunData

MAX_SCORED = 5_000
MAX_BINS = 8
# Tokenisers of sacrebleu that fetch nothing.
TOKENIZERS = ("13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab")


class Scored(NamedTuple):
    """A prediction with its sentence chrF (0 to 100) and its source length in words."""

    prediction: Prediction
    chrf: float
    length: int


class Group(NamedTuple):
    """Corpus scores of some sentences; `ratio` is predicted length over reference length."""

    name: str
    num_sentences: int
    chrf: float
    bleu: float
    ratio: float | None


class Scorer:
    """chrF and BLEU as the run's summary signed them.

    Attributes:
        note: a sentence on what had to be done otherwise, or the empty string.
    """

    def __init__(self, run: RunData) -> None:
        signatures = run.section("signatures")
        bleu = _parts(str(signatures.get("test/bleu", "")))
        chrf = _parts(str(signatures.get("test/chrf", "")))
        self.note = ""
        self._chrf = CHRF(
            char_order=int(chrf.get("nc", "6")),
            word_order=int(chrf.get("nw", "0")),
            lowercase=chrf.get("case") == "lc",
            whitespace=chrf.get("space") == "yes",
        )
        self._bleu = self._make_bleu(bleu.get("tok", "13a"), bleu.get("case") == "lc")

    def _make_bleu(self, tokenizer: str, lowercase: bool) -> BLEU:
        # `force` only keeps sacrebleu from warning of text that looks tokenised.
        if tokenizer in TOKENIZERS:
            try:
                return BLEU(tokenize=tokenizer, lowercase=lowercase, force=True)
            except (ImportError, RuntimeError):
                pass
        self.note = (
            f"BLEU by length is cut into words by 13a, as {tokenizer} is not available here."
        )
        return BLEU(lowercase=lowercase, force=True)

    def sentence_chrf(self, prediction: str, reference: str) -> float:
        """sacrebleu's sentence chrF, 0 to 100."""
        return self._chrf.sentence_score(prediction, [reference]).score

    def score(self, predictions: Sequence[Prediction]) -> list[Scored]:
        """Each prediction with its chrF and the length of its source."""
        return [
            Scored(p, self.sentence_chrf(p.prediction, p.target), num_words(p.input))
            for p in predictions
        ]

    def group(self, name: str, sentences: Sequence[Scored]) -> Group:
        """Corpus chrF, BLEU and length ratio of the sentences, which must be at least one."""
        outputs = [s.prediction.prediction for s in sentences]
        references = [[s.prediction.target for s in sentences]]
        bleu = self._bleu.corpus_score(outputs, references)
        chrf = self._chrf.corpus_score(outputs, references)
        ratio = bleu.sys_len / bleu.ref_len if bleu.ref_len else None
        return Group(name, len(sentences), chrf.score, bleu.score, ratio)


def spread(num: int, limit: int) -> list[int]:
    """At most `limit` of the indices 0..num-1, evenly spread, the first among them."""
    if num <= limit:
        return list(range(num))
    return [k * num // limit for k in range(limit)]


def length_bins(lengths: Sequence[int]) -> list[tuple[int, int | None]]:
    """At most 8 ranges (first, last) of equal, round width; a long tail leaves the last open."""
    ordered = sorted(lengths)
    low, top = ordered[0], ordered[math.ceil(0.99 * len(ordered)) - 1]
    widths = (m * 10**e for e in range(7) for m in (1, 2, 3, 5))
    width = next(w for w in widths if (top - 1) // w - (low - 1) // w < MAX_BINS)
    first = (low - 1) // width * width + 1  # lengths count from 1: 1-5, 6-10
    bins: list[tuple[int, int | None]] = []
    while first <= top:
        bins.append((max(0, first), first + width - 1))
        first += width
    if ordered[-1] >= first:
        bins[-1] = (bins[-1][0], None)
    return bins


def _parts(signature: str) -> dict[str, str]:
    return dict(part.split(":", 1) for part in signature.split("|") if ":" in part)
