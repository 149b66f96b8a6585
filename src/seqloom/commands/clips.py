"""Clips in, classes or sentences out: what `predict` does for runs that read clips.

The one idea: an answer depends on its clip alone, so clips are answered in small groups, and where
one of a group is bad, one by one: those before it are answered in any case. What is written is told
in `predict`. With a timeline a clip is played instead (`timeline`), and its lines come as it plays.
Refuses keys that this way of answering would not heed. The price: a bad clip costs its group twice.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

import torch
from torch import Tensor

from seqloom.commands.clip_files import named_clips, shown_path
from seqloom.commands.loading import LoadedRun
from seqloom.commands.timeline import Moment, Watcher, can_watch, timeline
from seqloom.data.spec import ClassSide, VideoSide
from seqloom.data.video.reader import open_clip
from seqloom.data.video.sampling import FrameSampling
from seqloom.errors import ConfigError, DataError
from seqloom.learners import Answer, Learner

MAX_BATCH_CLIPS = 8
EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class ClipAnswers:
    """What is written of each clip.

    Attributes:
        num_best: lines for each clip, or for each moment of it.
        with_scores: the score before each answer.
        timeline: moments of the clip instead of one answer.
        every_s: seconds between moments; None: `EVERY_S`.
        fps: frames looked at in a second of a timeline; None: see `timeline.playing`.
        form: `lines` or `jsonl`.
        on_error: `raise`, or `skip` for an empty answer and a warning.
    """

    num_best: int = 1
    with_scores: bool = False
    timeline: bool = False
    every_s: float | None = None
    fps: float | None = None
    form: str = "lines"
    on_error: str = "raise"

    def __post_init__(self) -> None:
        for name in ("every_s", "fps"):
            if getattr(self, name) is not None and not self.timeline:
                raise ConfigError(
                    f"{name}={getattr(self, name):g}",
                    "only a timeline has moments and frames",
                    "add timeline=true, or leave it out",
                )


def predict_clips(
    loaded: LoadedRun, *, input_path: str, output: TextIO, options: ClipAnswers
) -> None:
    """Answers the clips that `input_path` names (see `clip_files`), in their order.

    Raises:
        ConfigError: there is no clip, or the run's model has no classes for a timeline.
        DataError: a clip is bad, unless `on_error=skip`; clips before it are answered.
    """
    learner, side = loaded.learner.to(loaded.device), loaded.spec.source
    assert isinstance(side, VideoSide)
    target = loaded.spec.target
    names = target.names if isinstance(target, ClassSide) else ()
    pen = _Pen(output, options, names)
    if options.timeline:
        if not names:
            raise ConfigError(
                "timeline=true", "this run's model writes sentences, not classes", "leave it out"
            )
        watcher = cast(Watcher, learner)
        player = _Player(watcher, side, options, can_watch(watcher), loaded.device)
    else:
        player = None
    num_clips = num_bad = 0
    with torch.no_grad():
        for paths in named_clips(input_path, batch_size(side.sampling)):
            num_clips += len(paths)
            num_bad += _play(paths, player, pen) if player else _answer(paths, learner, pen)
    if num_bad:
        print(f"{num_bad} of {num_clips} clips could not be answered", file=sys.stderr)


def batch_size(sampling: FrameSampling) -> int:
    """Clips that are answered together: one where a clip may give any number of frames."""
    is_limited = sampling.by in ("uniform", "segments") or sampling.max_frames is not None
    return MAX_BATCH_CLIPS if is_limited else 1


@dataclass(frozen=True)
class _Player:
    """Moments of a clip."""

    learner: Watcher
    side: VideoSide
    options: ClipAnswers
    carries: bool
    device: torch.device

    def moments(self, path: str) -> Iterator[Moment]:
        with open_clip(Path(path).expanduser()) as clip:
            yield from timeline(
                clip,
                self.learner,
                self.side,
                every_s=self.options.every_s or EVERY_S,
                fps=self.options.fps,
                carries=self.carries,
                device=self.device,
            )


def _answer(paths: Sequence[str], learner: Learner, pen: _Pen) -> int:
    """Writes the answers of a group; returns how many clips were bad."""
    try:
        answers = learner.answer(paths, num_best=pen.num_asked)
    except DataError as error:
        if len(paths) > 1:
            return sum(_answer([path], learner, pen) for path in paths)
        pen.write_bad(paths[0], error)
        return 1
    for path, found in zip(paths, answers, strict=True):
        pen.write(path, found)
    return 0


def _play(paths: Sequence[str], player: _Player, pen: _Pen) -> int:
    """Writes the moments of each clip as they come; returns how many clips were bad."""
    num_bad = 0
    for path in paths:
        told: list[Moment] = []
        try:
            for moment in player.moments(path):
                if pen.is_json:
                    told.append(moment)
                else:
                    pen.write_moment(path, moment)
        except DataError as error:
            pen.write_bad(path, error, told)
            num_bad += 1
        else:
            if pen.is_json:
                pen.write_moments(path, told)
    return num_bad


class _Pen:
    """Writes answers in the form that was asked for."""

    def __init__(self, stream: TextIO, options: ClipAnswers, names: tuple[str, ...]) -> None:
        self._stream, self._options, self._names = stream, options, names
        self.is_json = options.form == "jsonl"
        # An object tells the probabilities of all classes.
        self.num_asked = max(options.num_best, len(names) if self.is_json else 0)

    def write(self, path: str, answers: Sequence[Answer]) -> None:
        """One clip's answers, the best first."""
        num_best = self._options.num_best
        if self.is_json:
            shown = [{"text": a.text, "score": _rounded(a.score)} for a in answers[:num_best]]
            record: dict[str, object] = {"path": shown_path(path), "answers": shown}
            if self._names:
                scores = {answer.text: _rounded(answer.score) for answer in answers}
                record["probabilities"] = {name: scores.get(name) for name in self._names}
            self._write_record(record)
            return
        rows = [(f"{answer.score:.4f}", _one_line(answer.text)) for answer in answers]
        rows += [("", "")] * (num_best - len(rows))
        for score, text in rows[:num_best]:
            columns = [score, text] if self._options.with_scores else [text]
            self._write_columns(path, *columns)
        self._stream.flush()

    def write_moment(self, path: str, moment: Moment) -> None:
        """The likeliest classes at one time."""
        for name, probability in self._ranked(moment.probabilities):
            self._write_columns(path, f"{moment.time_s:.3f}", name, f"{probability:.4f}")
        self._stream.flush()

    def write_moments(
        self, path: str, told: Sequence[Moment], error: DataError | None = None
    ) -> None:
        """All moments of a clip as one object."""
        moments = []
        for moment in told:
            (name, probability), *_ = self._ranked(moment.probabilities)
            values = zip(self._names, map(_rounded, moment.probabilities.tolist()), strict=True)
            moments.append(
                {
                    "time_s": _rounded(moment.time_s),
                    "class": name,
                    "probability": _rounded(probability),
                    "probabilities": dict(values),
                }
            )
        record: dict[str, object] = {"path": shown_path(path), "timeline": moments}
        self._write_record(record if error is None else {**record, "error": str(error)})

    def write_bad(self, path: str, error: DataError, told: Sequence[Moment] = ()) -> None:
        """An empty answer and a warning; raises `error` unless bad clips are skipped."""
        if self._options.on_error != "skip":
            raise error
        print(f"warning: {' '.join(str(error).split())}", file=sys.stderr)
        if not self.is_json and self._options.timeline:
            self._write_columns(path, "", "", "")
        elif not self.is_json:
            self.write(path, [])
        elif self._options.timeline:
            self.write_moments(path, told, error)
        else:
            self._write_record({"path": shown_path(path), "answers": [], "error": str(error)})

    def _ranked(self, probabilities: Tensor) -> list[tuple[str, float]]:
        values, places = probabilities.sort(descending=True, stable=True)
        ranked = [
            (_one_line(self._names[place]), value)
            for place, value in zip(places.tolist(), values.tolist(), strict=True)
        ]
        return ranked[: self._options.num_best]

    def _write_columns(self, path: str, *columns: str) -> None:
        self._stream.write("\t".join([shown_path(path), *columns]) + "\n")

    def _write_record(self, record: dict[str, object]) -> None:
        self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._stream.flush()


def _one_line(text: str) -> str:
    return " ".join(text.splitlines()).replace("\t", " ")


def _rounded(number: float) -> float:
    """Six digits after the point, more than a probability in float32 is worth."""
    return round(number, 6)
