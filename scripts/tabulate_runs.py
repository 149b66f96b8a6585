"""Finished runs as one table: a row for each value of one setting, a column for each of another.

    python scripts/tabulate_runs.py runs=DIR[,DIR...] rows=KEY columns=KEY metric=NAME [output=FILE]

KEY is a setting of the run's config (`cell._target_`, `task.name`), NAME a metric of its summary
(`test/nll`). Every run under the folders counts; several runs of one cell of the table are
averaged, and their number stands in brackets. Prints Markdown; `output` writes JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import yaml

from seqloom.runs import Summary

Cells = dict[tuple[str, str], list[float]]


def setting(config: dict, key: str) -> str:
    """The value of a dotted key, without the path to a class."""
    value: object = config
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else None
    return str(value).rpartition(".")[2] if key.endswith("_target_") else str(value)


def collect(folders: list[Path], row: str, column: str, metric: str) -> Cells:
    cells: Cells = defaultdict(list)
    for path in sorted(path for folder in folders for path in folder.rglob("summary.json")):
        summary = Summary.read(path)
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        value = summary.metrics.get(metric)
        if summary.status == "finished" and value is not None:
            cells[setting(config, row), setting(config, column)].append(value)
    return cells


def markdown(cells: Cells, row: str) -> str:
    rows = list(dict.fromkeys(place[0] for place in cells))
    columns = list(dict.fromkeys(place[1] for place in cells))
    lines = ["| " + " | ".join([row, *columns]) + " |", "|" + "---|" * (len(columns) + 1)]
    lines += [
        "| "
        + " | ".join([name, *(_text(cells.get((name, column), [])) for column in columns)])
        + " |"
        for name in rows
    ]
    return "\n".join(lines) + "\n"


def _text(values: list[float]) -> str:
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.3g}"
    return mean if len(values) == 1 else f"{mean} ({len(values)})"


def main() -> None:
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    folders = [Path(folder) for folder in words["runs"].split(",")]
    cells = collect(folders, words["rows"], words["columns"], words["metric"])
    sys.stdout.write(markdown(cells, words["rows"]))
    if "output" in words:
        plain = [{"row": row, "column": column, "values": v} for (row, column), v in cells.items()]
        Path(words["output"]).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
