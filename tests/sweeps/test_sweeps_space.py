"""Spaces: every syntax of the command line, the files of spaces, and what is refused."""

import functools
import re
from collections.abc import Callable

import pytest
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from seqloom.config.overrides import apply_setting, compose_config, parse
from seqloom.config.paths import config_dir, groups
from seqloom.errors import ConfigError
from seqloom.sweeps.distributions import distribution
from seqloom.sweeps.parameter import Parameter, read_parameter
from seqloom.sweeps.space import Space, read_space

GROUPS = groups(config_dir())
FILES = sorted(file.stem for file in (config_dir() / "sweep" / "spaces").glob("*.yaml"))


@functools.cache
def composed(*settings: str) -> DictConfig:
    return compose_config(settings, sweep=True)


@pytest.fixture(autouse=True)
def each_config_once(monkeypatch: pytest.MonkeyPatch) -> None:
    quick: Callable[..., DictConfig] = lambda settings, sweep=False: composed(*settings)  # noqa: E731
    monkeypatch.setattr("seqloom.sweeps.space.compose_config", quick)


def parameter_of(text: str) -> Parameter:
    found = read_parameter(text)
    assert found is not None
    return found


def keys_of(space: Space) -> list[str]:
    return [parameter.key for parameter in space.parameters]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=interval(0.0001,0.1)", FloatDistribution(0.0001, 0.1)),
        ("x=interval(1,2)", FloatDistribution(1.0, 2.0)),
        ("x=tag(log,interval(0.0001,0.1))", FloatDistribution(0.0001, 0.1, log=True)),
        ("x=int(interval(64,512))", IntDistribution(64, 512)),
        ("x=int(tag(log,interval(64,512)))", IntDistribution(64, 512, log=True)),
        ("x=range(0.0,0.5,0.1)", FloatDistribution(0.0, 0.4, step=0.1)),
        ("x=range(0.0,0.16,0.05)", FloatDistribution(0.0, 0.15, step=0.05)),
        ("x=range(0.0,0.45,0.05)", FloatDistribution(0.0, 0.4, step=0.05)),
        ("x=range(0,3,1)", IntDistribution(0, 2)),
        ("x=range(1,5)", IntDistribution(1, 4)),
        ("x=range(128,513,64)", IntDistribution(128, 512, step=64)),
        ("x=range(5,1,-2)", IntDistribution(3, 5, step=2)),
        ("x=lstm,gru", CategoricalDistribution(("lstm", "gru"))),
        ("x=choice(lstm,gru,lstm)", CategoricalDistribution(("lstm", "gru"))),
        ("x=shuffle(lstm,gru)", CategoricalDistribution(("gru", "lstm"))),
        ("x='a b',null,[1,2]", CategoricalDistribution(("'a b'", "null", "[1,2]"))),
        ("optimizer=glob(adam*)", CategoricalDistribution(("adam", "adamw"))),
        ("x=choice(one)", CategoricalDistribution(("one",))),
    ],
)
def test_each_syntax_is_a_distribution(text: str, expected: object) -> None:
    assert distribution(parameter_of(text)) == expected


def test_a_single_value_is_no_parameter() -> None:
    assert read_parameter("x=1") is None
    assert read_parameter("x=[1,2]") is None


@pytest.mark.parametrize(
    ("text", "value", "setting"),
    [
        ("x=interval(0,1)", 0.1 + 0.2, "x=0.30000000000000004"),
        ("x=interval(0,1)", 1e-05, "x=1e-05"),
        ("x=int(interval(1,9))", 3, "x=3"),
        ("x=range(0.0,0.5,0.1)", 0.1 + 0.2, "x=0.3"),
        ("x=range(0.0,0.45,0.05)", 0.30000000000000004, "x=0.3"),
        ("x=range(128,513,64)", 192, "x=192"),
        ("x='a b',c", "'a b'", "x='a b'"),
    ],
)
def test_a_value_becomes_the_setting_that_gives_it(text: str, value: object, setting: str) -> None:
    assert parameter_of(text).setting(value) == setting
    parse(setting)


