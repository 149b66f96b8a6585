"""`RunFolder`: where a run keeps everything it leaves behind, one property a path.

A new folder is made by `mkdir`, which only one process can win, so two jobs that start in the same
second get two folders. Who writes holds the folder's lock; who reads does not need it. Refuses to
write a second run into a folder that holds one.
"""

from __future__ import annotations

import difflib
import itertools
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from seqloom.errors import ConfigError, DataError
from seqloom.runs.files import write_atomic
from seqloom.runs.lock import RunLock
from seqloom.runs.summary import Summary


class RunFolder:
    """A run's folder; `create` and `resume` lock it, `open` reads it.

    Usable as a context manager, which releases the lock.
    """

    def __init__(self, path: Path, lock: RunLock | None = None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(
        cls, task: str, *, root: Path = Path("outputs"), run_dir: Path | None = None
    ) -> RunFolder:
        """A new, locked folder: `root`/`task`/DATE_TIME[-N], or `run_dir` itself.

        Raises:
            ConfigError: `run_dir` already holds a run, is a file, or is in use.
        """
        if run_dir is None:
            path = _allocate(root / task)
            return cls(path, RunLock(path))
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(
                f"run_dir={run_dir}", "it is not a folder", "choose another run_dir"
            ) from None
        folder = cls(run_dir, RunLock(run_dir))
        if folder.summary.exists() or folder.config.exists():
            folder.close()
            raise ConfigError(
                f"run_dir={run_dir}",
                "it already holds a run",
                f"write resume={run_dir} to go on with it, or choose another run_dir",
            )
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run, to read.

        Raises:
            ConfigError: there is no run; names the nearest ones that exist.
        """
        if not (path / "config.yaml").is_file():
            near = _nearest_runs(path)
            raise ConfigError(
                f"run={path}",
                "it holds no config.yaml" if path.is_dir() else "there is no such folder",
                f"did you mean {' or '.join(near)}" if near else "name the folder of a run",
            )
        return cls(path)

    @classmethod
    def resume(cls, path: Path) -> RunFolder:
        """An existing run, locked to go on with it."""
        return cls(cls.open(path).path, RunLock(path))

    def close(self) -> None:
        """Releases the lock, if held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """TASK/DATE_TIME, as people name the run."""
        return short_name(self.path)

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def profile(self) -> Path:
        return self.path / "profile.json"

    @property
    def trace(self) -> Path:
        return self.path / "trace.json.gz"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def average(self) -> Path:
        return self.checkpoints / "average.ckpt"

    @property
    def recommended(self) -> Path | None:
        """The checkpoint to test and use: averaged, else best, else last; None before the first."""
        checkpoints = (self.average, self.best, self.last)
        return next((path for path in checkpoints if path.is_file()), None)

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.jsonl"

    @property
    def attention(self) -> Path:
        return self.path / "attention.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def vocabulary(self) -> Path:
        """The folder of the run's tokenizers."""
        return self.path / "vocabulary"

    @property
    def wandb_id(self) -> Path:
        return self.path / "wandb_id.txt"

    def write_config(self, config: dict[str, Any]) -> None:
        """Writes the resolved config, made of plain values only."""
        write_atomic(self.config, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def read_config(self) -> dict[str, Any]:
        """Raises DataError when config.yaml is absent or not a mapping of plain values."""
        try:
            config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(str(self.config), "there is no such file", "name a run") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            why = " ".join(str(error).split())
            raise DataError(str(self.config), f"it is not plain YAML ({why})", "mend it") from None
        if not isinstance(config, dict):
            raise DataError(str(self.config), "it holds no settings", "restore the file")
        return config

    def write_summary(self, summary: Summary) -> None:
        summary.write(self.summary)

    def read_summary(self) -> Summary:
        return Summary.read(self.summary)


def short_name(folder: Path) -> str:
    """The last two parts of a folder's path (TASK/DATE_TIME), as people name it; "." has a name
    too."""
    return "/".join(Path(os.path.abspath(folder)).parts[-2:])


def find_runs(root: Path) -> list[RunFolder]:
    """Every run at or under `root` that has a summary.json, sorted by path."""
    return [RunFolder(path.parent) for path in sorted(root.rglob("summary.json"))]


def _allocate(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in itertools.count(1):
        path = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")


def _nearest_runs(path: Path) -> list[str]:
    """Up to three runs near `path`: by spelling, else the last in the nearest folder."""
    above = next((parent for parent in path.parents if parent.is_dir()), None)
    if path.is_dir():
        above = path
    if above is None:
        return []
    patterns = ("*/config.yaml", "*/*/config.yaml", "*/*/*/config.yaml")
    runs = sorted(str(found.parent) for pattern in patterns for found in above.glob(pattern))
    return difflib.get_close_matches(str(path), runs, n=3) or runs[-3:]
