"""`predict`: lines in, lines out, in order, while they come.

Line i of the input becomes line i of the output; with `n_best=N` it becomes N lines, best first
(empty ones where the search found fewer). `scores=true` puts the score and a tab before each text.
An empty line stays empty, with score 0. Lines are taken as they are there: a file in windows that
are sorted by length into batches, a typed line at once. A line's answer does not depend on its
neighbours. A line break or tab that a model writes becomes a space.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from seqloom.commands.lines import opened_input, opened_output, windows
from seqloom.commands.loading import LoadedRun, load_run
from seqloom.learners.encoder_decoder import Translation

WINDOW_LINES = 2048
MAX_BATCH_LINES = 64
MAX_BATCH_CHARACTERS = 32_000

Translate = Callable[[Sequence[str]], list[list[Translation]]]
NOTHING = Translation("", 0.0, 0.0)


def predict(
    run: Path,
    *,
    input_path: str = "-",
    output_path: str = "-",
    num_best: int = 1,
    with_scores: bool = False,
    overrides: Sequence[str] = (),
) -> None:
    """Translates one file to another (`-`: standard input and output) with the run in `run`.

    Args:
        overrides: of what does not shape the weights (`decoding.beam_size=10`).

    A reader that closes the pipe ends it quietly.

    Raises:
        ConfigError: no such run or file, or a search that cannot give `num_best` answers.
        DataError: an input line is not UTF-8. Lines before it are answered, but a file as output
            does not appear.
    """
    with opened_input(input_path) as source, opened_output(output_path) as stream:
        loaded = load_run(run, overrides=overrides)
        translate = translator(loaded, num_best)
        try:
            for window in windows(source, input_path, WINDOW_LINES):
                for answers in translate_lines(window, translate):
                    stream.writelines(format_answers(answers, num_best, with_scores))
                stream.flush()
        except BrokenPipeError:
            # Python would complain again when it flushes standard output at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def translator(loaded: LoadedRun, num_best: int) -> Translate:
    """Translates a batch of non-empty lines on the run's device."""
    learner = loaded.learner.to(loaded.device)

    def translate(texts: Sequence[str]) -> list[list[Translation]]:
        return learner.translate(texts, num_best=num_best)

    return translate


def translate_lines(lines: Sequence[str], translate: Translate) -> list[list[Translation]]:
    """The answers of each line, in order; `translate` sees lines of similar length together."""
    answers: list[list[Translation]] = [[NOTHING] for _ in lines]
    for batch in _batches([len(line) if line.strip() else 0 for line in lines]):
        found = translate([lines[row] for row in batch])
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


def format_answers(answers: Sequence[Translation], num_best: int, with_scores: bool) -> list[str]:
    """Exactly `num_best` lines with their line feeds."""
    lines = []
    for rank in range(num_best):
        if rank >= len(answers):
            lines.append("\n")
            continue
        text = " ".join(answers[rank].text.splitlines()).replace("\t", " ")
        lines.append(f"{answers[rank].score:.4f}\t{text}\n" if with_scores else f"{text}\n")
    return lines