@pytest.mark.parametrize(
    ("text", "plain", "value"),
    [
        ("x=interval(0,1)", 0.25, 0.25),
        ("x=interval(0,1)", 1.5, None),
        ("x=interval(0,1)", None, None),
        ("x=interval(0,1)", True, None),
        ("x=int(interval(1,9))", 2.5, None),
        ("x=range(0.0,0.5,0.1)", 0.3, 0.3),
        ("x=range(0.0,0.5,0.1)", 0.25, None),
        ("x=false,true", True, "True"),
        ("x=64,128", 128, "128"),
        ("x='a b',null", "a b", "'a b'"),
        ("x='a b',null", None, "null"),
        ("x=lstm,gru", "rnn", None),
    ],
)
def test_the_value_of_a_config_is_found_again(text: str, plain: object, value: object) -> None:
    assert parameter_of(text).value_of(plain) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optimizer.lr=interval(2,1)", "2.0 is above 1.0; write interval(1.0, 2.0)"),
        ("optimizer.lr=tag(log,interval(0,1))", "0.0 has no logarithm"),
        ("optimizer.lr=tag(log,range(1,9))", "write tag(log, interval(A, B))"),
        ("optimizer.lr=tag(lg,interval(1,2))", "the tag lg means nothing here"),
        ("optimizer.lr=range(5,1)", "the range is empty"),
        ("optimizer.lr=glob(*)", "only a group has options"),
        ("optimizer.lrr=interval(0,1)", "did you mean optimizer.lr=interval(0,1)?"),
        ("model.hidden_size=interval(64,512)", "write int(interval(64,512))"),
        ("model.tie=none,outptu", "expected one of [none, output, all]"),
        ("cell=lstm,grru", "did you mean cell=gru?"),
        ("seed=1,2", "a search would find the luckiest number; write one seed"),
        ("cell=lstm,gru cell.r_max=interval(0,1)", "cell=lru has it"),
        ("model.dropout=0.1", "nothing is searched"),
    ],
)
def test_a_space_that_cannot_be_is_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        read_space(["task=translation", *text.split(" ")], [])
    assert "\n" not in str(caught.value)


def test_several_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match="nothing in common"):
        read_space(["task=adding,parity"], None)


def test_an_unknown_file_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=re.escape("did you mean sweep.spaces=[general]?")):
        read_space(["task=translation"], ["genral"])


def test_the_files_of_task_and_cell_are_taken() -> None:
    space = read_space(["task=copy_memory"], None)
    assert {"optimizer.lr", "cell.r_max"} <= set(keys_of(space))
    assert "cell.forget_bias" not in keys_of(space)
    assert space.default["optimizer.lr"] == composed("task=copy_memory").optimizer.lr
    assert space.words == ()


def test_the_command_line_wins() -> None:
    settings = ["task=translation", "optimizer.lr=0.002", "model.dropout=interval(0.1,0.2)"]
    space = read_space(settings, None)
    assert "optimizer.lr" not in keys_of(space)
    assert keys_of(space).count("model.dropout") == 1
    found = next(p for p in space.parameters if p.key == "model.dropout")
    assert (found.low, found.high, found.source) == (0.1, 0.2, "command line")
    assert space.fixed == ("task=translation", "optimizer.lr=0.002")


def test_keys_of_a_cell_belong_to_trials_with_it() -> None:
    space = read_space(["task=translation", "cell=lru,lstm"], None)
    assert "cell" in keys_of(space)[:2]
    by_key = {p.key: p for p in space.parameters}
    assert dict(by_key["cell.r_max"].when) == {"cell": ("lru",)}
    assert by_key["cell.r_max"].name == "cell.r_max (cell=lru)"
    assert dict(by_key["cell.forget_bias"].when) == {"cell": ("lstm",)}
    assert not by_key["optimizer.lr"].when
    assert space.default["cell"] == "lstm"


def test_a_key_that_the_config_lacks_is_left_out_with_a_word() -> None:
    space = read_space(["task=translation"], ["general", "language_modeling", "lru"])
    assert "batching.window" not in keys_of(space)
    assert space.words == (
        "lru.yaml is left out: it is for cell=lru",
        "language_modeling.yaml: model.num_layers is left out: it is not in this config",
        "language_modeling.yaml: batching.window is left out: it is not in this config",
    )


@pytest.mark.parametrize("name", FILES)
def test_every_value_of_a_file_fits_its_config(name: str) -> None:
    task = name if name in GROUPS["task"] else "translation"
    settings = [f"task={task}", *([f"cell={name}"] if name in GROUPS["cell"] else [])]
    space = read_space(settings, [name])
    assert space.words == ()
    assert len(space.parameters) >= 2
    config = compose_config(settings)
    for parameter in space.parameters:
        if parameter.key in GROUPS:
            continue
        for value in parameter.all_values() or [parameter.low, parameter.high]:
            apply_setting(parse(parameter.setting(value)), config)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_space_names_what_there_is(name: str) -> None:
    assert name in ("general", *GROUPS["task"], *GROUPS["cell"])
    file = config_dir() / "sweep" / "spaces" / f"{name}.yaml"
    when = OmegaConf.select(OmegaConf.load(file), "when")
    assert when == ({"cell": name} if name in GROUPS["cell"] else None)


def test_the_table_has_a_line_for_each_key() -> None:
    space = read_space(["task=translation", "optimizer.lr=interval(0.001,0.1)"], [])
    head, line = space.table()
    assert head.split() == ["key", "values", "of", "the", "config", "from"]
    assert line.split() == ["optimizer.lr", "interval(0.001,0.1)", "0.003", "command", "line"]
