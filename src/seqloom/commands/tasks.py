"""`tasks`: every task with its data sets, one line each. Free of torch: it only reads `conf/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from seqloom.config.paths import config_dir, groups


@dataclass(frozen=True)
class TaskLine:
    """What `conf/task/NAME.yaml` says.

    Attributes:
        data: options of the group `data` that it can read, the default first.
        monitor: the metric that names the best checkpoint.
    """

    name: str
    title: str
    topology: str
    data: tuple[str, ...]
    monitor: str

    def __str__(self) -> str:
        data = ", ".join(self.data)
        return (
            f"task={self.name:<20} {self.title} ({self.topology}, by {self.monitor}); data: {data}"
        )


def tasks() -> list[TaskLine]:
    """Prints and returns a line for every task, sorted by name."""
    lines = read_tasks(config_dir())
    for line in lines:
        print(line)
    return lines


def read_tasks(directory: Path) -> list[TaskLine]:
    """The tasks of a config folder, sorted by name."""
    return [_read(directory, name) for name in groups(directory)["task"]]


def _read(directory: Path, name: str) -> TaskLine:
    content = yaml.safe_load((directory / "task" / f"{name}.yaml").read_text(encoding="utf-8"))
    task = content["task"]
    return TaskLine(
        name=task["name"],
        title=task["title"],
        topology=task["topology"],
        data=tuple(task["data"]),
        monitor=task["monitor"],
    )
