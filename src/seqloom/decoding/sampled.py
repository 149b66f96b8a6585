"""Sampling: every next token is drawn from what the model believes.

The idea: chance is a function of (seed, source, number of the sample), drawn before the first step,
so a row gets the same sample alone, in a batch, and again; the price is that equal sources get
equal samples, unless `numbered` tells them apart. `temperature`, `top_k` and `top_p` (nucleus
sampling, Holtzman et al. 2020) take mass from what is unlikely. Refuses nothing that a model can
say; what never ends is cut at `max_length`.
"""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import torch
from torch import Tensor

from seqloom.decoding.candidates import top_k as largest
from seqloom.decoding.greedy import GreedySearch
from seqloom.decoding.hypotheses import Written
from seqloom.decoding.protocol import Decodable, Hypothesis, State
from seqloom.errors import ConfigError
from seqloom.sequences import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Padded


class SampledSearch:
    """Draws each token from the model's distribution.

    Args:
        temperature: divides the logits; below 1 the likely becomes likelier, 0 is greedy.
        top_k: only the k likeliest tokens may be drawn; None for all.
        top_p: only the smallest set of likeliest tokens that holds this share of what is left.
        max_length: tokens of an output, the end symbol included.
        seed: of all samples.
        forbid_unknown: never write the unknown symbol.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        max_length: int = 200,
        seed: int = 0,
        forbid_unknown: bool = True,
    ) -> None:
        if temperature < 0:
            raise ConfigError(f"temperature={temperature}", "is negative", "set 0 (greedy) or more")
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k={top_k}", "leaves no token", "set 1 or more, or null")
        if not 0 < top_p <= 1:
            raise ConfigError(f"top_p={top_p}", "is no share", "set above 0, at most 1")
        if max_length < 1:
            raise ConfigError(f"max_length={max_length}", "leaves no token", "set 1 or more")
        self.temperature, self.top_p = temperature, top_p
        self.top_k = 1 if temperature == 0 else top_k
        self.max_length, self.seed, self.forbid_unknown = max_length, seed, forbid_unknown
        self._numbers: Tensor | None = None

    def greedy(self) -> GreedySearch:
        """Greedy search under the same limit."""
        return GreedySearch(
            max_length_ratio=0.0,
            max_length_offset=self.max_length,
            forbid_unknown=self.forbid_unknown,
        )

    def numbered(self, numbers: Tensor) -> SampledSearch:
        """This search with row b's samples counted from `numbers` [B] (int64, on the CPU, not
        negative) instead of 0, so that equal sources differ."""
        search = copy.copy(self)
        search._numbers = numbers
        return search

    @torch.inference_mode()
    def __call__(
        self,
        model: Decodable[State],
        source: Padded,
        *,
        num_best: int = 1,
        with_attention: bool = False,
    ) -> list[list[Hypothesis]]:
        """`num_best` independent samples for each row of `source`, in the order of drawing, so that
        the first is the same for any `num_best`.

        Their score is their log probability under the model itself. `model` is expected in
        evaluation mode.
        """
        if num_best < 1:
            raise ConfigError(f"num_best={num_best}", "asks for nothing", "set it to 1 or more")
        if source.batch_size == 0:
            return []
        device = source.values.device
        lengths = source.lengths.repeat_interleave(num_best)
        written = Written(lengths, self.max_length, device, with_attention)
        chances = torch.from_numpy(self._chances(source, num_best)).to(device)
        rows = torch.arange(len(lengths), device=device)  # Samples of one source side by side.
        state = model.start(source)
        if num_best > 1:
            state = model.select(state, rows // num_best)
        tokens = torch.full_like(rows, BOS_ID)
        log_probs = torch.zeros(len(rows), device=device)
        ended = torch.zeros(len(rows), dtype=torch.bool, device=device)
        for length in range(1, self.max_length + 1):
            logits, attention, state = model.step(tokens, state)
            tokens, drawn = self._draw(logits, chances[rows, length - 1])
            log_probs = log_probs + drawn
            live = ~ended
            written.write(rows[live], length, tokens[live], log_probs[live], attention[live])
            ended = ended | (tokens == EOS_ID)
            # A source's samples leave together: its rows must stay equally many.
            done = ended.view(-1, num_best).all(dim=1).repeat_interleave(num_best)
            if bool(done.all()):
                break
            if bool(done.any()):
                kept = (~done).nonzero().squeeze(1)
                rows, tokens, log_probs, ended = (
                    each[kept] for each in (rows, tokens, log_probs, ended)
                )
                state = model.select(state, kept)
        found = written.hypotheses()
        return [found[start : start + num_best] for start in range(0, len(found), num_best)]

    def _draw(self, logits: Tensor, chances: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [N] of logits [N, V] by chances [N] in 0..1, and their log probabilities under the
        model; a row whose logits are not numbers ends, with -inf."""
        logits = logits.float()
        mass = self.probabilities(logits).double().cumsum(dim=1)
        total = mass[:, -1:].contiguous()
        tokens = torch.searchsorted(mass, chances.unsqueeze(1) * total, right=True)
        last = torch.searchsorted(mass, total)  # Rounding must not lead beyond the last that may.
        tokens = torch.minimum(tokens, last).clamp(max=logits.shape[1] - 1).squeeze(1)
        tokens = torch.where(total.squeeze(1) > 0, tokens, EOS_ID)
        log_probs = logits.gather(1, tokens.unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=1)
        return tokens, log_probs.clamp(max=0).nan_to_num(nan=-torch.inf, neginf=-torch.inf)

    def probabilities(self, logits: Tensor) -> Tensor:
        """[N, V] of logits [N, V]: what a token is drawn from; 0 for what may not be drawn, and all
        0 in a row whose logits are not numbers."""
        forbidden = [PAD_ID, BOS_ID, UNK_ID] if self.forbid_unknown else [PAD_ID, BOS_ID]
        scores = logits.clone()
        scores[:, forbidden] = -torch.inf
        if self.top_k is not None and self.top_k < scores.shape[1]:
            values, kept = largest(scores, self.top_k)
            scores = torch.full_like(scores, -torch.inf).scatter(1, kept, values)
        probabilities = (scores / (self.temperature or 1.0)).softmax(dim=1).nan_to_num(nan=0.0)
        if self.top_p < 1:
            sorted_mass, order = probabilities.sort(dim=1, descending=True, stable=True)
            before = sorted_mass.cumsum(dim=1) - sorted_mass
            sorted_mass = sorted_mass.masked_fill(before >= self.top_p, 0)
            probabilities = torch.zeros_like(probabilities).scatter(1, order, sorted_mass)
        return probabilities

    def _chances(self, source: Padded, num_best: int) -> np.ndarray:
        """[B * num_best, max_length] float64 in 0..1, a function of each row's own content."""
        rows = []
        for index, row in enumerate(source.to_list()):
            values = row.float() if row.is_floating_point() else row
            content = hashlib.blake2b(values.cpu().numpy().tobytes(), digest_size=8).digest()
            first = 0 if self._numbers is None else int(self._numbers[index])
            for number in range(first, first + num_best):
                key = (self.seed, number, int.from_bytes(content, "little"))
                rows.append(np.random.default_rng(key).random(self.max_length))
        return np.stack(rows)
