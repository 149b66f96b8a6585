"""The probability of a few classes after each frame of a clip, as a small inline SVG.

The idea: four lines tell the story: the target, what was predicted, and the next two at the end.
Drawn like the other charts, a stretched box of lines with all words outside as HTML; lines differ
by dash as well as colour, and a table says the same in numbers.
The price: the other classes are not shown. A marker follows the clip's video while it plays.
"""

from markupsafe import Markup

from seqloom.tracking.report.charts import BOX, Axis, short
from seqloom.tracking.report.kept_clips import Clip
from seqloom.tracking.report.templating import render

NUM_LINES = 4
MAX_TABLE_ROWS = 40
Y_TICKS = (0.0, 0.5, 1.0)


def evidence_chart(clip: Clip, target: str, prediction: str, anchor: str) -> Markup:
    """The lines of one clip; nothing where the clip has no evidence."""
    if not clip.evidence:
        return Markup("")
    chosen = _lines(clip, target, prediction)
    first, last = clip.times_s[0], clip.times_s[-1]
    # A lone frame has no extent in time.
    x_axis = Axis(first, last) if last > first else Axis(first - 0.5, first + 0.5)
    lines = []
    for number, place in enumerate(chosen):
        values = [row[place] for row in clip.evidence]
        name = clip.classes[place]
        roles = [
            role for role, is_it in (("target", target), ("predicted", prediction)) if is_it == name
        ]
        lines.append(
            {
                "number": number,
                "name": name,
                "roles": " and ".join(roles),
                "path": _path(x_axis, clip.times_s, values),
                "last": f"{values[-1]:.2f}",
                "words": f"{name}: {values[0]:.2f} at first, {values[-1]:.2f} at the end.",
            }
        )
    step = -(-len(clip.times_s) // MAX_TABLE_ROWS)
    shown = sorted({*range(0, len(clip.times_s), step), len(clip.times_s) - 1})
    return render(
        "evidence.html",
        {
            "anchor": anchor,
            "lines": lines,
            "x_ticks": [(short(t), x_axis.place(t) / 10) for t in x_axis.ticks(5)],
            "y_ticks": [(short(t), 100 - 100 * t) for t in Y_TICKS],
            "table": [
                (f"{clip.times_s[t]:.2f}", [f"{clip.evidence[t][c]:.2f}" for c in chosen])
                for t in shown
            ],
            "num_times": len(clip.times_s),
            "span": (f"{x_axis.low - first:.4f}", f"{x_axis.high - first:.4f}"),
        },
    )


def _lines(clip: Clip, target: str, prediction: str) -> list[int]:
    """Places of the classes to draw: target, prediction, then the likeliest at the end."""
    likeliest = sorted(range(len(clip.classes)), key=lambda c: -clip.evidence[-1][c])
    named = [clip.classes.index(name) for name in (target, prediction) if name in clip.classes]
    return list(dict.fromkeys([*named, *likeliest]))[: min(NUM_LINES, len(set(named)) + 2)]


def _path(x_axis: Axis, times_s: list[float], values: list[float]) -> str:
    spots = [
        f"{x_axis.place(time):.1f} {BOX * (1 - min(1.0, value)):.1f}"
        for time, value in zip(times_s, values, strict=True)
    ]
    return f"M{spots[0]}h0" + "".join(f"L{spot}" for spot in spots[1:])
