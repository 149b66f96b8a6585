"""A comparison as text for other programs and papers: Markdown, CSV, JSON, LaTeX.

The idea: each form is a function of the payload (`payload.py`), for one kind of reader. Markdown
and LaTeX tell groups (mean and deviation; the best of each metric is bold), CSV a row for each run
with all its settings and scores, JSON everything but the curves, which are 9 tenths of its size and
are in the page and in metrics.csv. The price: a LaTeX table of more than some columns does not fit
a page; `group_by` and `metric` choose.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from seqloom.tracking.comparison.settings import words_of

MAX_PAPER_METRICS = 4
COSTS = ("parameters", "seconds", "peak_memory_bytes", "energy_wh", "steps", "epochs")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def as_json(payload: dict[str, Any]) -> str:
    """The payload without curves, indented."""
    runs = [
        {key: value for key, value in run.items() if key != "curves"} for run in payload["runs"]
    ]
    return json.dumps(payload | {"runs": runs}, indent=1, allow_nan=False) + "\n"


def as_csv(payload: dict[str, Any]) -> str:
    """One row a run: name, task, status, seed, group, settings, metrics, costs, error, command.

    Values are as in the payload; what a run does not have is an empty cell. Text that a spreadsheet
    would take for a formula has an apostrophe before it, as OWASP advises.
    """
    names = [metric["name"] for metric in payload["metrics"]]
    keys = payload["keys"]
    head = ("name", "task", "status", "seed", "group")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *keys, *names, *COSTS, "error", "command"])
    for run in payload["runs"]:
        label = None if run["group"] is None else payload["groups"][run["group"]]["label"]
        cells = [run["name"], run["task"], run["status"], run["seed"], label]
        cells += [run["settings"].get(key) for key in keys]
        cells += [run["metrics"].get(name) for name in names]
        cells += [run[name] for name in COSTS]
        writer.writerow(map(_plain, [*cells, run["error"], run["command"]]))
    return text.getvalue()


def as_markdown(payload: dict[str, Any]) -> str:
    """Groups with every test metric, what is shown of the main one, runs that did not finish."""
    metrics = _paper_metrics(payload)
    lines = [f"# {payload['title']}", "", *(f"{note}  " for note in payload["notes"]), ""]
    head = ["group", "runs", "failed", *map(_title, metrics)]
    lines += _row(head), "|" + "---|" * len(head)
    best = [_best(payload["groups"], metric) for metric in metrics]
    for place, group in enumerate(payload["groups"]):
        cells = [group["label"], str(group["num_finished"]), str(group["num_failed"])]
        for metric, places in zip(metrics, best, strict=True):
            words = _value(group, metric, " \u00b1 ")
            cells.append(f"**{words}**" if place in places else words)
        lines.append(_row(cells))
    shown = [item for item in payload["significance"] if item["metric"] == payload["main"]]
    if shown:
        lines += ["", f"Differences in {payload['main']}, corrected for all pairs:", ""]
        lines += _differences(payload, shown)
    ended = [run for run in payload["runs"] if run["status"] != "finished"]
    if ended:
        lines += ["", "Runs that did not finish:", ""]
        lines += [f"- {run['name']}: {run['status']}{_reason(run)}" for run in ended]
    lines += ["", *(f"Problem: {problem}  " for problem in payload["problems"])]
    return "\n".join(lines).rstrip() + "\n"


def as_latex(payload: dict[str, Any]) -> str:
    """A table of groups for the package booktabs; a column for each setting and metric."""
    metrics = _paper_metrics(payload)
    groups = payload["groups"]
    keys = list(dict.fromkeys(key for group in groups for key in group["settings"]))
    best = [_best(groups, metric) for metric in metrics]
    lines = [
        "% \\usepackage{booktabs}",
        f"% {_one_line(payload['title'])}: mean and deviation (n - 1) over seeds",
        f"\\begin{{tabular}}{{{'l' * len(keys)}r{'r' * len(metrics)}}}",
        "\\toprule",
        _line([*map(_escaped, keys), "Runs", *(_escaped(_title(metric)) for metric in metrics)]),
        "\\midrule",
    ]
    for place, group in enumerate(groups):
        cells = [_escaped(words_of(group["settings"].get(key, "-"))) for key in keys]
        cells.append(str(group["num_finished"]))
        for metric, places in zip(metrics, best, strict=True):
            words = _value(group, metric, " $\\pm$ ")
            cells.append(f"\\textbf{{{words}}}" if place in places else words)
        lines.append(_line(cells))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
}


def _paper_metrics(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The main metric and some more test metrics that a group has a value of."""
    known = [
        m for m in payload["metrics"] if any(m["name"] in g["metrics"] for g in payload["groups"])
    ]
    known.sort(key=lambda metric: metric["name"] != payload["main"])
    return [
        metric
        for metric in known
        if metric["name"].startswith("test/") or metric["name"] == payload["main"]
    ][:MAX_PAPER_METRICS]


def _best(groups: Sequence[dict[str, Any]], metric: dict[str, Any]) -> set[int]:
    """Places of the groups with the best mean of each task, where a task has several."""
    found: set[int] = set()
    for task in {group["task"] for group in groups}:
        means = {
            place: group["metrics"][metric["name"]]["mean"]
            for place, group in enumerate(groups)
            if group["task"] == task and metric["name"] in group["metrics"]
        }
        means = {place: mean for place, mean in means.items() if mean is not None}
        if len(means) > 1:
            choose = min if metric["mode"] == "min" else max
            found |= {place for place, mean in means.items() if mean == choose(means.values())}
    return found


def _value(group: dict[str, Any], metric: dict[str, Any], between: str) -> str:
    """Mean and deviation; digits by the deviation's first two, or 4 in all."""
    numbers = group["metrics"].get(metric["name"])
    if numbers is None or numbers["mean"] is None:
        return "-"
    factor = 100 if metric["is_percent"] else 1
    mean, deviation = factor * numbers["mean"], numbers["deviation"]
    if deviation is None:
        return f"{mean:.4g}"
    deviation *= factor
    digits = max(0, 1 - _exponent(deviation)) if deviation else 2
    digits = min(digits, 6)
    return f"{mean:.{digits}f}{between}{deviation:.{digits}f}"


def _title(metric: dict[str, Any]) -> str:
    return metric["title"] + (" (%)" if metric["is_percent"] else "")


def _exponent(value: float) -> int:
    return int(f"{abs(value):e}".partition("e")[2])


def _differences(payload: dict[str, Any], items: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each pair; one line for all pairs of which the same is said."""
    pairs: dict[str, list[str]] = {}
    for item in items:
        first, second = (payload["groups"][item[side]]["label"] for side in ("first", "second"))
        pairs.setdefault(item["words"], []).append(f"{first} against {second}")
    return [
        f"- {names[0]}{f' and {len(names) - 1} more pairs' if names[1:] else ''}: {words}"
        for words, names in pairs.items()
    ]


def _reason(run: dict[str, Any]) -> str:
    return f" ({_one_line(run['error'])})" if run["error"] else ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    text = words_of(value) if isinstance(value, bool) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
