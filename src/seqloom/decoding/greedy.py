"""Greedy search: the best next token, over the whole batch at once.

The idea: a row that ends leaves the batch, so a step costs only what is still being written.
Same answer as a beam of one without penalties; refuses n-best lists, which it has no way to make.
"""

from __future__ import annotations

import torch

from seqloom.decoding.candidates import next_tokens
from seqloom.decoding.hypotheses import Written
from seqloom.decoding.limits import LengthLimits
from seqloom.decoding.protocol import Decodable, Hypothesis, State
from seqloom.errors import ConfigError
from seqloom.sequences import BOS_ID, Padded


class GreedySearch:
    """Writes the most probable token at every step.

    Args:
        max_length_ratio, max_length_offset: at most ratio * source length + offset tokens; all
            lengths count the end symbol.
        min_length_ratio: at least ratio * source length tokens.
        forbid_unknown: never write the unknown symbol.
    """

    def __init__(
        self,
        *,
        max_length_ratio: float = 2.0,
        max_length_offset: int = 20,
        min_length_ratio: float = 0.0,
        forbid_unknown: bool = False,
    ) -> None:
        self.limits = LengthLimits(max_length_ratio, max_length_offset, min_length_ratio)
        self.forbid_unknown = forbid_unknown

    def greedy(self) -> GreedySearch:
        """Itself: what a search offers where a fast answer will do."""
        return self

    @torch.inference_mode()
    def __call__(
        self,
        model: Decodable[State],
        source: Padded,
        *,
        num_best: int = 1,
        with_attention: bool = False,
    ) -> list[list[Hypothesis]]:
        """One list of one hypothesis for each row of `source`; its score is its log probability.

        `model` is expected in evaluation mode. Equal logits: the lower id.
        """
        if num_best != 1:
            raise ConfigError(
                f"num_best={num_best}", "greedy search finds one output", "use decoding=beam"
            )
        if source.batch_size == 0:
            return []
        device = source.values.device
        shortest, longest = (limit.to(device) for limit in self.limits.of(source.lengths))
        output = Written(source.lengths, int(longest.max()), device, with_attention)
        sentences = torch.arange(source.batch_size, device=device)
        tokens = torch.full_like(sentences, BOS_ID)
        log_probs = torch.zeros(len(sentences), device=device)
        state = model.start(source)
        length = 0
        while True:
            length += 1
            logits, attention, state = model.step(tokens, state)
            scores, ids = next_tokens(logits, 1, self.forbid_unknown)
            scores += log_probs.unsqueeze(1)
            ends = (
                (scores[:, 0] >= scores[:, 1]) & (scores[:, 0] > -torch.inf) & (length >= shortest)
            )
            choice = (~ends).long().unsqueeze(1)
            log_probs = scores.gather(1, choice).squeeze(1)
            tokens = ids.gather(1, choice).squeeze(1)
            output.write(sentences, length, tokens, log_probs, attention)
            stays = ~ends & (length < longest)
            if not bool(stays.all()):
                rows = stays.nonzero().squeeze(1)
                if len(rows) == 0:
                    return [[hypothesis] for hypothesis in output.hypotheses()]
                sentences, tokens, log_probs = sentences[rows], tokens[rows], log_probs[rows]
                shortest, longest = shortest[rows], longest[rows]
                state = model.select(state, rows)
