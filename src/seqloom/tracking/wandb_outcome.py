"""What W&B is told at the end of a run: summary, examples, pictures and the best weights.

All of it is read from the run folder, so a run that was rebuilt from its folder tells the same. The
pictures are drawn here, as images; what W&B must upload besides lies in the offline part itself,
except for a checkpoint, which an offline part names where it is in the run folder and does not
copy. The price: a run folder that is moved before it is uploaded loses tables and checkpoint there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqloom.runs import RunFolder, Summary, read_metrics
from seqloom.runs.files import json_lines
from seqloom.tracking.pictures import attention_picture, confusion_picture
from seqloom.tracking.report.classes import CLASS_TOPOLOGIES

MAX_EXAMPLES = 100
MAX_ATTENTION = 3

_COLUMNS = ("input", "target", "prediction")


def log_outcome(
    experiment: Any,
    folder: RunFolder,
    *,
    topology: str | None,
    with_examples: bool = True,
    checkpoint: Path | None = None,
) -> None:
    """Tells a W&B run what the folder holds beside metrics.

    Args:
        experiment: a `wandb.Run`.
        topology: of the task; decides whether predictions are classes.
        checkpoint: weights to add as an artifact.
    """
    import wandb

    summary = folder.read_summary()
    experiment.summary.update(told_summary(summary))
    predictions = read_lines(folder.predictions)
    media: dict[str, Any] = {}
    if with_examples and predictions:
        table = [
            [*(str(row[name]) for name in _COLUMNS), row["score"]]
            for row in predictions[:MAX_EXAMPLES]
        ]
        media["examples"] = wandb.Table(columns=[*_COLUMNS, "score"], data=table)
    maps = json.loads(folder.attention.read_text("utf-8")) if folder.attention.is_file() else []
    for place, entry in enumerate(maps[:MAX_ATTENTION]):
        picture = attention_picture(entry)
        if picture is not None:
            media[f"attention/{place}"] = wandb.Image(picture)
    tells_numbers = any(name.endswith("/mse") for name in summary.metrics)
    tells_classes = topology in CLASS_TOPOLOGIES and not tells_numbers
    confusion = confusion_picture(predictions) if tells_classes else None
    if confusion is not None:
        media["confusion"] = wandb.Image(confusion)
    rows = read_metrics(folder.metrics)
    with _staged_in(experiment):
        if (
            media and rows
        ):  # They join the last row; alone they would be one that metrics.csv lacks.
            experiment.log(media, step=int(rows[-1]["step"]))
        if checkpoint is not None:
            artifact = wandb.Artifact(f"{experiment.id}-weights", type="model")
            artifact.add_file(str(checkpoint), policy="immutable", skip_cache=True)
            experiment.log_artifact(artifact, aliases=["best"])


def told_summary(summary: Summary) -> dict[str, Any]:
    """What a run came to, by flat names; what is not known is left out."""
    best = summary.best.get("metrics", {})
    told = {
        "status": summary.status,
        "error": summary.error,
        "parameters": summary.parameters,
        "seconds": summary.seconds,
        "steps": summary.steps,
        "epochs": summary.epochs,
        "peak_memory_bytes": summary.peak_memory_bytes,
        "best/monitor": summary.best.get("monitor"),
        "best/score": summary.best.get("score"),
        "best/step": summary.best.get("step"),
        **{f"best/{name}": value for name, value in best.items() if name.startswith("val/")},
        **summary.metrics,
    }
    return {name: value for name, value in told.items() if value is not None}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one a line; [] where there is none."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in json_lines(path.read_text(encoding="utf-8"))]


@contextmanager
def _staged_in(experiment: Any) -> Iterator[None]:
    """Files that W&B copies for an artifact go into the offline part, not into the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    if not experiment.settings._offline or before is not None:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(Path(experiment.settings.sync_dir).absolute())
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]
