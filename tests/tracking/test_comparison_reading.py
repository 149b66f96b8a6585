"""Many run folders are found and read, whatever state they are in; curves keep their extremes."""

import json
import math
import random
from pathlib import Path

import pytest
from comparison_folders import job_record, make_member, make_sweep, write_sweep

from seqloom.errors import ConfigError
from seqloom.tracking.comparison.curves import Curve, read_curves, thinned
from seqloom.tracking.comparison.runs import common_folder, read_runs, run_folders


def test_runs_are_found_in_folders_lists_and_patterns(tmp_path: Path) -> None:
    for name in ("a/2", "a/10", "b/1"):
        make_member(tmp_path / name, {})
    (tmp_path / "a/2/wandb/files").mkdir(parents=True)
    (tmp_path / "a/2/wandb/files/config.yaml").write_text("a: 1", encoding="utf-8")
    (tmp_path / "a/2/wandb/files/summary.json").write_text("{}", encoding="utf-8")
    found = [tmp_path / name for name in ("a/2", "a/10", "b/1")]
    assert run_folders(str(tmp_path)) == found
    assert run_folders(f"{tmp_path}/a/2,{tmp_path}/b") == [found[0], found[2]]
    assert run_folders(f"{tmp_path}/a/*") == found[:2]
    assert run_folders(f"{tmp_path}/a,{tmp_path}/a/*") == found[:2], "each once"
    assert run_folders(str(found[0])) == found[:1]


def test_a_folder_with_a_bracket_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    make_member(tmp_path / "a[1]", {})
    assert run_folders(f"{tmp_path}/a[1]") == [tmp_path / "a[1]"]


def test_a_place_without_runs_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    with pytest.raises(ConfigError, match=r"runs=.*sweps: .*did you mean .*sweeps\?"):
        run_folders(f"{tmp_path}/sweps")
    with pytest.raises(ConfigError, match="there is no run"):
        run_folders(str(tmp_path))
    with pytest.raises(ConfigError, match="there is no run"):
        run_folders("")


def test_damaged_files_are_named_and_stop_nothing(tmp_path: Path) -> None:
    for number in range(4):
        make_member(tmp_path / str(number), {})
    (tmp_path / "0/config.yaml").write_text("a: [", encoding="utf-8")
    (tmp_path / "1/summary.json").write_text("{", encoding="utf-8")
    (tmp_path / "2/metrics.csv").write_text("epoch\n1\n", encoding="utf-8")
    read = read_runs(run_folders(str(tmp_path)))
    assert [run.name for run in read.runs] == ["0", "1", "2", "3"]
    assert [problem.split(" cannot")[0] for problem in read.problems] == [
        "0: config.yaml",
        "1: summary.json",
        "2: metrics.csv",
    ]
    assert read.runs[0].config == {}
    assert read.runs[0].task == "translation", "the summary tells it"
    assert read.runs[1].summary == {}
    assert read.runs[1].task == "translation", "the config tells it"
    assert read.runs[2].curves == {}
    assert read.runs[3].curves


def test_code_in_a_config_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    config = f"a: !!python/object/apply:os.mkdir ['{mark}']\n"
    make_member(tmp_path / "run", {}, config=config)
    read = read_runs([tmp_path / "run"])
    assert not mark.exists()
    assert "config.yaml cannot be read" in read.problems[0]


def test_a_killed_run_is_interrupted_and_one_without_summary_too(tmp_path: Path) -> None:
    make_member(tmp_path / "killed", {}, status="running")
    make_member(tmp_path / "early", {})
    (tmp_path / "early/summary.json").unlink()
    read = read_runs(run_folders(str(tmp_path)))
    assert {run.name: run.status for run in read.runs} == {
        "early": "interrupted",
        "killed": "interrupted",
    }
    assert read.problems == ["early: there is no summary.json"]


def test_a_status_that_there_is_not_is_a_problem(tmp_path: Path) -> None:
    make_member(tmp_path / "0", {}, status="dreaming")
    read = read_runs([tmp_path / "0"])
    assert read.runs[0].status == "interrupted"
    assert read.problems == ["0: summary.json has the status 'dreaming', which there is not"]


