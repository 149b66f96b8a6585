"""`evaluate`: the scores of a run on its own test split, or on other data.

`seqloom evaluate run=DIR data=parallel_text data.root=... data.test=...` reads the other data with
the run's own vocabulary; settings that belong to the weights (`model.`, `cell.` ...) cannot be
overridden. What comes out lies in the run folder under `evaluations/NAME/`, where NAME is made of
the overrides (`test` without any), so the same question asked again replaces its answer.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import Trainer

from seqloom.commands import assembly
from seqloom.commands.console import console_log, print_examples, print_scores, quiet_trainer, shown
from seqloom.commands.loading import LoadedRun, load_run
from seqloom.runs import write_atomic
from seqloom.tracking.predictions import PredictionWriter

MAX_NAME_LENGTH = 120


def evaluate(run: Path, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Prints and writes the scores; returns them by name (`test/bleu`).

    Raises ConfigError and DataError as `load_run` and the data do.
    """
    start = time.monotonic()
    loaded = load_run(run, overrides=overrides)
    folder = loaded.folder.path / "evaluations" / evaluation_name(overrides)
    writer = PredictionWriter(path=folder / "predictions.jsonl")
    with console_log(is_first=True), quiet_trainer(), _made(folder):
        metrics = _tested(loaded, writer)
    result = {
        "metrics": metrics,
        "signatures": loaded.learner.signatures,
        "overrides": list(overrides),
        "checkpoint": loaded.checkpoint.name,
        "seconds": round(time.monotonic() - start, 2),
    }
    write_atomic(folder / "metrics.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print_examples(writer.predictions)
    print_scores(metrics, loaded.learner.signatures)
    print(f"\npredictions  {shown(writer.path)}")
    return metrics


def _tested(loaded: LoadedRun, writer: PredictionWriter) -> dict[str, float]:
    assembly.pin_algorithms(loaded.cfg)
    datamodule = assembly.build_datamodule(loaded.cfg, vocabulary_dir=loaded.folder.vocabulary)
    with assembly.trainer_errors():
        trainer = Trainer(
            accelerator=loaded.cfg.trainer.accelerator,
            devices=1,
            precision=loaded.precision.trainer_name,
            deterministic=loaded.cfg.deterministic,
            limit_test_batches=loaded.cfg.trainer.limit_test_batches,
            logger=False,
            callbacks=[writer],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    (metrics,) = trainer.test(loaded.learner, datamodule=datamodule, verbose=False)
    return dict(metrics)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Makes `folder` for what the block writes; leaves none that is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def evaluation_name(overrides: Sequence[str]) -> str:
    """A folder name that says what was asked: the same overrides, the same name."""
    if not overrides:
        return "test"
    asked = ",".join(sorted(overrides))
    name = re.sub(r"[^\w.,=-]+", "-", asked, flags=re.ASCII)
    if name == asked and len(name) <= MAX_NAME_LENGTH:
        return name
    digest = hashlib.sha256(asked.encode()).hexdigest()[:8]
    return f"{name[:MAX_NAME_LENGTH]}-{digest}"
