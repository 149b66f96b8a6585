"""Under each word of a caption, the frames that it was read from.

The idea: one contact sheet is in the page once, and every strip shows pieces of it: a frame is the
more opaque the more attention it got, and a bar under it has the weight as its height. The sheet
shows at most 16 frames; the weight of a frame that is not shown is added to the shown one that is
nearest in time, so that a strip's weights still sum to one.
The price: nearness is told from the times that name the input pieces ("0.40 s"); where they are no
times, the heat map alone tells the weights.
"""

import re

from markupsafe import Markup

from seqloom.tracking.report.heat_map import heat_map
from seqloom.tracking.report.kept_clips import Clip
from seqloom.tracking.report.run_data import Attention
from seqloom.tracking.report.templating import render

MAX_WORDS = 24
FAINTEST = 0.1  # opacity of a frame without attention
NUM_TOLD = 3  # frames that a strip's words name


def caption_strips(clip: Clip, attention: Attention | None, sheet: str, anchor: str) -> Markup:
    """The frames as a row, and a strip a word where the attention of this clip was kept.

    `sheet` is the address of the contact sheet.
    """
    width, height = clip.cell
    places = [divmod(k, clip.columns) for k in range(len(clip.sheet_frames))]
    times = [clip.times_s[k] for k in clip.sheet_frames]
    weights = None if attention is None else shown_weights(attention, times)
    strips = []
    if attention is not None and weights is not None:
        words = attention.output_pieces[:MAX_WORDS]
        strips = [
            _strip(str(word), row, times, clip.cell)
            for word, row in zip(words, weights, strict=False)
        ]
    return render(
        "captions.html",
        {
            "anchor": anchor,
            "sheet": sheet,
            "cell": clip.cell,
            "strip_height": strip_height(clip.cell),
            "corners": [(column * width, row * height) for row, column in places],
            "size": (
                width * min(clip.columns, len(places)),
                height * (places[-1][0] + 1),
            ),
            "times": [f"{time:.2f}" for time in times],
            "strips": strips,
            "num_cut": 0 if attention is None else max(0, len(attention.output_pieces) - MAX_WORDS),
            "heat_map": "" if attention is None else heat_map(attention, f"{anchor}-attention"),
        },
    )


def shown_weights(attention: Attention, times_s: list[float]) -> list[list[float]] | None:
    """[T][K] weights on the K shown frames, each with those of its nearest unshown neighbours.

    Ties go to the earlier frame. None where the input pieces are no times.
    """
    nearest = []
    for piece in attention.input_pieces:
        time = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*s\s*", str(piece))
        if time is None:
            return None
        gaps = [abs(float(time[1]) - shown) for shown in times_s]
        nearest.append(gaps.index(min(gaps)))
    rows = []
    for line in attention.weights:
        row = [0.0] * len(times_s)
        for place, weight in zip(nearest, line, strict=True):
            row[place] += weight
        rows.append(row)
    return rows


def _strip(
    word: str, weights: list[float], times: list[float], cell: tuple[int, int]
) -> dict[str, object]:
    """Opacities are relative to the strongest frame of the word; bars and numbers are not."""
    order = sorted(range(len(weights)), key=lambda k: -weights[k])
    most = max(weights[order[0]], 1e-9)
    told = [k for k in order[:NUM_TOLD] if weights[k] >= 0.005]
    names = [
        f"{time:.2f} s {100 * weight:.0f} %" for time, weight in zip(times, weights, strict=True)
    ]
    (width, height), bottom = cell, strip_height(cell)
    bars = [(k * width, max(0.0, min(1.0, w)) * (bottom - height)) for k, w in enumerate(weights)]
    return {
        "word": word,
        "told": ", ".join(names[k] for k in told) or "nothing",
        "most": order[0],
        "frames": [
            (f"{FAINTEST + (1 - FAINTEST) * max(0.0, weight) / most:.2g}", name)
            for weight, name in zip(weights, names, strict=True)
        ],
        "bars": "".join(f"M{x} {bottom}h{width}v-{y:.3g}h-{width}z" for x, y in bars if y >= 0.1),
    }


def strip_height(cell: tuple[int, int]) -> int:
    """Pixels of a strip: a frame, and under it the bars."""
    return cell[1] + max(8, cell[1] // 3)
