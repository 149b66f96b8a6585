"""Attention as a picture: output pieces down, input pieces across, darker is more.

The idea: weights are quantised to 12 levels and every level is one SVG path of unit squares, so
that a map of 40 x 40 costs a few kB and takes its colour from the style sheet in both themes. The
exact values travel beside it for the pointer and the arrow keys; a table names each output
piece's strongest input piece for those who do not see the picture.
The price: colours are steps of 1/12. Maps above 80 pieces a side are cut, and say so.
"""

import unicodedata

from markupsafe import Markup

from seqloom.tracking.report.run_data import Attention
from seqloom.tracking.report.templating import render

NUM_LEVELS = 12
CELL = 22  # pixels
MAX_PIECES = 80
MAX_LABEL = 18  # characters of a piece beside the picture
CHARACTER_WIDTH = 7.2  # pixels of an average character at 12 pixels


def heat_map(attention: Attention, anchor: str) -> Markup:
    """The picture of one sentence, with labels, values and the words for it."""
    inputs = [str(piece) for piece in attention.input_pieces[:MAX_PIECES]]
    outputs = [str(piece) for piece in attention.output_pieces[:MAX_PIECES]]
    weights = [row[: len(inputs)] for row in attention.weights[: len(outputs)]]
    if not inputs or not outputs:
        return Markup("")
    left = 10 + max(_width(_label(piece)) for piece in outputs)
    slanted = [0.82 * _width(_label(piece)) for piece in inputs]
    right = max(
        0.57 / 0.82 * s + 14 - CELL * (len(inputs) - k - 0.5) for k, s in enumerate(slanted)
    )
    top = 20 + max(slanted)
    return render(
        "heat_map.html",
        {
            "anchor": anchor,
            "levels": [(f"{level / NUM_LEVELS:.2f}", path) for level, path in _levels(weights)],
            "inputs": [(_label(p), left + CELL * (k + 0.5)) for k, p in enumerate(inputs)],
            "outputs": [(_label(p), top + CELL * (k + 0.5) + 4) for k, p in enumerate(outputs)],
            "left": round(left),
            "top": round(top),
            "cell": CELL,
            "num_rows": len(outputs),
            "num_columns": len(inputs),
            "width": round(left + CELL * len(inputs) + max(right, 2)),
            "height": round(top + CELL * len(outputs) + 2),
            "data": {
                "inputs": inputs,
                "outputs": outputs,
                "weights": [[round(1000 * w) for w in row] for row in weights],
                "cell": CELL,
            },
            "strongest": [
                (piece, inputs[k], f"{row[k]:.2f}")
                for piece, row in zip(outputs, weights, strict=True)
                for k in [max(range(len(row)), key=row.__getitem__)]
            ],
            "num_cut": max(
                len(attention.input_pieces) - len(inputs),
                len(attention.output_pieces) - len(outputs),
            ),
        },
    )


def _levels(weights: list[list[float]]) -> list[tuple[int, str]]:
    """(level, path of unit squares) for every level above 0 that occurs."""
    paths: dict[int, list[str]] = {}
    for t, row in enumerate(weights):
        for s, weight in enumerate(row):
            level = min(NUM_LEVELS, round(NUM_LEVELS * weight))
            if level > 0:
                paths.setdefault(level, []).append(f"M{s} {t}h1v1h-1z")
    return [(level, "".join(path)) for level, path in sorted(paths.items())]


def _label(piece: str) -> str:
    return piece if len(piece) <= MAX_LABEL else piece[: MAX_LABEL - 1] + "\u2026"


def _width(text: str) -> float:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return CHARACTER_WIDTH * (len(text) + 0.8 * wide)
