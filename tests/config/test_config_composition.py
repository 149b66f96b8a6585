"""Every YAML file composes, is complete and commented, and names a class that takes its keys."""

import dataclasses
import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from seqloom.config.fit import check_fit
from seqloom.config.overrides import compose_config
from seqloom.config.paths import config_dir, groups
from seqloom.config.runs import OF_SWEEPS, plain
from seqloom.config.schemas import LOGGERS, SCHEMAS, Experiment

GROUPS = groups(config_dir())
OPTIONS = [(group, option) for group, options in GROUPS.items() for option in options]
FILES = sorted(config_dir().rglob("*.yaml"))
# What `commands` hands over when it builds a part.
PARTS = {
    "model": {
        "target_vocab_size",
        "shared_vocabulary",
        "source_size",
        "reads_ids",
        "target_size",
    },
    "cell": {"input_size", "hidden_size"},
    "attention": {"query_size", "memory_size"},
    "output": {"input_size", "output_size"},
    "learner": {"spec", "model", "optimizer", "scheduler", "config"},
    "optimizer": {"params"},
    "logger": {"run"},
}


# What an option cannot be without.
NEEDED = {("cell", "user"): ["cell.file=my_cell.py", "cell.name=MyCell"]}


# The task of options whose keys others do not have.
TASK_OF = {
    ("model", "video_classifier"): "video_classification",
    ("model", "frame_average"): "video_classification",
}


@functools.cache
def composed(group: str, option: str) -> DictConfig:
    task = TASK_OF.get((group, option), "translation")
    chosen = [] if group in ("task", "experiment") else [f"task={task}"]
    return compose_config([*chosen, f"{group}={option}", *NEEDED.get((group, option), [])])


def test_every_task_composes_with_each_of_its_data() -> None:
    for task in GROUPS["task"]:
        for data in composed("task", task).task.data:
            settings = [f"task={task}", f"data={data}"]
            config = compose_config(settings)
            check_fit(config, settings)
            plain(config)


def nodes(group: str, option: str) -> list[DictConfig]:
    node = composed(group, option)[group]
    return list(node.values()) if group == "logger" else [node]


def a_class(target: str) -> type:
    module, _, name = target.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, type)
    return found


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_resolves(group: str, option: str) -> None:
    values = plain(composed(group, option))
    own = {field.name for field in dataclasses.fields(Experiment)} - set(OF_SWEEPS)
    assert set(values) == own


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, o in OPTIONS if g == "experiment"])
def test_an_experiment_changes_something(group: str, option: str) -> None:
    cfg = composed(group, option)
    assert cfg != compose_config([f"task={cfg.task.name}"])


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, o in OPTIONS if g in SCHEMAS])
def test_a_node_has_the_type_of_its_schema(group: str, option: str) -> None:
    assert OmegaConf.get_type(nodes(group, option)[0]) is SCHEMAS[group][option]


def test_every_schema_has_a_file() -> None:
    for group, options in SCHEMAS.items():
        assert sorted(options) == GROUPS[group]
    assert sorted([*LOGGERS, "none"]) == GROUPS["logger"]


@pytest.mark.parametrize(
    ("group", "option"), [(g, o) for g, o in OPTIONS if g in SCHEMAS or g == "logger"]
)
def test_a_target_takes_every_key_of_its_schema(group: str, option: str) -> None:
    for node in nodes(group, option):
        target = node.get("_target_")
        if target is None:
            continue
        signature = inspect.signature(a_class(target))
        given = {str(key) for key in node if not str(key).startswith("_")}
        signature.bind_partial(**dict.fromkeys(given))
        needed = {
            name
            for name, parameter in signature.parameters.items()
            if parameter.default is inspect.Parameter.empty
            and parameter.kind
            not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        }
        assert needed <= given | PARTS.get(group, set())


@pytest.mark.parametrize(("group", "options"), SCHEMAS.items())
def test_options_that_share_a_target_share_a_schema(group: str, options: dict[str, type]) -> None:
    seen: dict[str, type] = {}
    for option, schema in options.items():
        node = OmegaConf.load(config_dir() / group / f"{option}.yaml")
        assert isinstance(node, DictConfig)
        target = str(node.get("_target_", option))  # what makes a sweep is no part to be built
        assert seen.setdefault(target, schema) is schema


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, o in OPTIONS if g in SCHEMAS])
def test_a_file_sets_every_key_and_agrees_with_the_links(group: str, option: str) -> None:
    written = OmegaConf.load(config_dir() / group / f"{option}.yaml")
    raw = OmegaConf.to_container(written, resolve=False)
    schema = OmegaConf.to_container(OmegaConf.structured(SCHEMAS[group][option]), resolve=False)
    assert isinstance(raw, dict)
    assert isinstance(schema, dict)
    assert set(schema) == set(raw) - {"defaults"}
    links = {key: value for key, value in schema.items() if str(value).startswith("${")}
    assert {key: raw[key] for key in links} == links


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(config_dir())))
def test_every_leaf_has_a_comment(file: Path) -> None:
    body = file.read_text().partition("\nhydra:")[0]
    assert re.match(r"(# @package \S+\n)?# \S", body), "the file says what it is"
    if file.parent.name == "experiment":
        return  # its keys are explained in their own groups
    for line in body.splitlines():
        leaf = re.match(r"\s*(\w+): (\S.*)", line)
        if leaf and not line.startswith(("defaults:", "_")):
            assert " # " in line, line


def test_files_that_write_elsewhere_say_so() -> None:
    for group in ("task", "experiment", "debug"):
        for option in GROUPS[group]:
            text = (config_dir() / group / f"{option}.yaml").read_text()
            assert text.startswith("# @package _global_\n")
