"""The config of a run: the same again, and changed only where that can be."""

from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from seqloom.config.overrides import compose_config
from seqloom.config.runs import plain, resume_config, run_config, typed
from seqloom.errors import ConfigError


def written(folder: Path, *overrides: str) -> DictConfig:
    cfg = plain(compose_config(["task=translation", *overrides]))
    (folder / "config.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(cfg)))
    return cfg


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data=parallel_text", "data.root=/somewhere", "attention=multihead", "cell=gru"],
        ["attention=none", "logger=none", "scheduler=plateau", "unrolling=static"],
        ["optimizer.lr=1e-5", "trainer.max_time=00:00:10:00", "data.seed=9"],
    ],
)
def test_a_run_reads_back_as_it_was_written(tmp_path: Path, overrides: list[str]) -> None:
    cfg = written(tmp_path, *overrides)
    assert run_config(tmp_path, []) == cfg


@pytest.mark.parametrize("name", ["auto", "ddp"])
def test_a_run_of_when_strategies_had_no_options_is_read(tmp_path: Path, name: str) -> None:
    expected = written(tmp_path, f"strategy={name}")
    path = tmp_path / "config.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(values | {"strategy": {"name": name}}), encoding="utf-8")
    assert run_config(tmp_path, []) == expected


def test_resuming_changes_values_and_keeps_parts(tmp_path: Path) -> None:
    written(tmp_path, "attention=multihead", "trainer.max_epochs=3")
    cfg = resume_config(tmp_path, ["trainer.max_epochs=9", "attention.num_heads=2"])
    assert cfg.trainer.max_epochs == 9
    assert cfg.model.attention.num_heads == 2
    assert cfg.resume == str(tmp_path)
    with pytest.raises(ConfigError, match="a run keeps its parts"):
        resume_config(tmp_path, ["cell=gru"])


@pytest.mark.parametrize("setting", ["optimizer.lr=0.1", "scheduler.warmup_steps=3"])
def test_a_resume_refuses_what_the_checkpoint_would_undo(tmp_path: Path, setting: str) -> None:
    written(tmp_path)
    with pytest.raises(ConfigError, match="goes on as it was; start a new run to change it"):
        resume_config(tmp_path, [setting])


def test_other_data_keeps_the_languages_of_the_run(tmp_path: Path) -> None:
    written(tmp_path, "data.source_language=ja", "data.target_language=fi")
    other = ["data=parallel_text", "data.root=x"]
    data = run_config(tmp_path, other, swappable=["data"]).data
    assert (data.source_language, data.target_language) == ("ja", "fi")
    data = run_config(tmp_path, [*other, "data.target_language=sv"], swappable=["data"]).data
    assert (data.source_language, data.target_language) == ("ja", "sv")


def test_a_link_is_tied_again_unless_its_value_differed(tmp_path: Path) -> None:
    written(tmp_path, "data.seed=9")
    assert run_config(tmp_path, ["seed=4"]).data.seed == 9
    written(tmp_path)
    assert run_config(tmp_path, ["seed=4"]).data.seed == 4


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("trainer.max_epoch=3", "trainer.max_epochs=3"),
        ("seed=abc", "Integer"),
        ("data.too_long=x", "drop, truncate, error"),
        ("attention.num_heads=2", "attention=multihead has it"),
    ],
)
def test_changes_are_checked(tmp_path: Path, wrong: str, right: str) -> None:
    written(tmp_path)
    with pytest.raises(ConfigError, match=right):
        resume_config(tmp_path, [wrong])


def test_a_swappable_group_brings_its_own_values(tmp_path: Path) -> None:
    written(tmp_path, "seed=5")
    cfg = run_config(
        tmp_path, ["decoding=greedy", "decoding.max_length_offset=3"], swappable=["decoding"]
    )
    assert cfg.decoding["_target_"].endswith("GreedySearch")
    assert cfg.decoding.max_length_offset == 3
    cfg = run_config(tmp_path, ["data=parallel_text", "data.root=x"], swappable=["data"])
    assert (cfg.data.root, cfg.data.seed) == ("x", 5)
    with pytest.raises(ConfigError, match=r"did you mean decoding=beam\?"):
        run_config(tmp_path, ["decoding=baem"], swappable=["decoding"])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        run_config(tmp_path / "nothing", [])
    with pytest.raises(ConfigError, match=r"it holds no config\.yaml"):
        run_config(tmp_path, [])
    for content in ("- 1", "a: [", "seed: 3"):
        (tmp_path / "config.yaml").write_text(content)
        with pytest.raises(ConfigError, match=r"config\.yaml"):
            run_config(tmp_path, [])


def test_an_option_that_only_sets_values_is_refused_in_words_that_help(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ConfigError, match="write the values that debug would set, or start a new"):
        run_config(tmp_path, ["debug=profile"])
    with pytest.raises(ConfigError, match=r"write scheduler.KEY=VALUE, or start a new run"):
        run_config(tmp_path, ["scheduler=constant"])


def test_values_of_another_version_are_refused(tmp_path: Path) -> None:
    values = OmegaConf.to_container(written(tmp_path))
    assert isinstance(values, dict)
    for change in (
        {"cell": {"_target_": "os.system"}},
        {"unknown": 1},
        {"trainer": {"foo": 1}},
        {"logger": {"foo": {}}},
        {"seed": "x"},
    ):
        with pytest.raises(ConfigError):
            typed({**{str(k): v for k, v in values.items()}, **change})
    del values["strategy"]
    with pytest.raises(ConfigError, match=r"^config\.yaml: it has no strategy; use the version of"):
        typed({str(k): v for k, v in values.items()})
