"""`Space`: what a search may try: the command line first, then files of `conf/sweep/spaces/`.

The one idea: a file says for each key what is worth trying, in the words of the command line, and
the command line wins: values there replace the file's, a fixed setting takes its key out. A file
with `when` is for trials with that option; where a group itself is searched (`cell=lstm,gru`), a
key that only some of its options have is asked for only with them. A key of a file that the chosen
config does not have is left out, with a word. Both ends of every key are laid onto the config once,
so that what cannot be is refused before any trial. The price: each searched option of a group is
composed once.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from seqloom.config.schemas import searching
from seqloom.errors import ConfigError
from seqloom.sweeps.parameter import Parameter, read_parameter

FOLDER = "sweep/spaces"
GENERAL = "general"
# Keys that a search must not choose, and why.
NOT_SEARCHED = {
    "seed": "a search would find the luckiest number",
    "task": "trials of several tasks have nothing in common",
}


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        parameters: in the order in which a trial's values are chosen: those that others depend on
            come first.
        fixed: settings that every trial has.
        words: what was left out, and why.
        default: for each name the value of the config itself, where the space holds it.
    """

    parameters: tuple[Parameter, ...]
    fixed: tuple[str, ...]
    words: tuple[str, ...]
    default: Mapping[str, str | float]

    @property
    def has_conditions(self) -> bool:
        """Whether some keys are there in some trials only."""
        return any(parameter.when for parameter in self.parameters)

    @property
    def values(self) -> dict[str, str]:
        """For each name the values as they were written."""
        return {parameter.name: parameter.text for parameter in self.parameters}

    def table(self) -> list[str]:
        """A line for each key: its values, the config's own one, and who says so."""
        rows = [("key", "values", "of the config", "from")]
        rows += [
            (p.name, p.text, str(self.default.get(p.name, "")), p.source) for p in self.parameters
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]


def read_space(settings: Sequence[str], names: Sequence[str] | None) -> Space:
    """The space of a command line.

    Args:
        settings: of the jobs, as they were typed.
        names: files of `conf/sweep/spaces/`; None: `general`, the task's and those of its cells.

    Raises:
        ConfigError: for the first thing that is wrong with it, or when nothing is searched.
    """
    typed, fixed = _split(settings)
    configs = _Configs(settings, fixed)
    configs.search(typed)
    found = [configs.checked(parameter) for parameter in typed]
    words: list[str] = []
    taken = {parse(text).get_key_element() for text in settings}
    for name in _file_names(names, configs):
        read = _read_file(name)
        refused = [f"{g}={o}" for g, o in read.when.items() if not configs.can_be(g, o)]
        if refused:
            words += [f"{name}.yaml is left out: it is for {', '.join(refused)}"] if names else []
            continue
        parameters = [p for p in _parameters(name, read, configs) if p.key not in taken]
        configs.search(parameters)
        for parameter in parameters:
            if configs.has(parameter):
                found.append(configs.checked(parameter))
            else:
                words.append(f"{name}.yaml: {parameter.key} is left out: it is not in this config")
        taken |= {p.key for p in found if not p.when}
    if not found:
        raise ConfigError(
            "sweep=optuna", "nothing is searched", "write optimizer.lr=interval(0.0001,0.01)"
        )
    found.sort(key=lambda parameter: parameter.key not in configs.known)  # What others depend on.
    default = {p.name: v for p in found if (v := configs.default_of(p)) is not None}
    return Space(tuple(found), tuple(fixed), tuple(words), default)


