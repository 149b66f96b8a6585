"""`report`: writes the pages of runs anew, from nothing but their folders. Free of torch."""

from __future__ import annotations

from pathlib import Path

from seqloom.errors import ConfigError
from seqloom.runs import RunFolder, find_runs
from seqloom.tracking.report import write_report


def report(runs: Path) -> list[RunFolder]:
    """Writes `report.html` of the run in `runs`, or of every run under it, and prints their paths.

    Raises ConfigError when there is none.
    """
    found = find_runs(runs) if runs.is_dir() else []
    if not found:
        raise ConfigError(
            f"runs={runs}", "there is no run", "name a run folder, or one with runs in it"
        )
    for folder in found:
        write_report(folder.path)
        print(folder.report)
    return found
