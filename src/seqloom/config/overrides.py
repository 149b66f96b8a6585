"""From `key=value` words to a typed config, with one line for every mistake.

Hydra composes the chosen groups; the settings are then laid onto the result one by one, as Hydra
would do it, so that each can be checked: can it be read, does the key exist, does the value fit.
Hydra itself only says that an override failed, not which word was meant. Refuses `+key=value`:
every key is in a schema.
"""

from __future__ import annotations

import difflib
import itertools
import random
import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    Override,
    RangeSweep,
    Transformer,
    TransformerType,
    ValueType,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqloom.config.paths import config_dir, groups
from seqloom.config.schemas import LOGGERS, SCHEMAS
from seqloom.config.store import register
from seqloom.errors import ConfigError

CONFIG_NAME = "train"
HYDRA_VERSION_BASE = "1.3"
OPTIONAL = ("experiment", "debug")  # groups that may be null
# What holds whatever a user's own cell takes, and metrics by name.
OPEN = ("cell.options", "sweep.objectives")
MAX_VALUES = 10_000  # of one setting, and jobs of a sweep


def compose_config(overrides: Sequence[str], *, sweep: bool = False) -> DictConfig:
    """The typed config of a command line.

    Args:
        sweep: several values for a key are allowed; each is checked and the first is taken.

    Raises:
        ConfigError: for the first override that is wrong, or a file of `conf/` that is.
    """
    known = groups(config_dir())
    parsed = [override for override in map(parse, overrides) if not override.is_hydra_override()]
    for override in parsed:
        if override.is_sweep_override() and not sweep:
            why = "several values make a sweep, which -m starts"
            raise ConfigError(str(override.input_line), why, "write -m, or [a,b] for a list")
    chosen = [override for override in parsed if override.key_or_group in known]
    for override in chosen:
        check_option(override, known[override.key_or_group])
    settings = [override for override in parsed if override.key_or_group not in known]
    _check_task(chosen, settings, known["task"])
    config = _compose_groups(chosen)
    for override in settings:
        apply_setting(override, config)
    return config


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1)), None)


def did_you_mean(word: str, words: Iterable[str], prefix: str = "", suffix: str = "") -> str:
    """The mend of a wrong word: the nearest right one, or all of them."""
    known = sorted(words)
    near = nearest(word, known)
    if near is not None:
        return f"did you mean {prefix}{near}{suffix}?"
    return f"choose one of {', '.join(known)}" if known else "there is none to choose"


def parse(text: str) -> Override:
    """Reads one override. Raises ConfigError when it is none."""
    if "=" not in text and not text.startswith("~"):
        raise ConfigError(text, "is not a setting", "write key=value, or see --help")
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        why = f"cannot be read ({first_line(error)})"
        raise ConfigError(text, why, """quote special characters: 'key="value"'""") from None
    if override.is_add() and not override.is_hydra_override():
        why = "every key is there already, and no other is known"
        raise ConfigError(text, why, f"write {text.lstrip('+')}")
    return override


def check_option(override: Override, options: Sequence[str]) -> None:
    """Raises ConfigError when a group has no option of that name."""
    group = override.key_or_group
    for option in _values(override):
        if option not in options and not (option is None and group in OPTIONAL):
            mend = did_you_mean(str(option), options, prefix=f"{group}=")
            raise ConfigError(f"{group}={option}", f"there is no such {group}", mend)


def apply_setting(override: Override, config: DictConfig) -> None:
    """Sets the value in `config`; of a sweep's values the first, when all of them fit.

    Raises:
        ConfigError: there is no such key, or the value does not fit it.
    """
    key = override.key_or_group
    if override.is_delete():
        raise ConfigError(str(override.input_line), "a key cannot be removed", "set it to null")
    is_open = any(
        f"{key}.".startswith(f"{name}.") and OmegaConf.select(config, name) is not None
        for name in OPEN
    )
    if not is_open:
        _check_key(str(override.input_line), key, config)
    for value in reversed(_values(override)):
        try:
            OmegaConf.update(config, key, value, merge=True, force_add=is_open)
        except (OmegaConfBaseException, AssertionError) as error:
            hint = f"see {key.partition('.')[0]} in conf/"
            raise ConfigError(f"{key}={value}", first_line(error), hint) from None


def _check_key(text: str, key: str, config: DictConfig) -> None:
    node: object = config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        # A value that is still missing is a key all the same.
        if not isinstance(node, DictConfig) or not (
            part in node or OmegaConf.is_missing(node, part)
        ):
            break
        node = None if depth == len(parts) - 1 else node[part]
    else:
        return
    name = ".".join(parts[: depth + 1])
    value = text.partition("=")[2]
    elsewhere = _same_leaf(parts[-1], config)
    if elsewhere is not None:
        mend = f"did you mean {elsewhere}={value}?"
    elif (option := _option_with(parts)) is not None:
        mend = f"{option} has it"
    elif isinstance(node, DictConfig):
        before = "".join(f"{part}." for part in parts[:depth])
        after = "".join(f".{part}" for part in parts[depth + 1 :]) + f"={value}"
        mend = did_you_mean(part, _words(node, depth), before, after)
    else:
        mend = f"{'.'.join(parts[:depth])} is a value, not a group of settings"
    raise ConfigError(text, f"there is no key {name}", mend)


