"""What the commands say: the log while they work, then examples, scores, and where to go on."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from seqloom.metrics.prediction import Prediction
from seqloom.runs import RunFolder, Summary
from seqloom.tracking.progress import one_line

NUM_EXAMPLES = 4
IDLE_WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\)",  # its own use of torch
    r".*does not have many workers",  # one process is fast enough for ids from a buffer
    r"It is recommended to use .*sync_dist=True",  # what is logged is computed over all ranks
    r"Found .* module\(s\) in eval mode",  # a frozen front is
    r".*smaller than the logging interval",  # the end of each validation is logged in any case
    r"`broadcast_buffers` is deprecated",  # its successor is not in every torch that is allowed
)


def print_result(
    folder: RunFolder,
    summary: Summary,
    predictions: Sequence[Prediction],
    *,
    limit: str | None,
    reads_clips: bool,
) -> None:
    """The end of a training run; `limit` is the setting that lets a resume train on."""
    print_examples(predictions)
    print_scores(summary.metrics, summary.signatures)
    path = shown(folder.path)
    print(
        f"\n{summary.steps} updates in {summary.seconds:.0f} s, {summary.parameters:,} parameters"
        f"\nreport    {shown(folder.report)}"
        f"\ngo on     seqloom predict run={path} input={'CLIP' if reads_clips else '-'} output=-"
        f"\n          seqloom evaluate run={path}"
        f"\n          python train.py resume={path} {limit or ''}".rstrip()
    )


def shown(path: Path) -> str:
    """A path as one would type it here."""
    relative = os.path.relpath(path)
    return str(path.absolute()) if relative.startswith("..") else relative


def print_examples(predictions: Sequence[Prediction]) -> None:
    """A few predictions spread evenly over the data."""
    stride = max(1, len(predictions) // NUM_EXAMPLES)
    for example in predictions[::stride][:NUM_EXAMPLES]:
        mark = "=" if example.prediction == example.target else "~"
        print(f"\n  {one_line(example.input)}\n  {mark} {one_line(example.prediction)}")
        if example.prediction != example.target:
            print(f"  ! {one_line(example.target)}")


def print_scores(metrics: Mapping[str, float | None], signatures: Mapping[str, str]) -> None:
    """One line a metric, with the signature that says how it was computed."""
    print()
    for name, value in sorted(metrics.items()):
        shown = "none" if value is None else f"{value:.4f}"
        print(f"{name:<20}{shown:>10}  {signatures.get(name, '')}".rstrip())


class ConsoleHandler(logging.Handler):
    """Writes to what is standard error at that moment: a live progress bar replaces it.

    Tracebacks are for the log file; the error itself is told once, by the command as it ends.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is None:
            print(self.format(record), file=sys.stderr)


@contextmanager
def console_log(*, is_first: bool) -> Iterator[None]:
    """Shows what Seqloom logs, and warnings of others; of further processes only warnings."""
    seqloom, root = logging.getLogger("seqloom"), logging.getLogger()
    handler, level = ConsoleHandler(logging.INFO if is_first else logging.WARNING), seqloom.level
    root.addHandler(handler)
    seqloom.setLevel(logging.INFO)
    # Lightning has handlers of its own, for remarks that it repeats for every Trainer.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        seqloom.setLevel(level)


@contextmanager
def quiet_trainer() -> Iterator[None]:
    """Leaves out warnings of Lightning's Trainer that say nothing about a run of Seqloom."""
    with warnings.catch_warnings():
        for message in IDLE_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield
