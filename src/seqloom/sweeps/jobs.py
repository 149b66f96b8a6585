"""`Job`: one run of a sweep, as the command `seqloom train` with its settings, in a process of its
own.

The one idea: a sweep never trains in its own process. A job is a plain single run, so its further
processes start by the job's command line and have the job's values, its memory ends with it, and a
job that fails takes nothing else with it. What a job came to is in its folder's summary.json. The
price: each job imports torch anew, some seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seqloom.config.overrides import quoted
from seqloom.errors import SeqloomError

# What says to a process that it belongs to a run which is under way.
OF_A_RUN = ("SEQLOOM_RUN_DIR", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR")
# What tells a job of its sweep: its name, and the process without which the job is to end.
SWEEP_VARIABLE = "SEQLOOM_SWEEP"
PARENT_VARIABLE = "SEQLOOM_SWEEP_PID"
CONSOLE = "console.log"


class JobError(SeqloomError):
    """Some jobs of a sweep failed."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        number: from 0, in the order of the sweep.
        overrides: its settings, as on a command line.
        folder: where it goes.
    """

    number: int
    overrides: tuple[str, ...]
    folder: Path

    @property
    def command(self) -> list[str]:
        """What a person would type for it; it goes on with a run that its folder holds."""
        goes_on = ["resume=auto"] if (self.folder / "config.yaml").exists() else []
        place = f"run_dir={quoted(str(self.folder))}"
        return [sys.executable, "-m", "seqloom", "train", *self.overrides, place, *goes_on]

    def start(self, sweep: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """The job's process; what it prints goes to console.log in its folder.

        Args:
            sweep: its name.
            variables: of its environment, beside those of this process.
        """
        environment = {name: value for name, value in os.environ.items() if name not in OF_A_RUN}
        environment |= {SWEEP_VARIABLE: sweep, PARENT_VARIABLE: str(os.getpid()), **variables}
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / CONSOLE, "ab") as console:
            # A group of its own: from a terminal the job would get Ctrl-C twice, which ends it at
            # once.
            return subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def last_words(self) -> str:
        """The last line that its process printed."""
        try:
            text = (self.folder / CONSOLE).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return "it printed nothing"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else "it printed nothing"
