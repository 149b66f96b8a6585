"""The same command is the same sweep: it goes on where it stopped, and another is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from sweep_fakes import Started, jobs_told

from seqloom.errors import ConfigError
from seqloom.runs import Summary
from seqloom.sweeps.definition import Definition, check_definition, sweep_folder
from seqloom.sweeps.outcome import Outcome, read_outcome
from seqloom.sweeps.record import SweepRecord


def folders() -> list[Path]:
    return sorted(Path("outputs/sweeps/translation").iterdir())


def test_the_same_command_finds_its_folder_and_leaves_what_is_finished(start: Started) -> None:
    words = ("seed=14,1", "cell=lstm,gru")
    assert start(*words) == 1
    shutil.rmtree(folders()[0] / "3")
    assert start(*words) == 1
    assert [job[-1] for job in jobs_told()[4:]] == [f"run_dir={folders()[0] / '3'}"]
    assert start(*words, "launcher.num_parallel=2", "sweep.retry_failed=true") == 1
    assert [job[1] for job in jobs_told()[5:]] == ["seed=14", "seed=14"]
    assert len(folders()) == 1
    assert start("seed=14,1", "cell=lstm,gru", "sweep.restart=true") == 1
    assert start("seed=14,1", "cell=gru,lstm") == 1
    assert len(folders()) == 3


def test_a_job_that_failed_before_it_had_a_folder_is_remembered(start: Started) -> None:
    assert start("seed=13,1", "hydra.sweep.dir=sweep") == 1
    assert start("seed=13,1", "hydra.sweep.dir=sweep") == 1
    assert len(jobs_told()) == 2
    assert start("seed=13,1", "hydra.sweep.dir=sweep", "sweep.retry_failed=true") == 1
    assert len(jobs_told()) == 3


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (("seed=1,3",), "without seed=1,2, with seed=1,3"),
        (("seed=1,2", "cell=gru"), "with cell=gru"),
        (
            ("seed=1,2", "sweep.objectives={val/loss:max}"),
            "sweep.objectives={'val/loss': 'max'} instead of {}",
        ),
    ],
)
def test_another_sweep_in_its_folder_is_refused_with_the_difference(
    start: Started,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    difference: str,
) -> None:
    assert start("seed=1,2", "hydra.sweep.dir=sweep") == 0
    assert start(*words, "hydra.sweep.dir=sweep") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: hydra.sweep.dir=sweep: it holds another sweep; this one is ")
    assert difference in line
    assert len(jobs_told()) == 2
    assert [job.state for job in SweepRecord.read(Path("sweep")).jobs] == ["finished"] * 2


def test_settings_in_another_order_are_another_sweep() -> None:
    first, second = Definition(("a=1", "b=2"), {}), Definition(("b=2", "a=1"), {})
    assert first.differences(second) == ["its settings are in another order"]
    assert not first.differences(Definition(("a=1", "b=2"), {}))


def test_runs_of_no_sweep_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0/config.yaml").write_text("a: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="runs of no known sweep"):
        check_definition(tmp_path, Definition((), {}))


@pytest.mark.parametrize("text", ["", "[1]", "settings: 3\nsweep: {}", "a: [", "\x00"])
def test_a_torn_definition_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sweep\.yaml: is not the definition of a sweep"):
        Definition.read(tmp_path)


def test_new_folders_have_names_of_their_own(tmp_path: Path) -> None:
    definition = Definition(("seed=1,2",), {"name": "grid"})
    first = sweep_folder(tmp_path, definition)
    definition.write(first)
    assert sweep_folder(tmp_path, definition) == first
    second = sweep_folder(tmp_path, definition, restart=True)
    assert second != first
    assert yaml.safe_load((first / "sweep.yaml").read_text())["settings"] == ["seed=1,2"]
    assert sweep_folder(tmp_path / "none", definition).parent == tmp_path / "none"


def test_a_dry_run_tells_the_jobs_and_starts_none(
    start: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("seed=1,2", "cell=lstm,gru", "sweep.dry_run=true") == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.endswith(": 4 jobs, 1 at a time")
    assert lines == [
        f"{number}  waiting     seed={seed} cell={cell}"
        for number, (seed, cell) in enumerate([(1, "lstm"), (1, "gru"), (2, "lstm"), (2, "gru")])
    ]
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seed=1,2", "run_dir=here"), "error: run_dir=here: each job of a sweep has its own"),
        (("optimizer.lr=interval(0.1,1)",), "an interval has no end of values; list them, or"),
        (("seed=1,2", "launcher.num_parallel=0"), "error: launcher.num_parallel=0: is too few"),
        (("seed=1,2", "launcher.gpus_per_job=1"), "1 jobs need 1, and 0 are there"),
        (("seed=1,two",), "error: seed=two: "),
        (("seed=1,2", "sweep.dryrun=true"), "dry_run"),
        (("seed=1,2", "sweep=optna"), "did you mean sweep=optuna?"),
        (("seed=1,2", "sweep.objectives={val/loss:least}"), "error: sweep.objectives="),
    ],
)
def test_a_wrong_sweep_is_one_line_and_leaves_nothing(
    start: Started,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert start(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(Path().iterdir())


def test_a_single_run_is_told_what_belongs_to_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    from seqloom import entry

    assert entry.train(["task=translation", "launcher.num_parallel=2"]) == 2
    assert "it belongs to a sweep of Seqloom's own launcher; write -m" in capsys.readouterr().err


def summary_of(folder: Path, status: str, **best: object) -> None:
    folder.mkdir(exist_ok=True)
    found = {"monitor": "val/loss", "score": 0.5, "metrics": {"val/bleu": 3.0}, **best}
    metrics = {"test/bleu": 2.0}
    summary = Summary("t", status, metrics, found, steps=3, seconds=2.0, error="X: y")
    summary.write(folder / "summary.json")


def test_an_outcome_is_what_the_folder_says(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert read_outcome(folder, ["val/loss"]) == Outcome("waiting")
    summary_of(folder, "finished")
    names = ["val/loss", "val/bleu", "test/bleu"]
    assert read_outcome(folder, names) == Outcome("finished", (0.5, 3.0, 2.0), None, 2.0, 3)
    missing = Outcome("finished", (), "val/f1 was not logged", 2.0, 3)
    assert read_outcome(folder, ["val/loss", "val/f1"]) == missing
    summary_of(folder, "finished", score=float("inf"))
    assert read_outcome(folder, ["val/loss"]).error == "val/loss is nan"
    for status, state in (
        ("failed", "failed"),
        ("running", "interrupted"),
        ("interrupted", "interrupted"),
    ):
        summary_of(folder, status)
        assert read_outcome(folder, ["val/loss"]).state == state
    (folder / "summary.json").write_text("{", encoding="utf-8")
    assert "it is not JSON" in str(read_outcome(folder, ["val/loss"]).error)
    (folder / "summary.json").unlink()
    (folder / "config.yaml").touch()
    assert read_outcome(folder, ["val/loss"]) == Outcome("interrupted")
