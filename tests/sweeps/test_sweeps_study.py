"""A study as a source of jobs, against a fake runner: training is a function of the settings."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from seqloom.config.overrides import compose_config, parse
from seqloom.errors import ConfigError
from seqloom.sweeps.jobs import Job
from seqloom.sweeps.options import SweepOptions
from seqloom.sweeps.outcome import Outcome
from seqloom.sweeps.space import read_space
from seqloom.sweeps.study import Study

SETTINGS = ("task=translation", "optimizer.lr=interval(0,1)", "model.dropout=interval(0,1)")
NUM_VALIDATIONS = 6


@functools.cache
def composed(*settings: str) -> DictConfig:
    return compose_config(settings, sweep=True)


@functools.cache
def defaults() -> dict[str, Any]:
    config = composed("task=translation", "sweep=optuna", "sweep.spaces=[]").sweep
    return {str(key): value for key, value in config.items()}


@pytest.fixture(autouse=True)
def quick_composition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each config is composed once for all tests."""
    quick: Callable[..., DictConfig] = lambda settings, sweep=False: composed(*settings)  # noqa: E731
    monkeypatch.setattr("seqloom.sweeps.space.compose_config", quick)


def options_of(folder: Path, settings: tuple[str, ...] = SETTINGS, /, *sweep: str) -> SweepOptions:
    plain = {**defaults(), **{o.key_or_group: o.value() for o in map(parse, sweep)}}
    return SweepOptions(
        folder,
        "python train.py",
        settings,
        "translation",
        "val/loss",
        "min",
        plain,
        read_space(settings, plain["spaces"]),
    )


def numbers_of(job: Job) -> dict[str, float]:
    parsed = [parse(text) for text in job.overrides]
    return {o.key_or_group: v for o in parsed if isinstance(v := o.value(), int | float)}


def curve_of(job: Job) -> list[dict[str, float]]:
    """Rows of a training whose loss falls to a quadratic of the settings."""
    values = numbers_of(job)
    last = (values["optimizer.lr"] - 0.3) ** 2 + (values["model.dropout"] - 0.6) ** 2
    return [
        {"step": 10 * n, "epoch": n, "seconds": n, "val/loss": last + 1 / (1 + n)}
        for n in range(NUM_VALIDATIONS)
    ]


def run_one(study: Study, job: Job) -> str:
    """What the runner does with a job; its state at the end."""
    rows = curve_of(job)
    for count, row in enumerate(rows):
        why = study.follow(job, [row])
        if why is not None:
            study.finish(job, Outcome("pruned", error=why, seconds=count + 1.0, steps=10))
            return "pruned"
    value = rows[-1]["val/loss"]
    study.finish(job, Outcome("finished", (value,), seconds=float(len(rows)), steps=60))
    return "finished"


def jobs_of(study: Study) -> Iterator[Job]:
    while (job := study.take()) is not None:
        yield job


def run_all(study: Study) -> list[tuple[int, tuple[str, ...], str]]:
    return [(job.number, job.overrides, run_one(study, job)) for job in jobs_of(study)]


def test_a_search_gives_num_trials_jobs_with_a_folder_each(tmp_path: Path) -> None:
    study = Study(options_of(tmp_path, SETTINGS, "num_trials=12"))
    done = run_all(study)
    assert [number for number, _, _ in done] == list(range(12))
    assert study.take() is None
    record = study.record()
    assert record.num_jobs == len(record.jobs) == 12
    assert [job.folder for job in record.jobs] == [str(n) for n in range(12)]
    assert [job.state for job in record.jobs] == [state for _, _, state in done]
    assert record.objectives == {"val/loss": "min"}
    record.write(tmp_path)


def test_the_first_trial_is_the_config_itself(tmp_path: Path) -> None:
    job = Study(options_of(tmp_path)).take()
    assert job is not None
    config = compose_config(["task=translation"])
    found = numbers_of(job)
    assert found["optimizer.lr"] == config.optimizer.lr
    assert found["model.dropout"] == config.model.dropout
    assert job.overrides[0] == "task=translation"
    assert job.folder == tmp_path / "0"


def test_hopeless_trials_are_stopped_and_the_saved_time_is_theirs(tmp_path: Path) -> None:
    study = Study(options_of(tmp_path, SETTINGS, "num_trials=25"))
    done = run_all(study)
    search = study.record().search
    assert search is not None
    stopped = [job for job in study.record().jobs if job.state == "pruned"]
    assert search.num_pruned == len(stopped) == sum(s == "pruned" for _, _, s in done) > 3
    # One second a validation, NUM_VALIDATIONS in a whole trial.
    assert search.saved_seconds == sum(NUM_VALIDATIONS - job.seconds for job in stopped)
    assert str(search.num_pruned) in search.saved_words
    assert stopped[0].error is not None
    assert "worse than the median" in stopped[0].error
    assert min(job.seconds for job in stopped) == 2  # The first validation is no reason.
    assert stopped[0].values == []
    best = min((j for j in study.record().jobs if j.values), key=lambda j: j.values)
    assert search.best == [best.number]


