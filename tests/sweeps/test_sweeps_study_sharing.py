"""Several processes, hosts and sessions work on one study, and whatever kills them."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from study_fakes import (
    SETTINGS,
    jobs_of,
    options_of,
    run_all,
)

from seqloom.errors import ConfigError
from seqloom.sweeps.jobs import Job
from seqloom.sweeps.outcome import Outcome
from seqloom.sweeps.study import Study

pytestmark = pytest.mark.usefixtures("quick_composition")


def test_a_trial_of_another_host_is_left_alone_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_of(tmp_path, SETTINGS, "num_trials=2")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "elsewhere")
        job = Study(options).take()
        assert job is not None
    second = Study(options).take()
    assert second is not None
    assert (job.number, second.number) == (0, 1)
    assert [job.state for job in Study(options).record().jobs] == ["running", "running"]
    forced = dataclasses.replace(options, sweep={**options.sweep, "take_over": True})
    again = Study(forced).take()
    assert again == job


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from seqloom.sweeps.study import Study
from study_fakes import SETTINGS, options_of, run_all
study = Study(options_of(Path(sys.argv[1]), SETTINGS, *sys.argv[3:]))
print(*[number for number, _, _ in run_all(study)])
"""


def start_worker(folder: Path, *sweep: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(folder), str(Path(__file__).parent), *sweep]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
@pytest.mark.parametrize("storage", ["journal", "database"])
def test_two_processes_share_a_study(tmp_path: Path, storage: str) -> None:
    url = f"storage='sqlite:///{tmp_path}/study.db'"
    sweep = ["num_trials=10", *([url, "study_name=shared"] if storage == "database" else [])]
    workers = [start_worker(tmp_path, *sweep) for _ in range(2)]
    numbers = [
        [int(word) for word in worker.communicate(timeout=120)[0].split()] for worker in workers
    ]
    assert sorted(numbers[0] + numbers[1]) == list(range(10))
    record = Study(options_of(tmp_path, SETTINGS, *sweep)).record()
    assert {job.state for job in record.jobs} <= {"finished", "pruned"}
    assert len(record.jobs) == 10


def plain_record(study: Study) -> list[dict[str, Any]]:
    return [dataclasses.asdict(job) for job in study.record().jobs]


@pytest.mark.xdist_group("processes")
def test_a_journal_that_was_torn_anywhere_opens_and_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    start_worker(whole, "num_trials=2").communicate(timeout=60)
    data = (whole / "study.journal").read_bytes()
    ends = [place + 1 for place, byte in enumerate(data) if byte == 10]
    places = sorted({ends[1] + 1, *(end + 3 for end in ends[2:-1:6]), ends[-1] - 1})
    for count, place in enumerate(places):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "study.journal").write_bytes(data[:place])
        # The journal names the study by the folder.
        name = f"study_name='{whole.parent.name}/whole'"
        options = options_of(folder, SETTINGS, "num_trials=2", name)
        run_all(Study(options))
        assert [job["state"] for job in plain_record(Study(options))] == ["finished"] * 2


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.journal").write_text("this is no journal\nnor is this\n")
    with pytest.raises(ConfigError, match=r"study.journal: the study cannot be opened"):
        Study(options_of(tmp_path))


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_search_that_is_killed_again_and_again_ends_with_its_total(tmp_path: Path) -> None:
    straight = run_all(Study(options_of(tmp_path / "straight", SETTINGS, "num_trials=40")))
    folder = tmp_path / "killed"
    for delay in (2.6, 2.9, 3.2):  # While it starts, or in the middle of its trials.
        worker = start_worker(folder, "num_trials=40")
        try:
            worker.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.communicate()
    study = Study(options_of(folder, SETTINGS, "num_trials=40"))
    run_all(study)
    jobs = study.record().jobs
    assert [job.settings for job in jobs] == [list(overrides[1:]) for _, overrides, _ in straight]
    assert [job.state for job in jobs] == [state for _, _, state in straight]


def fail_in(study: Study, failing: set[int]) -> list[Job]:
    """Runs all; jobs of these numbers fail."""
    jobs = []
    for job in jobs_of(study):
        jobs.append(job)
        if job.number in failing:
            study.finish(job, Outcome("failed", error="no room"))
        else:
            study.finish(job, Outcome("finished", (1.0 / (1 + job.number),)))
    return jobs


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_failed_trials_are_tried_again_where_they_were(tmp_path: Path, sampler: str) -> None:
    few = ["pruner=none", f"sampler={sampler}"]
    first = fail_in(Study(options_of(tmp_path, SETTINGS, "num_trials=6", *few)), {1, 4})
    assert Study(options_of(tmp_path, SETTINGS, "num_trials=6", *few)).take() is None
    # What the first attempt left says "failed", and must not be read as the second's end.
    folder = tmp_path / "1"
    folder.mkdir()
    summary = {"task": "translation", "status": "failed", "error": "no room"}
    (folder / "summary.json").write_text(json.dumps(summary))
    again = Study(options_of(tmp_path, SETTINGS, "num_trials=6", "retry_failed=true", *few))
    states = {job.number: job.state for job in again.record().jobs}
    assert {n for n, state in states.items() if state == "waiting"} == {1, 4}
    assert fail_in(again, {4}) == [first[1], first[4]]
    # More trials go on with the numbers, without a gap.
    more = fail_in(Study(options_of(tmp_path, SETTINGS, "num_trials=8", *few)), set())
    assert [job.number for job in more] == [6, 7]
    third = Study(options_of(tmp_path, SETTINGS, "num_trials=8", "retry_failed=true", *few))
    assert fail_in(third, set()) == [first[4]]
    record = third.record()
    assert [job.number for job in record.jobs] == list(range(8))
    assert {job.state for job in record.jobs} == {"finished"}
    assert [job.settings for job in record.jobs[:6]] == [list(job.overrides[1:]) for job in first]
    assert record.search is not None
    assert record.search.num_failed == 0
    best = min(record.jobs, key=lambda job: job.values)
    assert record.search.best == [best.number]


def test_a_grid_whose_trials_were_tried_again_leaves_nothing_out(tmp_path: Path) -> None:
    settings = ("task=translation", "model.dropout=range(0,0.3,0.1)")
    plain = ["sampler=grid", "pruner=none"]
    fail_in(Study(options_of(tmp_path, settings, "num_trials=2", *plain)), {0})
    fail_in(Study(options_of(tmp_path, settings, "num_trials=2", "retry_failed=true", *plain)), {9})
    study = Study(options_of(tmp_path, settings, "num_trials=9", *plain))
    fail_in(study, set())
    assert [job.settings for job in study.record().jobs] == [
        [f"model.dropout={p}"] for p in ("0.0", "0.1", "0.2")
    ]


def test_fewer_trials_than_there_are_is_a_search_that_is_done(tmp_path: Path) -> None:
    run_all(Study(options_of(tmp_path, SETTINGS, "num_trials=5", "pruner=none")))
    study = Study(options_of(tmp_path, SETTINGS, "num_trials=3", "pruner=none"))
    assert study.take() is None
    record = study.record()
    assert (record.num_jobs, len(record.jobs)) == (3, 3)
    assert record.search is not None
    assert record.search.best[0] < 3