def _words(node: DictConfig, depth: int) -> list[str]:
    words = [str(key) for key in node if not str(key).startswith("_")]
    return sorted({*words, *groups(config_dir())}) if depth == 0 else words


def _same_leaf(name: str, config: DictConfig) -> str | None:
    """`optimizer.lr` for `lr`: the one group that has a key of that name."""
    found = [
        f"{group!s}.{name}"
        for group in config
        if isinstance(config._get_node(group), DictConfig) and name in config[group]
    ]
    return found[0] if len(found) == 1 else None


def _option_with(parts: Sequence[str]) -> str | None:
    """`decoding=beam` for `decoding.beam_size`: an option of the group that has the key."""
    schemas = LOGGERS if parts[0] == "logger" else SCHEMAS.get(parts[0], {})
    if len(parts) < 2:
        return None
    for option, schema in schemas.items():
        if option == parts[1] and parts[0] == "logger":
            return f"logger={option}"
        if parts[1] in getattr(schema, "__dataclass_fields__", {}):
            return f"{parts[0]}={option}"
    return None


def _check_task(
    chosen: Sequence[Override], settings: Sequence[Override], tasks: Sequence[str]
) -> None:
    if any(override.key_or_group in ("task", "experiment") for override in chosen):
        return
    for override in settings:
        if nearest(override.key_or_group, ["task"]):
            mend = f"did you mean task={override.get_value_string()}?"
            raise ConfigError(str(override.input_line), "there is no such key", mend)
    raise _no_task(tasks)


def _no_task(tasks: Sequence[str]) -> ConfigError:
    return ConfigError("task", "none is chosen", f"write task=NAME, one of {', '.join(tasks)}")


def _compose_groups(chosen: Sequence[Override]) -> DictConfig:
    """The config of the chosen groups; a sweep's first choice stands for all."""
    register()
    GlobalHydra.instance().clear()
    texts = [
        f"{o.get_key_element()}={_values(o)[0]}" if o.is_sweep_override() else str(o.input_line)
        for o in chosen
    ]
    try:
        with initialize_config_dir(str(config_dir()), version_base=HYDRA_VERSION_BASE):
            return compose(CONFIG_NAME, overrides=texts)
    except (HydraException, OmegaConfBaseException) as error:
        if "You must specify 'task'" in str(error):  # by an experiment that leaves it open
            raise _no_task(groups(config_dir())["task"]) from None
        raise ConfigError("conf/", first_line(error), "mend the file") from error


def _values(override: Override) -> list[object]:
    if override.is_sweep_override():
        return swept(override) if override.is_discrete_sweep() else []
    value = override.value()
    if override.key_or_group == "logger" and isinstance(value, list):
        return list(value)
    return [value]


def quoted(text: str) -> str:
    """Any text as one value of Hydra's grammar, such as a path with spaces or quotes."""
    if text and all(letter.isalnum() or letter in "/._-:" for letter in text):
        return text
    # A backslash is an escape only before a quote.
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"


def swept(override: Override, transformer: TransformerType = Transformer.identity) -> list[Any]:
    """The values of a discrete sweep in their order, as `transformer` gives them."""
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        pattern = cast(Glob, override.value())
        options = groups(config_dir()).get(override.key_or_group)
        if options is None:
            raise ConfigError(str(override.input_line), "only a group has options", "list values")
        found = pattern.filter(options)
        if not found:
            raise ConfigError(str(override.input_line), "no option has such a name", "see --help")
        return list(found)
    sweep = cast(ChoiceSweep | RangeSweep, override.value())
    is_shuffled, sweep.shuffle = sweep.shuffle, False
    values: Iterable[Any] = override.sweep_iterator(transformer)
    found = list(itertools.islice(values, MAX_VALUES + 1))
    sweep.shuffle = is_shuffled
    if is_shuffled:  # Each time alike: jobs are known by their numbers.
        random.Random(str(override.input_line)).shuffle(found)
    if not 0 < len(found) <= MAX_VALUES:
        word = f"has more than {MAX_VALUES} values" if found else "the range is empty"
        raise ConfigError(str(override.input_line), word, "write key=A,B or key=range(START,STOP)")
    return found


def first_line(error: BaseException) -> str:
    """The reason behind an error of Hydra or OmegaConf, without what only helps a programmer."""
    reasons: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).split("full_key:")[0].split("\nSee https")[0]
        reasons.append(" ".join(text.split()))
        cause = cause.__cause__
    return ": ".join(dict.fromkeys(reason for reason in reasons if reason not in ("", "None")))