def test_endless_nesting_is_a_problem_of_one_run(tmp_path: Path) -> None:
    make_member(tmp_path / "0", {})
    (tmp_path / "0/summary.json").write_text("[" * 100_000, encoding="utf-8")
    read = read_runs([tmp_path / "0"])
    assert read.problems[0].startswith("0: summary.json cannot be read")


def test_the_record_of_a_sweep_adds_what_folders_cannot_tell(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    states = {0: "pruned", 1: "failed", 2: "interrupted"}
    jobs = [job_record(tmp_path / str(k), k, states.get(k, "finished")) for k in range(12)]
    jobs[1]["error"] = "val/loss is nan"
    waiting = {**jobs[0], "number": 12, "folder": "12", "state": "waiting", "error": None}
    waiting |= {"settings": ["cell=rnn", "seed=9"], "values": []}
    write_sweep(tmp_path, [*jobs, waiting], None)
    read = read_runs(run_folders(str(tmp_path)))
    assert len(read.runs) == 13
    assert read.runs[0].status == "pruned"
    assert read.runs[0].error == "worse than the median of 5 others"
    assert (read.runs[1].status, read.runs[1].error) == ("failed", "val/loss is nan")
    assert read.runs[2].status == "finished", "the folder knows better than an older record"
    assert read.runs[12].status == "waiting"
    assert (read.runs[12].task, read.runs[12].words) == ("translation", ["cell=rnn", "seed=9"])


def test_a_damaged_record_is_a_problem(tmp_path: Path) -> None:
    make_member(tmp_path / "0", {})
    (tmp_path / "sweep.json").write_text(json.dumps({"name": "x"}), encoding="utf-8")
    read = read_runs(run_folders(str(tmp_path)))
    assert len(read.runs) == 1
    assert "sweep.json" in read.problems[0]


def test_the_shared_folder_of_one_run_is_its_parent(tmp_path: Path) -> None:
    assert common_folder([tmp_path / "a" / "1"]) == tmp_path / "a"
    assert common_folder([tmp_path / "a" / "1", tmp_path / "b" / "1"]) == tmp_path


@pytest.mark.parametrize("num", [1, 2, 4, 40, 41, 1000, 100_003])
def test_thinning_keeps_ends_and_extremes(num: int) -> None:
    random_ = random.Random(num)
    values = [random_.gauss(0, 1) for _ in range(num)]
    curve = Curve([float(k) for k in range(num)], [None] * num, values)
    thin = thinned(curve, 40)
    assert len(thin.value) <= 40
    assert len(thin.step) == len(thin.seconds) == len(thin.value)
    assert (thin.step[0], thin.step[-1]) == (0.0, num - 1.0)
    assert {min(values), max(values)} <= {*thin.value}
    assert thin.step == sorted(thin.step)
    assert all(values[int(step)] == v for step, v in zip(thin.step, thin.value, strict=True))


def test_a_spike_of_one_step_is_still_seen() -> None:
    values = [1.0] * 5000
    values[3210] = 9.0
    thin = thinned(Curve([float(k) for k in range(5000)], [0.5] * 5000, values), 20)
    assert thin.step[thin.value.index(9.0)] == 3210.0


def test_curves_are_of_training_loss_and_validation_and_finite() -> None:
    text = (
        "step,epoch,seconds,train/loss,train/lr,val/bleu,test/bleu\n"
        "10,0,1.5,4,0.1,,\n20,0,3,nan,0.1,30.5,\n30,1,4.5,2,0.1,inf,\n40,1,6,1.5,0.1,31,50\n50,1,7"
    )
    curves = read_curves(text, 100)
    assert curves == {
        "train/loss": Curve([10, 30, 40], [1.5, 4.5, 6], [4, 2, 1.5]),
        "val/bleu": Curve([20, 40], [3, 6], [30.5, 31]),
    }
    assert all(math.isfinite(value) for curve in curves.values() for value in curve.value)
    assert read_curves("", 100) == {}
    assert read_curves("step,val/loss\n", 100) == {}
    assert read_curves("step,val/loss\n1,2\n", 100) == {"val/loss": Curve([1], [None], [2])}
