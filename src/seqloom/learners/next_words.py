"""Suggestions: the likeliest next words of a text, whatever a model's tokens are.

The idea: a word ends where the next token does not belong to it, so the probability of a word is
that of its tokens times that of all tokens which could follow it from outside. A beam collects
words until nothing unfinished weighs anything beside what was found. Where the text ends inside a
word, words that go on from there compete with words after it. The price: ways to a word that fell
out of the beam are not counted, so a probability is a little too low.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqloom.decoding.protocol import Decodable
from seqloom.learners.answers import Answer
from seqloom.sequences import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Padded

MAX_TOKENS = 24  # of a word and the space before it
MIN_BEAM = 32
NEGLIGIBLE = math.log(0.01)  # ways to a word that are rarer than this share of what was found


class WordTokens:
    """What each token is for a word.

    Args:
        texts: of all V tokens; special ones are not text.

    Attributes:
        begins: [V] True where a token begins with a letter, a digit or an underscore, so that it
            can belong to the word before it.
        is_blank: [V] True for white space alone.
        may_follow: [V] True for a token that may be part of a suggestion.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        for index in (PAD_ID, BOS_ID, EOS_ID, UNK_ID):
            self.texts[index] = ""
        self.begins = torch.tensor([bool(text) and is_letter(text[0]) for text in self.texts])
        self.is_blank = torch.tensor([text.isspace() for text in self.texts])
        self.may_follow = torch.tensor([bool(text) for text in self.texts])


@dataclass(frozen=True)
class _Word:
    """A beginning: its text with the space before it, and its log probability."""

    text: str
    log_prob: float


@torch.inference_mode()
def next_words(
    model: Decodable[Any], prompt: Tensor, text: str, tokens: WordTokens, num_best: int
) -> list[Answer]:
    """The `num_best` likeliest next words of `text`, whose ids are `prompt` [T] on the model's
    device; fewer where the model has fewer. Scores are probabilities."""
    beam_size = max(MIN_BEAM, 4 * num_best)
    state = model.start(Padded(prompt.unsqueeze(0), torch.tensor([len(prompt)])))
    last = torch.tensor([BOS_ID], device=prompt.device)
    live = [_Word("", 0.0)]
    found: dict[str, float] = {}
    for _ in range(MAX_TOKENS):
        with torch.autocast(prompt.device.type, enabled=False):
            logits, _, state = model.step(last, state)
        log_probs = logits.float().log_softmax(dim=1).cpu()
        _finish(live, log_probs, text, tokens, found)
        rows, last, live = _extend(live, log_probs, tokens, beam_size)
        _finish_signs(live, text, found)
        kept = _promising(live, found, num_best)
        if not kept:
            break
        state = model.select(state, rows[kept].to(prompt.device))
        last, live = last[kept].to(prompt.device), [live[index] for index in kept]
    best = sorted(found.items(), key=lambda item: -item[1])[:num_best]
    return [Answer(word, math.exp(log_prob), log_prob) for word, log_prob in best]


def is_letter(character: str) -> bool:
    """Whether it is part of a word."""
    return character.isalnum() or character == "_"


def _finish(
    live: Sequence[_Word], log_probs: Tensor, text: str, tokens: WordTokens, found: dict[str, float]
) -> None:
    """Adds the words that end here: what follows them is from outside."""
    outside = log_probs.masked_fill(tokens.begins, -torch.inf).logsumexp(dim=1).tolist()
    for word, end in zip(live, outside, strict=True):
        if word.text.strip():
            _add(found, _whole(word.text, text), word.log_prob + end)


def _finish_signs(live: Sequence[_Word], text: str, found: dict[str, float]) -> None:
    """Adds signs of punctuation, which need nothing behind them."""
    for word in live:
        if word.text.strip() and not is_letter(word.text.strip()[0]):
            _add(found, word.text.strip(), word.log_prob)


def _extend(
    live: Sequence[_Word], log_probs: Tensor, tokens: WordTokens, beam_size: int
) -> tuple[Tensor, Tensor, list[_Word]]:
    """The likeliest beginnings that are one token longer, best first: the rows they come from,
    their last tokens, and themselves."""
    allowed = tokens.may_follow.repeat(len(live), 1)
    for row, word in enumerate(live):
        if word.text.strip():
            allowed[row] &= tokens.begins
    totals = log_probs + torch.tensor([word.log_prob for word in live]).unsqueeze(1)
    totals = totals.masked_fill(~allowed, -torch.inf).flatten()
    values, places = totals.topk(min(beam_size, int((totals > -torch.inf).sum())))
    rows, ids = places // log_probs.shape[1], places % log_probs.shape[1]
    longer = [
        _Word(live[row].text + tokens.texts[token], value)
        for row, token, value in zip(rows.tolist(), ids.tolist(), values.tolist(), strict=True)
    ]
    return rows, ids, longer


def _promising(live: Sequence[_Word], found: dict[str, float], num_best: int) -> list[int]:
    """Beginnings that may still change the `num_best` found, or what they add up to."""
    scores = sorted(found.values(), reverse=True)
    least = scores[num_best - 1] if len(scores) >= num_best else -math.inf
    return [
        index
        for index, word in enumerate(live)
        if word.log_prob > least + NEGLIGIBLE
        and (not word.text.strip() or is_letter(word.text.strip()[0]))
    ]


def _whole(continuation: str, text: str) -> str:
    """The word, with the part of it that `text` ends with."""
    word = continuation.strip()
    if continuation[0].isspace() or not is_letter(word[0]):
        return word
    start = len(text)
    while start and is_letter(text[start - 1]):
        start -= 1
    return text[start:] + word


def _add(found: dict[str, float], word: str, log_prob: float) -> None:
    """Another way to the same word: their probabilities add up."""
    before = found.get(word, -math.inf)
    high, low = max(before, log_prob), min(before, log_prob)
    found[word] = high + math.log1p(math.exp(low - high)) if high > -math.inf else high
