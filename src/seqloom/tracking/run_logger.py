"""`RunLogger`: a logger that knows the three moments of a run that Lightning's loggers do not.

A run that goes on repeats the steps after its checkpoint, a run that came to its end has more to
tell than metrics, and a run ends with an exit code. `open_loggers` and `Checkpoint` tell each
logger of these; a logger overrides those that mean something to it.
"""

from __future__ import annotations

from lightning.pytorch.loggers import Logger


class RunLogger(Logger):
    """Base of Seqloom's loggers. Only the first process may write: override with
    `rank_zero_only`."""

    def truncate_after(self, step: int) -> None:
        """Training begins behind `step` (-1: at the start); what was logged later is repeated."""

    def log_outcome(self) -> None:
        """The run came to its end, and its folder holds summary, predictions and pictures."""

    def finish(self, exit_code: int) -> None:
        """Closes the logger; 0: finished, 130 and 143: interrupted, else failed."""
