"""What differs, which runs are repeats of one another, and what their numbers are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparison_folders import CONFIG, make_member, make_search, make_sweep, written
from omegaconf import OmegaConf

from seqloom.config import plain
from seqloom.config.overrides import compose_config
from seqloom.errors import ConfigError
from seqloom.tracking.comparison.payload import ComparedRuns, compare_runs
from seqloom.tracking.comparison.runs import run_folders
from seqloom.tracking.comparison.settings import flat

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a further run, numbered, of settings and test metrics."""

    def one(
        settings: dict[str, Any], *, bleu: float | None = 50.0, status: str = "finished"
    ) -> Path:
        number = len([*tmp_path.iterdir()])
        metrics = {"test/bleu": bleu} if status == "finished" else {}
        return make_member(tmp_path / str(number), settings, metrics=metrics, status=status)

    return one


def compared(folder: Path, **options: Any) -> ComparedRuns:
    return compare_runs(run_folders(str(folder)), **options)


def test_groups_have_the_numbers_of_a_hand_calculation(make: Make, tmp_path: Path) -> None:
    for seed, bleu in enumerate((30.0, 32.0, 37.0)):
        make({"cell": "gru", "seed": seed}, bleu=bleu)
    make({"cell": "gru", "seed": 7}, status="failed")
    make({"cell": "lstm", "seed": 0}, bleu=29.0)
    found = compared(tmp_path)
    assert [group.label for group in found.groups] == ["cell=gru", "cell=lstm"]
    gru, lstm = found.groups
    numbers = gru.metrics["test/bleu"]
    assert (numbers.count, numbers.mean, numbers.best) == (3, 33.0, 37.0)
    # Squares of -3, -1, 4 are 26; 26 / 2 = 13. t of 2 degrees at 97.5 % is 4.302653.
    assert numbers.deviation == pytest.approx(13**0.5)
    assert numbers.low == pytest.approx(33 - 4.302653 * (13 / 3) ** 0.5, abs=1e-5)
    assert numbers.high == pytest.approx(33 + 4.302653 * (13 / 3) ** 0.5, abs=1e-5)
    assert (len(gru.runs), gru.num_failed, gru.seeds) == (4, 1, [0, 1, 2])
    alone = lstm.metrics["test/bleu"]
    assert (alone.count, alone.mean, alone.deviation, alone.low) == (1, 29.0, None, None)


def test_every_run_is_in_one_group_or_named_as_in_none(tmp_path: Path) -> None:
    make_search(tmp_path, num_runs=30)
    (tmp_path / "007/config.yaml").write_text("- no\n- mapping\n", encoding="utf-8")
    found = compared(tmp_path)
    members = [run.name for group in found.groups for run in group.runs]
    assert sorted([*members, "007"]) == sorted(run.name for run in found.read.runs)
    assert any("in no group: 007" in note for note in found.notes)


def test_equal_shown_settings_are_equal_configs_but_for_seed_and_machine(tmp_path: Path) -> None:
    make_search(tmp_path / "a", num_runs=20)
    make_sweep(tmp_path / "b")
    kept = ("seed", "run_dir", "data.seed")
    for group in compared(tmp_path).groups:
        configs = [
            {key: v for key, v in flat(run.config).items() if key not in kept} for run in group.runs
        ]
        assert all(config == configs[0] for config in configs)


def test_what_differs_is_shown_once_as_it_is_typed(make: Make, tmp_path: Path) -> None:
    """Copies by links, what an option brings along, seeds and the machine are not shown."""
    make({"cell": "lstm", "unrolling": "static", "seed": 1, "workers": 0})
    make({"cell": "gru", "unrolling": "dynamic", "seed": 2, "workers": 4})
    make({"cell": "gru", "unrolling": "static", "seed": 3, "dropout": 0.3})
    found = compared(tmp_path)
    assert found.keys == ["cell", "unrolling", "model.dropout"]
    rows = [found.settings.of(run, found.keys) for run in found.read.runs]
    assert rows[0] == {"cell": "lstm", "unrolling": "static", "model.dropout": 0.1}
    assert rows[2] == {"cell": "gru", "unrolling": "static", "model.dropout": 0.3}


