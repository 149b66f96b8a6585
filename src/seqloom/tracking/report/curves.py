"""Curves of a run: which metric stands in which chart.

The idea: charts are chosen by the last word of a metric's name, so that a new task's metrics find
their place without a list here; what no rule knows gets a chart of its own under "more".
"""

from markupsafe import Markup

from seqloom.tracking.report.charts import line_chart
from seqloom.tracking.report.run_data import Point, RunData
from seqloom.tracking.report.templating import Section, render

# (title, endings of the names, whether it stands in front)
CHARTS: list[tuple[str, tuple[str, ...], bool]] = [
    ("Loss", ("loss", "nll"), True),
    ("BLEU and chrF", ("bleu", "chrf"), True),
    ("Exact match", ("exact_match",), True),
    ("Accuracy and F1", ("accuracy", "f1", "precision", "recall"), True),
    ("Error rates", ("wer", "cer"), True),
    ("Errors", ("mse", "mae"), True),
    ("Learning rate", ("lr", "learning_rate"), True),
    ("Perplexity", ("perplexity",), False),
    ("Throughput, per second", ("_per_s",), False),
    ("Padding, fraction of positions", ("padding", "padding_fraction"), False),
    ("Gradient norm", ("grad_norm", "gradient_norm"), False),
]


def curves(run: RunData) -> Section:
    """Losses, scores and the learning rate over steps or seconds; test scores are no curves."""
    logged = {n: p for n, p in run.metrics.items() if not n.startswith("test/")}
    front: list[Markup] = []
    more: list[Markup] = []
    for number, (title, series, is_front) in enumerate(group(logged)):
        chart = line_chart(title, f"chart-{number}", series)
        (front if is_front else more).append(chart)
    has_seconds = any(p.seconds is not None for points in logged.values() for p in points)
    values = {
        "front": front,
        "more": more,
        "has_seconds": has_seconds,
        "why_missing": run.why_missing(),
    }
    return Section("Curves", render("curves.html", values), "curves")


def group(metrics: dict[str, list[Point]]) -> list[tuple[str, dict[str, list[Point]], bool]]:
    """(title, series, in front) for every chart that has a metric, each metric in one chart."""
    rest = dict(metrics)
    charts = []
    for title, endings, is_front in CHARTS:
        names = [name for name in rest if _matches(name, endings)]
        if names:
            # Training first, so that it has the same colour in every chart.
            names.sort(key=lambda name: (not name.startswith("train/"), name))
            charts.append((title, {name: rest.pop(name) for name in names}, is_front))
    charts += [(name, {name: points}, False) for name, points in rest.items()]
    return charts


def _matches(name: str, endings: tuple[str, ...]) -> bool:
    # Lightning's monitor writes `lr-Adam`.
    base = name.rsplit("/", 1)[-1].split("-", 1)[0]
    return any(base == e or (base.endswith("_" + e.lstrip("_"))) for e in endings)