class _Configs:
    """The configs that trials can have, each composed once."""

    def __init__(self, settings: Sequence[str], fixed: Sequence[str]) -> None:
        self.known = groups(config_dir())
        self.first = compose_config(settings, sweep=True)
        self._fixed = fixed
        self._searched: dict[str, tuple[str, ...]] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        if len(fixed) == len(settings):
            self._composed[tuple(fixed)] = self.first
        self._scratch: dict[int, DictConfig] = {}  # Copies, by config, whose values are lost.

    def search(self, parameters: Sequence[Parameter]) -> None:
        """Notes the groups among them. Raises ConfigError for an option that is not there."""
        for parameter in parameters:
            if parameter.key in self.known and not parameter.when:
                self._searched[parameter.key] = parameter.texts
                for text in parameter.ends():
                    check_option(parse(text), self.known[parameter.key])

    def is_searched(self, group: str) -> bool:
        return group in self._searched

    def can_be(self, group: str, option: str) -> bool:
        """Whether some trial has this option."""
        if group in self._searched:
            return option in self._searched[group]
        file = config_dir() / group / f"{option}.yaml"
        target = OmegaConf.select(OmegaConf.load(file), "_target_") if file.exists() else None
        return target is not None and target == OmegaConf.select(self.first, f"{group}._target_")

    def has(self, parameter: Parameter) -> bool:
        """Whether some trial has the key."""
        return parameter.key in self.known or bool(self._with_key(parameter))

    def checked(self, parameter: Parameter) -> Parameter:
        """The same, with the options of searched groups that it needs.

        Raises ConfigError: a value does not fit, or there is no such key.
        """
        if parameter.key in self.known:
            return parameter
        configs = self._with_key(parameter)
        for config in configs.values() or [self.first]:
            if id(config) not in self._scratch:
                self._scratch[id(config)] = copy.deepcopy(config)
            _check_ends(parameter, self._scratch[id(config)])
        group = parameter.key.partition(".")[0]
        if len(configs) < len(self._searched.get(group, ())):
            return dataclasses.replace(parameter, when={**parameter.when, group: tuple(configs)})
        return parameter

    def default_of(self, parameter: Parameter) -> str | float | None:
        """The value of the config itself; None where it has none or the space not."""
        config = self._compose(*self._fixed)
        for group, options in parameter.when.items():
            if not any(self._is_default(group, option) for option in options):
                return None
        if parameter.key in self.known:
            return next((o for o in parameter.texts if self._is_default(parameter.key, o)), None)
        return parameter.value_of(OmegaConf.select(config, parameter.key))

    def _is_default(self, group: str, option: str) -> bool:
        default = self._compose(*self._fixed)
        return bool(self._compose(*self._fixed, f"{group}={option}")[group] == default[group])

    def _with_key(self, parameter: Parameter) -> dict[str, DictConfig]:
        """Configs that have the key, by the option that makes them so; "" where none does."""
        group = parameter.key.partition(".")[0]
        if group in self._searched:
            options = parameter.when.get(group, self._searched[group])
            settings = [f"{group}={option}" for option in options]
        else:
            options = ("",)
            settings = [f"{g}={names[0]}" for g, names in parameter.when.items()][:1] or [""]
        found = {o: self._variant(text) for o, text in zip(options, settings, strict=True)}
        return {o: config for o, config in found.items() if _has_key(config, parameter.key)}

    def _variant(self, setting: str) -> DictConfig:
        """The config with another option of a group, but without the keys of the command line
        that are searched: they may not be in it."""
        return self._compose(*self._fixed, setting) if setting else self.first

    def _compose(self, *settings: str) -> DictConfig:
        if settings not in self._composed:
            self._composed[settings] = compose_config(settings)
        return self._composed[settings]


def _split(settings: Sequence[str]) -> tuple[list[Parameter], list[str]]:
    """What is searched on the command line, and what is fixed there."""
    typed, fixed = [], []
    for text in settings:
        parameter = read_parameter(text)
        if parameter is None:
            fixed.append(text)
        elif parameter.key in NOT_SEARCHED:
            raise ConfigError(text, NOT_SEARCHED[parameter.key], f"write one {parameter.key}")
        else:
            typed.append(parameter)
    return typed, fixed


def _file_names(names: Sequence[str] | None, configs: _Configs) -> list[str]:
    """The most special first, which win."""
    files = sorted(file.stem for file in (config_dir() / FOLDER).glob("*.yaml"))
    if names is None:
        task = str(configs.first.task.name)
        chosen = [GENERAL, task, *configs.known["cell"]]
        return [name for name in reversed(chosen) if name in files]
    for name in names:
        if name not in files:
            mend = did_you_mean(name, files, prefix="sweep.spaces=[", suffix="]")
            raise ConfigError(f"sweep.spaces=[{name}]", f"there is no {FOLDER}/{name}.yaml", mend)
    return list(reversed(names))


def _read_file(name: str) -> searching.Space:
    path = config_dir() / FOLDER / f"{name}.yaml"
    try:
        typed = OmegaConf.merge(OmegaConf.structured(searching.Space), OmegaConf.load(path))
        plain = OmegaConf.to_object(typed)
    except (OmegaConfBaseException, OSError, yaml.YAMLError) as error:
        raise ConfigError(str(path), first_line(error), "see general.yaml beside it") from None
    assert isinstance(plain, searching.Space)
    return plain


def _parameters(name: str, read: searching.Space, configs: _Configs) -> list[Parameter]:
    when = {group: (o,) for group, o in read.when.items() if configs.is_searched(group)}
    found = []
    for key, values in read.settings.items():
        parameter = read_parameter(f"{key}={values}", f"{name}.yaml")
        if parameter is None:
            raise ConfigError(f"{name}.yaml: {key}={values}", "is one value", "list several: a,b")
        found.append(dataclasses.replace(parameter, when=when))
    return found


def _has_key(config: DictConfig, key: str) -> bool:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and (leaf in node or OmegaConf.is_missing(node, leaf))


def _check_ends(parameter: Parameter, config: DictConfig) -> None:
    """Raises ConfigError where the key is not there or a value does not fit; changes `config`."""
    for text in parameter.ends():
        try:
            apply_setting(parse(text), config)
        except ConfigError as error:
            if parameter.is_ordered and not parameter.is_int and _has_key(config, parameter.key):
                value = f"{parameter.key}={parameter.text}"
                raise ConfigError(value, error.why, f"write int({parameter.text})") from None
            raise
