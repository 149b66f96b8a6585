"""Suggestions against every word that a small model can write, counted one by one."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise, product

import pytest
import torch
from learner_fakes import Letters
from torch import Tensor

from seqloom.learners.next_words import WordTokens, next_words
from seqloom.sequences import Padded

LETTERS = Letters(" .")
TOKENS = WordTokens(["", "", "", "", *LETTERS.characters])


@dataclass(frozen=True)
class Markov:
    """The next token depends on the last one; reads a prompt as a language model does."""

    table: Tensor

    def start(self, source: Padded) -> tuple[Tensor, bool]:
        return source.values[:, -1], True

    def step(
        self, tokens: Tensor, state: tuple[Tensor, bool]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, bool]]:
        last = state[0] if state[1] else tokens
        return self.table[last], torch.zeros(len(last), 0), (last, False)

    def select(self, state: tuple[Tensor, bool], rows: Tensor) -> tuple[Tensor, bool]:
        return state[0][rows], False


def model(seed: int) -> Markov:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(LETTERS.vocab_size, LETTERS.vocab_size, generator=generator) * 2
    table[:, :4] = -20.0
    table[:, -2:] += 2.0  # words end soon
    return Markov(table)


def by_counting(markov: Markov, text: str, max_letters: int) -> dict[str, float]:
    """Probabilities of all next words: spaces, then letters or one sign, then no letter."""
    table = markov.table.double().softmax(dim=1)
    outside = table[:, [0, 1, 2, 3, 9, 10]].sum(dim=1).tolist()
    steps = table.tolist()

    def chance(text: str) -> float:
        ids = LETTERS.encode(text)
        return math.prod(steps[a][b] for a, b in pairwise(ids))

    before = text[len(text.rstrip("abcde")) :]
    found: dict[str, float] = defaultdict(float)
    for blanks in range(20):
        start = text[-1] + " " * blanks
        found["."] += chance(start + ".")
        for count in range(1, max_letters + 1):
            for letters in map("".join, product("abcde", repeat=count)):
                end = outside[LETTERS.encode(letters[-1])[0]]
                found[letters if blanks else before + letters] += chance(start + letters) * end
    return found


@pytest.mark.parametrize("text", ["ab", "ab ", "c.", "d e"])
@pytest.mark.parametrize("seed", range(3))
def test_the_likeliest_words_come_first_with_their_probabilities(text: str, seed: int) -> None:
    markov = model(seed)
    expected = sorted(by_counting(markov, text, 4).items(), key=lambda item: -item[1])
    found = next_words(markov, torch.tensor(LETTERS.encode(text)), text, TOKENS, 3)
    assert [answer.text for answer in found] == [word for word, _ in expected[:3]]
    for answer, (_, probability) in zip(found, expected, strict=False):
        assert answer.score == pytest.approx(probability, rel=0.05)
        assert answer.score == pytest.approx(math.exp(answer.log_prob))


def test_a_word_of_several_letters_in_one_token_is_a_word() -> None:
    """Tokens of subwords: ` the`, ` th`, `e`, `.`; after ` the` only a full stop may follow."""
    tokens = WordTokens(["", "", "", "", " the", " th", "e", "."])
    table = torch.full((8, 8), -30.0)
    table[7, 4], table[7, 5] = math.log(0.6), math.log(0.4)
    table[4, 7] = table[5, 6] = table[6, 7] = 0.0
    (best, *_) = next_words(Markov(table), torch.tensor([7]), ".", tokens, 1)
    assert best.text == "the"
    assert best.score == pytest.approx(1.0)  # 0.6 in one piece, 0.4 in two
