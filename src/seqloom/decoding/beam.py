"""Beam search over the whole batch at once, exact in its stopping rule.

The idea: a beam of live hypotheses that only their log probability orders, and beside it the best
finished ones, ordered by score. A hypothesis finishes when its end symbol ranks among the
`beam_size` best continuations of its sentence; the beam stays full meanwhile. Nothing of this
depends on `num_best`, and a live hypothesis is given up only when it cannot overtake any more, so
the best of 5 is the best of 1. The price: a few steps after the first finish, which a rule of thumb
would save; a strong length penalty with a generous maximum length makes it more of them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from seqloom.decoding.candidates import next_tokens
from seqloom.decoding.greedy import GreedySearch
from seqloom.decoding.hypotheses import Ended, Paths, collect
from seqloom.decoding.limits import LengthLimits
from seqloom.decoding.penalties import LengthPenalty, LengthPenaltyKind, coverage_penalty
from seqloom.decoding.protocol import Decodable, Hypothesis, State
from seqloom.errors import ConfigError
from seqloom.sequences import BOS_ID, EOS_ID, Padded

logger = logging.getLogger(__name__)


class BeamSearch:
    """Keeps the `beam_size` best partial outputs of each sentence.

    Args:
        beam_size: K, live hypotheses of a sentence.
        length_penalty: alpha; 0 ranks by log probability alone.
        length_penalty_kind: `gnmt` divides by ((5 + n) / 6) ** alpha, `average` by n ** alpha.
        coverage_penalty: beta of Wu et al. 2016; without effect on a model without attention.
        max_length_ratio, max_length_offset: at most ratio * source length + offset tokens; all
            lengths count the end symbol.
        min_length_ratio: at least ratio * source length tokens.
        forbid_unknown: never write the unknown symbol.
    """

    def __init__(
        self,
        *,
        beam_size: int = 5,
        length_penalty: float = 1.0,
        length_penalty_kind: LengthPenaltyKind = "average",
        coverage_penalty: float = 0.0,
        max_length_ratio: float = 2.0,
        max_length_offset: int = 20,
        min_length_ratio: float = 0.0,
        forbid_unknown: bool = False,
    ) -> None:
        if beam_size < 1:
            raise ConfigError(
                f"beam_size={beam_size}", "a beam holds hypotheses", "set it to 1 or more"
            )
        if coverage_penalty < 0:
            raise ConfigError(
                f"coverage_penalty={coverage_penalty}",
                "it would reward what is left untranslated",
                "set it to 0 (off) or more",
            )
        self.beam_size = beam_size
        self.length_penalty = LengthPenalty(alpha=length_penalty, kind=length_penalty_kind)
        self.coverage_penalty = coverage_penalty
        self.limits = LengthLimits(max_length_ratio, max_length_offset, min_length_ratio)
        self.forbid_unknown = forbid_unknown
        self._warned = False

    def greedy(self) -> GreedySearch:
        """Greedy search under the same limits."""
        return GreedySearch(
            max_length_ratio=self.limits.max_length_ratio,
            max_length_offset=self.limits.max_length_offset,
            min_length_ratio=self.limits.min_length_ratio,
            forbid_unknown=self.forbid_unknown,
        )

    @torch.inference_mode()
    def __call__(
        self,
        model: Decodable[State],
        source: Padded,
        *,
        num_best: int = 1,
        with_attention: bool = False,
    ) -> list[list[Hypothesis]]:
        """The best outputs for each row of `source`: at least one, at most `num_best`.

        All different. Finished ones first, best first; then, where those are too few, the ones that
        were cut at the maximum length, best first. Equal scores: what finished earlier, then the
        better parent, then the lower id. `model` is expected in evaluation mode.
        """
        self._check(num_best)
        if source.batch_size == 0:
            return []
        beams = self._begin(source, num_best)
        paths = Paths()
        tokens = torch.full_like(beams.sentences, BOS_ID)
        state = model.start(source)
        while True:
            logits, attention, state = model.step(tokens, state)
            if with_attention and attention.shape[1] > 0:
                paths.append_attention(attention)
            if self.coverage_penalty > 0:
                self._cover(beams, attention)
            tokens, rows = self._advance(beams, logits)
            if len(rows) == 0:
                return collect(beams.finished, beams.cut, paths, source.lengths)
            paths.append(tokens, rows)
            if not _is_identity(rows, len(logits)):
                state = model.select(state, rows)

    def _check(self, num_best: int) -> None:
        if not 1 <= num_best <= self.beam_size:
            raise ConfigError(
                f"num_best={num_best}",
                f"a beam of {self.beam_size} gives between 1 and {self.beam_size} outputs",
                "raise beam_size with it",
            )

    def _begin(self, source: Padded, num_best: int) -> _Beams:
        device = source.values.device
        shortest, longest = (limit.to(device) for limit in self.limits.of(source.lengths))
        lengths = torch.arange(1, int(longest.max()) + 1)
        return _Beams(
            sentences=torch.arange(source.batch_size, device=device),
            log_probs=torch.zeros(source.batch_size, 1, device=device),
            coverage=None,
            shortest=shortest,
            longest=longest,
            source_mask=source.mask(),
            divisors=self.length_penalty(lengths).to(device),
            finished=Ended(source.batch_size, num_best, device),
            cut=Ended(source.batch_size, num_best, device),
        )

    def _cover(self, beams: _Beams, attention: Tensor) -> None:
        """Adds the attention [N, S] of this step to what each live hypothesis has seen."""
        if attention.shape[1] > 0:
            beams.coverage = attention if beams.coverage is None else beams.coverage + attention
        elif beams.source_mask.shape[1] > 0 and not self._warned:
            logger.warning("coverage_penalty has no effect: the model has no attention")
            self._warned = True

    def _advance(self, beams: _Beams, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Takes every sentence one token further and drops what cannot win any more.

        Returns the new tokens [N'] and the rows [N'] of `logits` [N, V] that they follow.
        """
        beams.length += 1
        log_probs, ids = next_tokens(logits, self.beam_size, self.forbid_unknown)
        num_sentences, width = beams.log_probs.shape
        num_tokens = ids.shape[1]
        totals = log_probs.view(num_sentences, width, num_tokens) + beams.log_probs.unsqueeze(2)
        too_short = beams.length < beams.shortest[beams.sentences]
        totals[:, :, 0].masked_fill_(too_short.unsqueeze(1), -torch.inf)
        totals, order = totals.flatten(1).sort(dim=1, descending=True, stable=True)
        first_rows = torch.arange(0, len(logits), width, device=logits.device).unsqueeze(1)
        rows = first_rows + order // num_tokens  # [B, candidates], rows of this step
        ends = order % num_tokens == 0

        leading = slice(0, self.beam_size)
        finishing = ends[:, leading] & (totals[:, leading] > -torch.inf)
        if bool(finishing.any()):
            offers = totals[:, leading].masked_fill(~finishing, -torch.inf)
            parents = rows[:, leading]
            self._end(beams, beams.finished, offers, parents, torch.full_like(parents, EOS_ID))

        live = ~ends & ((~ends).cumsum(dim=1) <= self.beam_size)
        live_shape = (num_sentences, min(self.beam_size, width * (num_tokens - 1)))
        beams.log_probs = totals[live].view(live_shape)
        rows = rows[live].view(live_shape)
        tokens = ids.view(num_sentences, -1).gather(1, order[live].view(live_shape))
        full = beams.length >= beams.longest[beams.sentences]
        if bool(full.any()):
            offers = beams.log_probs.masked_fill(~full.unsqueeze(1), -torch.inf)
            self._end(beams, beams.cut, offers, rows, tokens)
        return beams.keep(beams.can_win() & ~full.unsqueeze(1), tokens, rows)

    def _end(
        self, beams: _Beams, ended: Ended, log_probs: Tensor, rows: Tensor, tokens: Tensor
    ) -> None:
        """Scores hypotheses [B, m] that end at this step and offers them to `ended`."""
        scores = log_probs / beams.divisors[beams.length - 1]
        if beams.coverage is not None:
            mask = beams.source_mask[beams.sentences].unsqueeze(1)
            scores = scores + coverage_penalty(beams.coverage[rows], mask, self.coverage_penalty)
        ended.add(beams.sentences, scores, log_probs, rows, tokens, beams.length - 1)


