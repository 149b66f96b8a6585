r"""`predict`: lines or clips in, answers out, in order, while they come.

What a line means is the learner's to say: a sentence to translate, a prompt to go on from, the
numbers or symbols of a sequence, the class of a text to make. Line i of the input becomes line i of
the output; with `n_best=N` it becomes N lines, best first (empty ones where there are fewer).
`scores=true` puts the score and a tab before each text. `suggest=true` gives the next words with
their probabilities instead of a whole answer. An empty line stays empty, with score 0. Lines are
taken as they are there: a file in windows that are sorted by length into batches, a typed line at
once. A line's answer does not depend on its neighbours. A line break that a model writes becomes a
space, or, for models of text with lines, the two characters `\n`, which such a model also reads.

For runs that read clips, `input` is a video file or a folder of pictures, a folder of such clips, a
quoted pattern, or a list with a path a line (a `.txt` file, or `-`); see `clip_files`. Each clip
becomes `path<TAB>class` (or sentence), with `scores=true` `path<TAB>score<TAB>class`; N lines with
`n_best=N`. `timeline=true` gives `path<TAB>seconds<TAB>class<TAB>probability` at each multiple of
`every_s` and at the last frame, told of all frames up to then, while the clip plays; `fps` says how
many frames a second are looked at. `format=jsonl` gives an object a clip: `path` and

    "answers": [{"text", "score"}, ...], "probabilities": {CLASS: probability of every class}
    "timeline": [{"time_s", "class", "probability", "probabilities"}, ...]    with timeline=true

A clip that does not decode ends the command; with `on_error=skip` it has an empty answer (an object
has `error`), a warning and a count on standard error, and the exit code stays 0.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from seqloom.commands.lines import opened_input, opened_output, windows
from seqloom.commands.loading import LoadedRun, load_run
from seqloom.data.spec import VideoSide
from seqloom.errors import ConfigError
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
    timeline: bool = False,
    every_s: float | None = None,
    fps: float | None = None,
    form: str = "lines",
    on_error: str = "raise",
    overrides: Sequence[str] = (),
) -> None:
    """Answers one input by one output (`-`: standard input and output) with the run in `run`.

    Args:
        suggest: give next words instead of whole answers.
        timeline, every_s, fps, form, on_error: of runs that read clips, see `clips.ClipAnswers`.
        overrides: of what does not shape the weights (`decoding.beam_size=10`).

    A reader that closes the pipe ends it quietly.

    Raises:
        ConfigError: no such run, file or clip, a key that is not for this run's kind of data, or a
            search that cannot give `num_best` answers.
        DataError: an input line is not UTF-8, or a clip is bad. What comes before it is answered,
            but a file as output does not appear.
    """
    loaded = load_run(run, overrides=overrides)
    try:
        if isinstance(loaded.spec.source, VideoSide):
            # Not for runs of text, which need no decoder of videos.
            from seqloom.commands.clips import ClipAnswers, predict_clips

            refuse_keys({"suggest=true": suggest}, "is for runs that read text")
            options = ClipAnswers(
                num_best=num_best,
                with_scores=with_scores,
                timeline=timeline,
                every_s=every_s,
                fps=fps,
                form=form,
                on_error=on_error,
            )
            with opened_output(output_path) as stream:
                predict_clips(loaded, input_path=input_path, output=stream, options=options)
            return
        clip_keys = {
            "timeline=true": timeline,
            f"every_s={every_s}": every_s is not None,
            f"fps={fps}": fps is not None,
            f"format={form}": form != "lines",
            f"on_error={on_error}": on_error != "raise",
        }
        refuse_keys(clip_keys, "is for runs that read clips")
        with opened_input(input_path) as source, opened_output(output_path) as stream:
            respond = responder(loaded, num_best, suggest=suggest)
            breaks = loaded.learner.has_lines
            for window in windows(source, input_path, WINDOW_LINES):
                lines = [unescaped(line) for line in window] if breaks else window
                for answers in answer_lines(lines, respond):
                    stream.writelines(format_answers(answers, num_best, with_scores, breaks))
                stream.flush()
    except BrokenPipeError:
        # Python would complain again when it flushes standard output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_keys(given: Mapping[str, bool], why: str) -> None:
    """Raises ConfigError for the first of the keys that was given."""
    for key, is_given in given.items():
        if is_given:
            raise ConfigError(key, why, "leave it out")


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