@pytest.mark.parametrize("pruner", ["percentile", "halving", "hyperband"])
def test_every_pruner_stops_some_and_not_all(tmp_path: Path, pruner: str) -> None:
    study = Study(options_of(tmp_path, SETTINGS, "num_trials=25", f"pruner={pruner}"))
    states = [state for _, _, state in run_all(study)]
    assert 0 < states.count("pruned") < 25


def test_without_a_pruner_none_is_stopped(tmp_path: Path) -> None:
    study = Study(options_of(tmp_path, SETTINGS, "num_trials=12", "pruner=none"))
    assert {state for _, _, state in run_all(study)} == {"finished"}
    search = study.record().search
    assert search is not None
    assert (search.saved_seconds, search.saved_words) == (0.0, "")


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random", "gp"])
def test_a_resumed_search_chooses_what_a_straight_one_does(tmp_path: Path, sampler: str) -> None:
    few = ["sampler_startup_trials=4", "population_size=4", f"sampler={sampler}"]
    folders = tmp_path / "s" / "straight", tmp_path / "s" / "resumed"
    straight = run_all(Study(options_of(folders[0], SETTINGS, "num_trials=14", *few)))
    resumed = []
    for total in (3, 6, 14):
        study = Study(options_of(folders[1], SETTINGS, f"num_trials={total}", *few))
        resumed += run_all(study)
    assert resumed == straight


def test_an_interrupted_trial_is_taken_up_first_and_reports_nothing_twice(tmp_path: Path) -> None:
    straight = run_all(Study(options_of(tmp_path / "straight", SETTINGS, "num_trials=9")))
    folder = tmp_path / "killed"
    study = Study(options_of(folder, SETTINGS, "num_trials=9"))
    before = [run_one(study, job) for _, job in zip(range(5), jobs_of(study), strict=False)]
    job = study.take()
    assert job is not None
    rows = curve_of(job)
    study.follow(job, rows[:2])
    study.finish(job, Outcome("interrupted", seconds=2.0))
    assert study.record().jobs[-1].state == "interrupted"
    after = Study(options_of(folder, SETTINGS, "num_trials=9"))
    again = after.take()
    assert again == job
    # The runner hands out the file from its beginning.
    end = run_one(after, again)
    found = [state for _, _, state in run_all(after)]
    assert [*before, end, *found][:5] == [state for _, _, state in straight][:5]
    assert [job.settings for job in after.record().jobs] == [list(o[1:]) for _, o, _ in straight]


def test_a_job_that_ended_while_nobody_looked_is_not_run_again(tmp_path: Path) -> None:
    study = Study(options_of(tmp_path, SETTINGS, "num_trials=2"))
    job = study.take()
    assert job is not None
    study.finish(job, Outcome("interrupted"))
    job.folder.mkdir()
    summary = {"task": "translation", "status": "finished", "metrics": {"val/loss": 0.25}}
    (job.folder / "summary.json").write_text(json.dumps(summary))
    (job.folder / "metrics.csv").write_text("step,epoch,seconds,val/loss\n1,0,1,0.5\n2,1,2,0.25\n")
    after = Study(options_of(tmp_path, SETTINGS, "num_trials=2"))
    second = after.take()
    assert second is not None
    assert second.number == 1
    assert after.record().jobs[0].values == [0.25]


def test_a_failed_trial_is_one_of_the_total_and_keeps_its_reason(tmp_path: Path) -> None:
    study = Study(options_of(tmp_path, SETTINGS, "num_trials=3"))
    for job in jobs_of(study):
        if job.number == 1:
            study.finish(job, Outcome("failed", error="val/loss is nan"))
        else:
            run_one(study, job)
    record = Study(options_of(tmp_path, SETTINGS, "num_trials=3")).record()
    assert [job.state for job in record.jobs] == ["finished", "failed", "finished"]
    assert record.jobs[1].error == "val/loss is nan"
    assert record.search is not None
    assert record.search.num_failed == 1


def test_values_that_are_no_numbers_are_not_reported(tmp_path: Path) -> None:
    study = Study(options_of(tmp_path, SETTINGS, "num_trials=1"))
    job = study.take()
    assert job is not None
    rows: list[dict[str, float]] = [{"step": 1, "train/loss": 2.0}, {"val/loss": float("nan")}]
    assert study.follow(job, []) is None
    assert study.follow(job, rows) is None
    assert study.follow(job, [{"val/loss": 0.5}]) is None
    study.finish(job, Outcome("finished", (0.5,)))
    assert study.record().jobs[0].values == [0.5]