@dataclass
class _Beams:
    """The live hypotheses of the B' sentences that are still being written, K' for each.

    Attributes:
        sentences: [B'] rows of the source.
        log_probs: [B', K'], best first.
        coverage: [B' * K', S], or None without attention or penalty.
        shortest, longest, source_mask: limits [B] and mask [B, S] of all B sentences.
        divisors: length penalties of 1, 2, ... tokens.
        finished, cut: what ended, of all B sentences.
        length: tokens of every live hypothesis.
    """

    sentences: Tensor
    log_probs: Tensor
    coverage: Tensor | None
    shortest: Tensor
    longest: Tensor
    source_mask: Tensor
    divisors: Tensor
    finished: Ended
    cut: Ended
    length: int = 0

    def can_win(self) -> Tensor:
        """[B', K'] True where a live hypothesis can still score above the worst that is kept.

        More tokens never raise a log probability and never help more than the divisor of the
        maximum length does; the coverage penalty is 0 at best. What cannot win has the lowest log
        probabilities of its sentence, so it never stands above anything that can.
        """
        longest = self.divisors[self.longest[self.sentences] - 1].unsqueeze(1)
        return self.log_probs / longest > self.finished.scores[self.sentences, -1:]

    def keep(self, wanted: Tensor, tokens: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps sentences with any `wanted` [B', K'] hypothesis, and the columns with any.

        Returns the `tokens` and `rows` (both [B', K']) of what is kept, flat.
        """
        if not bool(wanted.all()):
            stays = wanted[:, 0]
            width = int(wanted.sum(dim=1).max())  # the wanted ones come first in every row
            self.sentences, self.log_probs = self.sentences[stays], self.log_probs[stays, :width]
            tokens, rows = tokens[stays, :width], rows[stays, :width]
        tokens, rows = tokens.flatten(), rows.flatten()
        if self.coverage is not None:
            self.coverage = self.coverage[rows]
        return tokens, rows


def _is_identity(rows: Tensor, num_rows: int) -> bool:
    return len(rows) == num_rows and torch.equal(rows, torch.arange(num_rows, device=rows.device))