def test_a_setting_of_an_option_is_shown_where_the_option_does_not_decide_it(
    make: Make, tmp_path: Path
) -> None:
    make({"cell": "gru"})
    make({"cell": "lstm"})
    folder = make({"cell": "lstm", "seed": 2})
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(text.replace("bias: 1.0", "bias: 2.0"), encoding="utf-8")
    found = compared(tmp_path)
    assert found.keys == ["cell", "cell.forget_bias"]
    assert len(found.groups) == 3


def test_lists_null_and_truth_are_readable(make: Make, tmp_path: Path) -> None:
    for beta, value in (("0.9", "null"), ("0.8", "true")):
        folder = make({})
        text = (folder / "config.yaml").read_text(encoding="utf-8")
        text = text.replace("- 0.9\n", f"- {beta}\n").replace("devices: 1", f"devices: {value}")
        (folder / "config.yaml").write_text(text, encoding="utf-8")
    found = compared(tmp_path)
    assert found.keys == ["optimizer.betas", "trainer.devices"]
    assert [group.label for group in found.groups] == [
        "optimizer.betas=[0.8, 0.999] trainer.devices=true",
        "optimizer.betas=[0.9, 0.999] trainer.devices=null",
    ]


def test_real_configs_differ_by_their_options_alone(tmp_path: Path) -> None:
    """Composed from conf/, so every link and every value that an option brings is there."""
    chosen = [
        ["cell=gru", "unrolling=static", "seed=1"],
        ["cell=gru", "unrolling=static", "seed=2", "data.cache_dir=/elsewhere", "logger=csv"],
        ["cell=lru", "unrolling=dynamic", "seed=1"],
        ["cell=lstm", "optimizer=sgd", "decoding=greedy", "optimizer.lr=0.5"],
    ]
    for number, words in enumerate(chosen):
        config = plain(compose_config(["task=translation", *words]))
        text = yaml.safe_dump(OmegaConf.to_container(config))
        make_member(tmp_path / str(number), {"seed": config.seed}, config=text)
    found = compared(tmp_path)
    assert found.keys == ["cell", "decoding", "optimizer", "unrolling"]
    assert [run.name for run in found.groups[0].runs] in (["0", "1"], ["2"], ["3"])
    labels = {" ".join(run.name for run in g.runs): g.label for g in found.groups}
    assert labels == {
        "0 1": "cell=gru decoding=beam optimizer=adamw unrolling=static",
        "2": "cell=lru decoding=beam optimizer=adamw unrolling=dynamic",
        "3": "cell=lstm decoding=greedy optimizer=sgd unrolling=auto",
    }


def test_a_setting_of_a_newer_version_does_not_split_a_group(tmp_path: Path) -> None:
    """An older config lacks keys and groups; they had the values that are today's defaults."""
    config = OmegaConf.to_container(plain(compose_config(["task=parity", "cell=gru"])))
    assert isinstance(config, dict)
    older = {key: value for key, value in config.items() if key != "frames"}
    older["stack"] = {k: v for k, v in config["stack"].items() if not k.startswith("zoneout")}
    older["model"] = config["model"] | {"stack": older["stack"]}
    changed = older | {"stack": older["stack"] | {"zoneout": 0.5}}
    changed["model"] = config["model"] | {"stack": changed["stack"]}
    for number, version in enumerate((config, older, changed)):
        text = yaml.safe_dump(version | {"seed": number, "data": config["data"]})
        make_member(tmp_path / str(number), {"seed": number}, config=text)
    found = compared(tmp_path)
    assert sorted(len(group.runs) for group in found.groups) == [1, 2]
    assert [group.label for group in found.groups if len(group.runs) == 2] == ["stack.zoneout=0"]


def test_a_seed_of_the_data_that_is_held_fast_splits_no_group(make: Make, tmp_path: Path) -> None:
    """With `data.seed=1 seed=1,2,3` it equals the seed in one of three runs, by chance."""
    for seed in (1, 2, 3):
        folder = make({"seed": seed})
        text = (folder / "config.yaml").read_text(encoding="utf-8")
        text = text.replace(f"  seed: {seed}\n", "  seed: 1\n")
        (folder / "config.yaml").write_text(text, encoding="utf-8")
    found = compared(tmp_path)
    assert [len(group.runs) for group in found.groups] == [3]
    assert found.keys == []
    folder = make({"seed": 4})
    found = compared(tmp_path)
    assert found.keys == ["data.seed"]
    assert sorted(group.label for group in found.groups) == ["data.seed=1", "data.seed=4"]


