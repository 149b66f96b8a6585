"""`JobSource`: where the jobs of a sweep come from: a list that is known, or a search.

The one idea: the runner knows processes, the source knows what is worth running, and neither knows
the other's side. Everything here is called from one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from seqloom.sweeps.jobs import Job
from seqloom.sweeps.outcome import Outcome
from seqloom.sweeps.record import SweepRecord


class JobSource(Protocol):
    """Gives jobs and learns what became of them."""

    def take(self) -> Job | None:
        """The next job to be run; None where there is none now. It is asked again after each job
        that ends; the sweep is over when nothing runs and the answer is None."""
        ...

    def follow(self, job: Job, rows: Sequence[Mapping[str, float]]) -> str | None:
        """Looks at the new `rows` of the metrics.csv of a running job, in their order. Each has
        "step", "epoch", "seconds" and the metrics of that moment.

        Returns why the job should be stopped ("worse than the median of 5 others"); None lets it
        go on. A job that was stopped so ends as `pruned`.
        """
        ...

    def finish(self, job: Job, outcome: Outcome) -> None:
        """The job has ended so; state `interrupted`: by a signal, and it can go on later."""
        ...

    def record(self) -> SweepRecord:
        """Everything that is known of the sweep by now."""
        ...