def test_several_objectives_give_a_front(tmp_path: Path) -> None:
    goals = ["num_trials=16", "objectives={val/loss: min, test/bleu: max}", "pruner=none"]
    study = Study(options_of(tmp_path, SETTINGS, *goals))
    for job in jobs_of(study):
        x = numbers_of(job)
        assert study.follow(job, curve_of(job)) is None
        values = x["optimizer.lr"], x["optimizer.lr"] - x["model.dropout"]
        study.finish(job, Outcome("finished", values))
    record = study.record()
    points = {job.number: job.values for job in record.jobs}
    front = [
        n
        for n, (a, b) in points.items()
        if not any((c <= a and d >= b) and (c, d) != (a, b) for c, d in points.values())
    ]
    assert record.search is not None
    assert sorted(record.search.best) == front
    assert set(record.search.importance) == {"val/loss", "test/bleu"}
    assert record.search.importance["val/loss"]["optimizer.lr"] > 0.9


def test_importance_needs_some_trials_and_names_what_decides(tmp_path: Path) -> None:
    study = Study(options_of(tmp_path, SETTINGS, "num_trials=14", "pruner=none", "sampler=random"))
    for job in jobs_of(study):
        search = study.record().search
        assert search is not None
        assert bool(search.importance) == (job.number >= 5)
        study.finish(job, Outcome("finished", (numbers_of(job)["model.dropout"],)))
    search = study.record().search
    assert search is not None
    shares = search.importance["val/loss"]
    assert shares["model.dropout"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


def test_a_grid_is_run_once_and_no_more(tmp_path: Path) -> None:
    settings = ("task=translation", "cell=lstm,gru", "model.dropout=range(0,0.3,0.1)")
    study = Study(options_of(tmp_path, settings, "sampler=grid", "num_trials=100"))
    seen = []
    for job in jobs_of(study):
        seen.append(job.overrides[1:])
        study.finish(job, Outcome("finished", (1.0,)))
    assert seen == [
        (f"cell={cell}", f"model.dropout={p}")
        for cell in ("lstm", "gru")
        for p in ("0.0", "0.1", "0.2")
    ]


def test_a_key_of_one_cell_goes_to_trials_with_that_cell(tmp_path: Path) -> None:
    settings = ("task=translation", "cell=lru,gru", "cell.r_max=interval(0.9,0.99)")
    study = Study(options_of(tmp_path, settings, "num_trials=12", "sampler=random"))
    seen = set()
    for job in jobs_of(study):
        cell = job.overrides[1]
        seen.add(cell)
        assert any(text.startswith("cell.r_max=") for text in job.overrides) == (cell == "cell=lru")
        study.finish(job, Outcome("finished", (1.0,)))
    assert seen == {"cell=lru", "cell=gru"}


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (["num_trials=0"], "sweep.num_trials=0: there is no search; write 1 or more"),
        (["sampler=grid"], "a grid needs an end of values; write range(START, STOP, STEP)"),
        (
            ["objectives={val/loss: min, test/bleu: max}"],
            "sweep.pruner=median: trials with several objectives cannot be stopped early",
        ),
        (
            ["objectives={val/loss: min, test/bleu: max}", "pruner=none", "sampler=cmaes"],
            "sweep.sampler=cmaes: it takes one objective",
        ),
        (["storage='nowhere://user:secret@host/x'"], "sweep.storage: the study cannot be opened"),
        (["pruner=percentile", "percentile=200"], "sweep.pruner=percentile: "),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, sweep: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Study(options_of(tmp_path / "new", SETTINGS, *sweep))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_unknown_sampler_is_refused_by_the_schema() -> None:
    with pytest.raises(ConfigError, match=r"expected one of .*tpe"):
        compose_config(["task=translation", "sweep=optuna", "sweep.sampler=tpee"])


def test_a_study_of_other_objectives_is_refused(tmp_path: Path) -> None:
    Study(options_of(tmp_path))
    with pytest.raises(ConfigError, match="other objectives"):
        Study(options_of(tmp_path, SETTINGS, "objectives={val/loss: max}"))


def test_a_dry_run_describes_and_makes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    text = Study.describe(options_of(folder, SETTINGS, "num_trials=5"))
    assert not folder.exists()
    assert "5 trials" in text
    assert "interval(0,1)" in text
    assert text.endswith("not begun")
    study = Study(options_of(folder, SETTINGS, "num_trials=5"))
    job = study.take()
    assert job is not None
    run_one(study, job)
    study.take()
    assert "1 finished, 1 running" in Study.describe(options_of(folder, SETTINGS, "num_trials=5"))
    with pytest.raises(ConfigError, match="nothing is searched"):
        Study.describe(options_of(folder, ("task=translation",)))


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
from test_sweeps_study import SETTINGS, Study, options_of, run_all
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
