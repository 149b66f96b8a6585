"""The runner does what its source wants: jobs when there is room, an end to hopeless ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sweep_fakes import Started, jobs_told

from seqloom.sweeps.jobs import Job
from seqloom.sweeps.outcome import Outcome
from seqloom.sweeps.record import JobRecord, SweepRecord
from seqloom.sweeps.resources import Slots
from seqloom.sweeps.runner import Runner


class Shown:
    """A table that remembers."""

    def __init__(self) -> None:
        self.records: list[SweepRecord] = []

    def show(self, record: SweepRecord, folder: Path) -> None:
        self.records.append(record)


class Hasty:
    """Two jobs; one that logs is stopped at once. The second comes only after the first."""

    def __init__(self, folder: Path) -> None:
        self.jobs = [
            Job(n, ("task=t", f"seed={seed}"), folder / str(n)) for n, seed in enumerate((99, 1))
        ]
        self.rows: list[dict[str, float]] = []
        self.outcomes: list[Outcome] = []

    def take(self) -> Job | None:
        num_taken = len(self.outcomes)
        is_free = num_taken < 2 and not getattr(self, "running", False)
        if not is_free:
            return None
        self.running = True
        return self.jobs[num_taken]

    def follow(self, job: Job, rows: Sequence[Mapping[str, float]]) -> str | None:
        self.rows += [dict(row) for row in rows]
        return "worse than others"

    def finish(self, job: Job, outcome: Outcome) -> None:
        self.running = False
        self.outcomes.append(outcome)

    def record(self) -> SweepRecord:
        jobs = [
            JobRecord(n, str(n), [], outcome.state, error=outcome.error)
            for n, outcome in enumerate(self.outcomes)
        ]
        return SweepRecord("a/b", "", {"val/loss": "min"}, 2, jobs)


def test_a_job_that_finished_before_it_was_stopped_is_finished(
    start: Started, tmp_path: Path
) -> None:
    source = Hasty(tmp_path)
    source.jobs[0] = Job(0, ("task=t", "seed=98"), tmp_path / "0")
    Runner(source, folder=tmp_path, objectives=["val/loss"], slots=Slots(1), table=Shown()).run()
    assert source.rows
    assert [outcome.state for outcome in source.outcomes] == ["finished"] * 2
    assert source.outcomes[0].values == (0.5,)


def test_a_hopeless_job_is_stopped_and_its_room_is_used(start: Started, tmp_path: Path) -> None:
    source, shown = Hasty(tmp_path), Shown()
    runner = Runner(source, folder=tmp_path, objectives=["val/loss"], slots=Slots(2), table=shown)
    record = runner.run()
    assert source.rows[0] == {"step": 9.0, "epoch": 0.0, "seconds": 1.0, "val/loss": 0.75}
    assert [outcome.state for outcome in source.outcomes] == ["pruned", "finished"]
    assert source.outcomes[0].error == "worse than others"
    assert Path("signals.jsonl").read_text().split() == ["15"]
    assert len(jobs_told()) == 2
    assert SweepRecord.read(tmp_path) == record == shown.records[-1]
