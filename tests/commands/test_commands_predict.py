"""Predict: every line answered in its place, whatever the batches; columns as documented."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.commands.predict import (
    MAX_BATCH_CHARACTERS,
    MAX_BATCH_LINES,
    answer_lines,
    format_answers,
    unescaped,
)
from seqloom.learners import Answer


class Reverser:
    """Answers a line with its characters reversed, and keeps the batches that it saw."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> list[list[Answer]]:
        self.batches.append(list(texts))
        return [[Answer(text[::-1], -1.0, -2.0)] for text in texts]


@given(st.lists(st.text(alphabet="ab \u00e9", max_size=30), max_size=200))
def test_answers_come_in_the_order_of_the_lines(lines: list[str]) -> None:
    respond = Reverser()
    answers = answer_lines(lines, respond)
    expected = [line[::-1] if line.strip() else "" for line in lines]
    assert [found[0].text for found in answers] == expected
    assert all(text.strip() for batch in respond.batches for text in batch)


@given(st.lists(st.integers(1, 3 * MAX_BATCH_CHARACTERS), min_size=1, max_size=20))
def test_a_batch_keeps_its_limits_unless_one_line_is_longer(lengths: list[int]) -> None:
    respond = Reverser()
    answer_lines(["x" * length for length in lengths], respond)
    for batch in respond.batches:
        cost = len(batch) * max(map(len, batch))
        assert len(batch) == 1 or (len(batch) <= MAX_BATCH_LINES and cost <= MAX_BATCH_CHARACTERS)


@pytest.mark.parametrize(
    ("num_best", "with_scores", "lines"),
    [
        (1, False, ["a b c\n"]),
        (1, True, ["-0.5000\ta b c\n"]),
        (3, False, ["a b c\n", "d\n", "\n"]),
        (3, True, ["-0.5000\ta b c\n", "-1.2500\td\n", "\n"]),
    ],
)
def test_one_line_an_answer_and_always_as_many(
    num_best: int, with_scores: bool, lines: list[str]
) -> None:
    answers = [Answer("a\nb\tc", -0.5, -1.0), Answer("d", -1.25, -2.0)]
    assert format_answers(answers, num_best, with_scores, has_lines=False) == lines


@given(st.text(alphabet="ab\\\n \t"))
def test_a_text_of_several_lines_is_one_line_and_comes_back(text: str) -> None:
    (line,) = format_answers([Answer(text, 0.0, 0.0)], 1, False, has_lines=True)
    assert line.count("\n") == 1
    assert unescaped(line.removesuffix("\n")) == text
