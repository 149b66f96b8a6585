"""The config of an existing run, with changes: how a run is resumed, and evaluated on something
else.

`config.yaml` of a run is plain and resolved. It is typed again by the schemas, so that a change is
checked as on the first command line, and its links (`${seed}`) are tied again, so that a change
reaches every copy. Values can change; a group cannot, unless the caller allows it: other parts
would not fit the weights.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqloom.config.overrides import (
    apply_setting,
    check_option,
    compose_config,
    did_you_mean,
    first_line,
    parse,
)
from seqloom.config.paths import config_dir, groups
from seqloom.config.schemas import LOGGERS, SCHEMAS, Experiment
from seqloom.errors import ConfigError

LINK = "${"
# What another option of a group takes over from the run: its weights know nothing else.
INHERITED = {"data": ("source_language", "target_language")}
OF_SWEEPS = ("sweep", "launcher")
# Groups whose values a resumed run has from its checkpoint.
RESTORED = {"optimizer": "the optimiser", "scheduler": "the schedule"}


def plain(config: DictConfig) -> DictConfig:
    """`config` resolved and without its types, strings for choices, so that it can be stored
    anywhere; and without what makes a sweep.

    Raises:
        ConfigError: a value is missing or a link leads nowhere.
    """
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key not in OF_SWEEPS])
    try:
        values = OmegaConf.to_container(own, resolve=True, throw_on_missing=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error.full_key or "config"), first_line(error), "set it") from None
    result = OmegaConf.create(values)
    assert isinstance(result, DictConfig)
    OmegaConf.set_struct(result, True)
    return result


def resume_config(folder: Path, overrides: Sequence[str]) -> DictConfig:
    """The config of the run in `folder` with changed values, or under another strategy; `resume`
    names the folder.

    Raises ConfigError as `run_config` does, and for a setting that a checkpoint would undo.
    """
    for text in overrides:
        group = parse(text).key_or_group.partition(".")[0]
        if group in RESTORED:
            why = f"{RESTORED[group]} goes on as it was"
            raise ConfigError(text, why, "start a new run to change it")
    # A checkpoint does not know where it was trained.
    config = run_config(folder, overrides, swappable={"strategy"})
    config.resume = str(folder)
    return config


def continue_config(config: DictConfig) -> DictConfig:
    """`config`, which says `resume=auto`, as that of the run in its `run_dir` where there is one,
    else as that of a new run there: a job that is started again has the same command line.

    Raises ConfigError without a `run_dir`, where a checkpoint would undo a setting, and where a
    group other than the strategy has another option than that run.
    """
    if config.run_dir is None:
        raise ConfigError(
            "resume=auto", "it needs to know where the run would be", "write run_dir=DIR beside it"
        )
    config = plain(config)
    folder, config.resume = Path(config.run_dir), None
    if not (folder / "config.yaml").is_file():
        return config
    before = plain(typed(_read(folder)))
    for group, name in RESTORED.items():
        if before[group] != config[group]:
            raise ConfigError(group, f"{name} goes on as it was", "start a new run to change it")
    for group in (*SCHEMAS, "logger"):
        if group != "strategy" and _parts(before, group) != _parts(config, group):
            raise ConfigError(
                group, "a run keeps its parts, only values can change", "start a new run"
            )
    config.precision = before.precision
    config.resume = str(folder)
    return config


def _parts(config: DictConfig, group: str) -> list[str] | str | None:
    """What the option of a group makes: its target, or the names of the loggers."""
    if group == "logger":
        return sorted(str(name) for name in config.logger)
    target: str | None = OmegaConf.select(config, f"{group}._target_")
    return target


def run_config(
    folder: Path, overrides: Sequence[str], *, swappable: Collection[str] = ()
) -> DictConfig:
    """The plain config of the run in `folder`, with `overrides` merged onto it in their order.

    Args:
        swappable: groups of which another option may be chosen (`data=multi30k`); it comes with its
            own values.

    Raises:
        ConfigError: no config is there, or an override names what cannot be changed, is not known
            or does not fit.
    """
    config = typed(_read(folder))
    known = groups(config_dir())
    parsed = [parse(text) for text in overrides]
    for override in parsed:
        group = override.key_or_group
        if group not in known:
            continue
        if group not in swappable:
            keys = f"{group}.KEY=VALUE" if group in config else f"the values that {group} would set"
            raise ConfigError(
                str(override.input_line),
                "a run keeps its parts, only values can change",
                f"write {keys}, or start a new run",
            )
        check_option(override, known[group])
        task = f"task={config.task.name}"
        chosen = compose_config([task, str(override.input_line)])[group]
        for key in INHERITED.get(group, ()):
            if key in chosen and key in config[group]:
                chosen[key] = config[group][key]
        config[group] = chosen
    for override in parsed:
        if override.key_or_group not in known:
            if override.is_sweep_override():
                raise ConfigError(
                    str(override.input_line), "one value is needed", "write key=value"
                )
            apply_setting(override, config)
    return plain(config)


def typed(values: dict[str, Any]) -> DictConfig:
    """Plain values under their schemas again, with links where they were links.

    Raises:
        ConfigError: values that no schema knows, or a part that is not there, such as in those of
            another version.
    """
    config = OmegaConf.structured(Experiment)
    mend = "use the version of Seqloom that wrote it"
    try:
        for key, value in values.items():
            if key in SCHEMAS:
                config[key] = _typed_group(key, value, values)
            elif key == "logger":
                loggers = {name: OmegaConf.structured(LOGGERS[name]) for name in value}
                config[key] = OmegaConf.merge(loggers, value)
            else:
                config = OmegaConf.merge(config, {key: value})
    except (OmegaConfBaseException, KeyError) as error:
        raise ConfigError("config.yaml", first_line(error), mend) from None
    assert isinstance(config, DictConfig)
    for name in map(str, config):
        if OmegaConf.is_missing(config, name):
            raise ConfigError("config.yaml", f"it has no {name}", mend)
    return config


def _typed_group(group: str, value: dict[str, Any], values: dict[str, Any]) -> DictConfig:
    schema = OmegaConf.structured(_schema(group, value.get("_target_")))
    raw = OmegaConf.to_container(schema, resolve=False)
    assert isinstance(raw, dict)
    reference = OmegaConf.create(values)
    rest = {}
    for key, setting in value.items():
        link = raw.get(key)
        if isinstance(link, str) and link.startswith(LINK):
            source = OmegaConf.select(reference, link.strip("${}"))
            if source == OmegaConf.select(reference, f"{group}.{key}"):
                continue
        rest[key] = setting
    merged = OmegaConf.merge(schema, rest)
    assert isinstance(merged, DictConfig)
    return merged


def _schema(group: str, target: str | None) -> type:
    """The schema of the option that makes `target`; options with one target share a schema."""
    targets = {}
    for option, schema in SCHEMAS[group].items():
        node = OmegaConf.load(config_dir() / group / f"{option}.yaml")
        assert isinstance(node, DictConfig)
        targets[node._target_] = schema
    if target not in targets:
        mend = did_you_mean(str(target), [str(name) for name in targets])
        raise ConfigError(f"{group}._target_={target}", "is not known", mend)
    return targets[target]


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    try:
        config = OmegaConf.load(path)
    except FileNotFoundError:
        why = "it holds no config.yaml" if folder.is_dir() else "there is no such folder"
        raise ConfigError(str(folder), why, "name the folder of a run") from None
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(str(path), " ".join(str(error).split()), "restore the file") from None
    values = OmegaConf.to_container(config, resolve=False)
    if not isinstance(values, dict) or "task" not in values:
        raise ConfigError(str(path), "is not the config of a run", "restore the file")
    return {str(key): _modern(str(key), value) for key, value in values.items()}


def _modern(group: str, value: Any) -> Any:
    """`value` as it is written today: strategies once had a name and no options."""
    if group != "strategy" or value not in ({"name": "auto"}, {"name": "ddp"}):
        return value
    options = OmegaConf.load(config_dir() / group / f"{value['name']}.yaml")
    assert isinstance(options, DictConfig)
    return {key: options[key] for key in options if key != "defaults"}
