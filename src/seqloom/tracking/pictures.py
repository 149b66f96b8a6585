"""Attention and confusion as images, for trackers that show them: drawn by matplotlib, off screen.

The report page has better ones, which can be read and searched; these are for a tracker's page. A
picture of text needs a font that has its letters; one that the font lacks is a box.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

from PIL.Image import Image

MAX_CLASSES = 40
MAX_PIECES = 60


def attention_picture(entry: dict[str, Any]) -> Image | None:
    """An entry of attention.json, outputs down and inputs across; None where it has no pieces."""
    if not {"input_pieces", "output_pieces", "weights"} <= entry.keys():
        return None
    inputs, outputs = entry["input_pieces"][:MAX_PIECES], entry["output_pieces"][:MAX_PIECES]
    weights = [row[: len(inputs)] for row in entry["weights"][: len(outputs)]]
    return _grid(weights, rows=outputs, columns=inputs, across="input", down="output")


def confusion_picture(predictions: list[dict[str, Any]]) -> Image | None:
    """How often each class (down) was taken for which (across), of predictions that are classes;
    None where there are none, or more classes than can be seen."""
    pairs = Counter((str(row["target"]), str(row["prediction"])) for row in predictions)
    names = sorted({name for pair in pairs for name in pair}, key=_natural)
    if len(names) > MAX_CLASSES:
        return None
    counts = [[pairs[target, output] for output in names] for target in names]
    return _grid(counts, rows=names, columns=names, across="prediction", down="target")


def _grid(
    values: list[list[float]] | list[list[int]],
    *,
    rows: list[str],
    columns: list[str],
    across: str,
    down: str,
) -> Image | None:
    if not rows or not columns:
        return None
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image as images

    size = (2.5 + 0.22 * len(columns), 2.0 + 0.22 * len(rows))  # inches
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", aspect="auto", vmin=0)
    # A dollar sign would begin a formula.
    axes.set_xticks(range(len(columns)), [_plain(name) for name in columns], rotation=90)
    axes.set_yticks(range(len(rows)), [_plain(name) for name in rows])
    axes.tick_params(labelsize=7)
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks
        canvas.draw()
    return images.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _plain(name: str) -> str:
    return name.replace("\\", "\\\\").replace("$", "\\$") if "$" in name else name


def _natural(name: str) -> tuple[bool, int, str]:
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)