def test_an_unknown_class_is_named_by_its_class(make: Make, tmp_path: Path) -> None:
    make({})
    folder = make({})
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(text.replace("cells.LSTM", "cells.Old"), encoding="utf-8")
    labels = {group.label for group in compared(tmp_path).groups}
    assert labels == {"cell=lstm", "cell=Old"}


def test_groups_can_be_chosen_and_a_wrong_key_names_the_nearest(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    found = compared(tmp_path, group_by=["cell"])
    assert {group.label: len(group.runs) for group in found.groups} == {
        "cell=gru": 4,
        "cell=lstm": 4,
        "cell=min_gru": 4,
    }
    by_size = compared(tmp_path, group_by=["model.hidden_size"])
    assert [group.label for group in by_size.groups] == ["model.hidden_size=128"]
    with pytest.raises(ConfigError, match=r"group_by=cel: .*did you mean cell\?"):
        compared(tmp_path, group_by=["cel"])


def test_the_metric_that_judges_and_its_direction(make: Make, tmp_path: Path) -> None:
    make({"seed": 1}, bleu=10.0)
    make({"cell": "gru", "seed": 1}, bleu=20.0)
    found = compared(tmp_path)
    assert found.main is not None
    assert (found.main.name, found.main.mode) == ("test/bleu", "max")
    by_loss = compared(tmp_path, metric="loss")
    assert by_loss.main is not None
    assert (by_loss.main.name, by_loss.main.mode) == ("val/loss", "min")
    means = [group.metrics["val/loss"].mean for group in by_loss.groups]
    assert means == sorted(means, key=lambda mean: mean or 0.0)
    with pytest.raises(ConfigError, match=r"metric=test/blue: .*did you mean metric=test/bleu\?"):
        compared(tmp_path, metric="test/blue")


def test_one_run_and_only_failed_runs_are_told(make: Make, tmp_path: Path) -> None:
    make({}, status="failed")
    found = compared(tmp_path)
    assert [group.label for group in found.groups] == ["task=translation"]
    assert found.groups[0].metrics == {}
    assert found.groups[0].num_failed == 1
    assert found.main is not None
    assert found.main.name == "val/loss", "what it was monitored by"
    assert found.comparisons == []
    make({"cell": "gru"}, status="failed")
    assert len(compared(tmp_path).groups) == 2


def test_runs_without_any_score_have_no_main_metric(tmp_path: Path) -> None:
    make_member(tmp_path / "0", {}, status="failed", num_rows=0)
    found = compared(tmp_path)
    assert found.main is None
    assert found.metrics == []


def test_a_score_that_is_no_number_is_not_counted(make: Make, tmp_path: Path) -> None:
    make({"seed": 1}, bleu=40.0)
    make({"seed": 2}, bleu=None)
    (group,) = compared(tmp_path).groups
    assert (len(group.finished), group.metrics["test/bleu"].count) == (2, 1)


def test_tasks_are_kept_apart_and_that_is_said(tmp_path: Path) -> None:
    for number, name in enumerate(("translation", "parity", "parity")):
        words = {"seed": number, "cell": "lstm", "unrolling": "dynamic", "lr": 0.1, "dropout": 0.1}
        words |= {"hidden_size": 8, "workers": 0, "folder": "x"}
        config = CONFIG.format(**written(words)).replace("name: translation", f"name: {name}")
        score = {"test/bleu": 9.0} if name == "translation" else {"test/accuracy": 0.5}
        metrics: dict[str, float | None] = {"test/nll": 1.0 + number, **score}
        folder = make_member(tmp_path / str(number), words, config=config, metrics=metrics)
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        (folder / "summary.json").write_text(json.dumps({**summary, "task": name}), "utf-8")
    found = compared(tmp_path)
    assert [(group.label, len(group.runs)) for group in found.groups] == [
        ("task=parity", 2),
        ("task=translation", 1),
    ]
    assert any("2 tasks (parity, translation)" in note for note in found.notes)
    assert found.main is not None
    assert found.main.name == "test/nll", "that of the most runs"
    assert found.comparisons == [], "no pair within a task"
