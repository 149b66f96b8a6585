"""A study as a source of jobs, against a fake runner: training is a function of the settings."""

import json
from pathlib import Path

import pytest
from study_fakes import (
    NUM_VALIDATIONS,
    SETTINGS,
    curve_of,
    jobs_of,
    numbers_of,
    options_of,
    run_all,
    run_one,
)

from seqloom.config.overrides import compose_config
from seqloom.errors import ConfigError
from seqloom.sweeps.outcome import Outcome
from seqloom.sweeps.study import Study

pytestmark = pytest.mark.usefixtures("quick_composition")


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
