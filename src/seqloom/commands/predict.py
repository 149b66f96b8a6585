"""`predict`: lines in, lines out, in order, while they come.

What a line means is the learner's to say: a sentence to translate, a prompt to go on from, the
numbers or symbols of a sequence, the class of a text to make. Line i of the input becomes line i of
the output; with `n_best=N` it becomes N lines, best first (empty ones where there are fewer).
`scores=true` puts the score and a tab before each text. `suggest=true` gives the next words with
their probabilities instead of a whole answer. An empty line stays empty, with score 0. Lines are
taken as they are there: a file in windows that are sorted by length into batches, a typed line at
once. A line's answer does not depend on its neighbours. A line break that a model writes becomes a
space, or, for models of text with lines, the two characters `\\n`, which such a model also reads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from seqloom.commands.lines import opened_input, opened_output, windows
from seqloom.commands.loading import LoadedRun, load_run
from seqloom.learners import Answer

WINDOW_LINES = 2048
MAX_BATCH_LINES = 64
MAX_BATCH_CHARACTERS = 32_000

Respond = Callable[[Sequence[str]], list[list[Answer]]]
NOTHING = Answer("", 0.0, 0.0)


def predict(
    run: Path,
    *,
    input_path: str = "-",
    output_path: str = "-",
    num_best: int = 1,
    with_scores: bool = False,
    suggest: bool = False,
    overrides: Sequence[str] = (),
) -> None:
    """Answers one file by another (`-`: standard input and output) with the run in `run`.

    Args:
        suggest: give next words instead of whole answers.
        overrides: of what does not shape the weights (`decoding.beam_size=10`).

    A reader that closes the pipe ends it quietly.

    Raises:
        ConfigError: no such run or file, or a search that cannot give `num_best` answers.
        DataError: an input line is not UTF-8. Lines before it are answered, but a file as output
            does not appear.
    """
    with opened_input(input_path) as source, opened_output(output_path) as stream:
        loaded = load_run(run, overrides=overrides)
        respond = responder(loaded, num_best, suggest=suggest)
        breaks = loaded.learner.has_lines
        try:
            for window in windows(source, input_path, WINDOW_LINES):
                lines = [unescaped(line) for line in window] if breaks else window
                for answers in answer_lines(lines, respond):
                    stream.writelines(format_answers(answers, num_best, with_scores, breaks))
                stream.flush()
        except BrokenPipeError:
            # Python would complain again when it flushes standard output at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def responder(loaded: LoadedRun, num_best: int, *, suggest: bool = False) -> Respond:
    """Answers a batch of non-empty lines on the run's device."""
    learner = loaded.learner.to(loaded.device)
    ask = learner.suggest if suggest else learner.answer

    def respond(texts: Sequence[str]) -> list[list[Answer]]:
        return ask(texts, num_best=num_best)

    return respond


def answer_lines(lines: Sequence[str], respond: Respond) -> list[list[Answer]]:
    """The answers of each line, in order; `respond` sees lines of similar length together."""
    answers: list[list[Answer]] = [[NOTHING] for _ in lines]
    for batch in _batches([len(line) if line.strip() else 0 for line in lines]):
        found = respond([lines[row] for row in batch])
        for row, hypotheses in zip(batch, found, strict=True):
            answers[row] = hypotheses
    return answers


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows by falling length, at most so many and so many padded characters a batch.

    Rows of length 0 are left out.
    """
    order = sorted((row for row, length in enumerate(lengths) if length), key=lambda r: -lengths[r])
    start = 0
    while start < len(order):
        by_cost = max(1, MAX_BATCH_CHARACTERS // lengths[order[start]])
        stop = start + min(MAX_BATCH_LINES, by_cost)
        yield order[start:stop]
        start = stop


def unescaped(line: str) -> str:
    r"""The line with `\n` as a line feed and `\\` as a backslash."""
    parts = line.split("\\\\")
    return "\\".join(part.replace("\\n", "\n") for part in parts)


def escaped(text: str) -> str:
    """Undoes `unescaped`, so that a text of several lines is one line."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def format_answers(
    answers: Sequence[Answer], num_best: int, with_scores: bool, has_lines: bool
) -> list[str]:
    """Exactly `num_best` lines with their line feeds."""
    lines = []
    for rank in range(num_best):
        if rank >= len(answers):
            lines.append("\n")
            continue
        text = answers[rank].text
        text = escaped(text) if has_lines else " ".join(text.splitlines()).replace("\t", " ")
        lines.append(f"{answers[rank].score:.4f}\t{text}\n" if with_scores else f"{text}\n")
    return lines
