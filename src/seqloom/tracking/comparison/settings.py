"""What sets runs apart: the settings of their configs with more than one value, each shown once.

The idea: people think in what they type. The class that a config names (`cell._target_`) is shown
as the option that they chose (`cell=gru`); what an option brings along (its own first values) says
nothing more and is left out, as are a link's copies (`model.cell`, `data.seed`) and what only
concerns the machine. The price: `conf/` of today names the options of older runs,
and a key that an older config does not have counts as the option's value of today.

A setting is left out only where the ones that stay decide it, so runs with equal shown settings
(and any seed) have equal configs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import yaml

from seqloom.config.overrides import did_you_mean
from seqloom.config.paths import config_dir, groups
from seqloom.errors import ConfigError
from seqloom.runs.files import YAML_LOADER
from seqloom.tracking.comparison.runs import ComparedRun

Value = str | int | float | bool
Row = dict[str, Value]
# Where a run is, what it costs on this machine and what it tells: not what it computes.
MACHINE_ONLY = (
    *("run_dir", "resume", "data.cache_dir", "data.num_workers", "logger"),
    *("callbacks.preemption_signal", "callbacks.checkpoint_every_s", "task.title"),
    "callbacks.checkpoint_every_n_steps",
)
SEED = "seed"
# Options of these groups set values of all the others.
WHOLE = ("task", "experiment")


class Settings:
    """The settings of runs.

    Attributes:
        keys: those that differ, but for the seed; as on a command line, groups first.
    """

    def __init__(self, runs: Sequence[ComparedRun]) -> None:
        """Only runs with a readable config say what differs."""
        leaves = {id(run): flat(run.config) for run in runs if run.config}
        self._rows = {id(run): _row(run, leaves[id(run)]) for run in runs if run.config}
        typed = {_key_of(word) for run in runs for word in run.words}
        differ = _differing(list(self._rows.values()), typed)
        self.keys = [key for key in differ if not _is_copy(key, leaves.values())]

    def known(self, run: ComparedRun) -> bool:
        """Whether its config could be read."""
        return id(run) in self._rows

    def of(self, run: ComparedRun, keys: Sequence[str]) -> Row:
        """The values of `keys` for `run`, those that it has; of a job without a config what its
        words say."""
        if self.known(run):
            row = self._rows[id(run)]
        else:
            row = {_key_of(word): word.partition("=")[2] for word in run.words}
        return {key: row[key] for key in keys if key in row}

    def check(self, keys: Sequence[str]) -> None:
        """Raises ConfigError for a key that no run has."""
        names = {name for row in self._rows.values() for name in row}
        for key in keys:
            if key not in names:
                raise ConfigError(
                    f"group_by={key}", "no run has this setting", did_you_mean(key, names)
                )


def flat(config: dict[str, Any], prefix: str = "") -> Row:
    """Leaves by dotted name; lists and null as one would type them."""
    row: Row = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            row |= flat(value, f"{prefix}{name}.")
        else:
            row[f"{prefix}{name}"] = readable(value)
    return row


def readable(value: Any) -> Value:
    """A leaf: text, truth and numbers as they are, null and lists in words (`[0.9, 0.999]`)."""
    if isinstance(value, str | bool | int | float):
        return value
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(words_of(readable(item)) for item in value)}]"
    return str(value)


def words_of(value: Value) -> str:
    """A value as it is typed on a command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(run: ComparedRun, row: Row) -> Row:
    """The leaves of its config, `row`, and its options: `cell`, `task`, `experiment`."""
    kept = {key: value for key, value in row.items() if not _is_under(key, MACHINE_ONLY)}
    chosen = dict(word.partition("=")[::2] for word in run.words)
    for group, options in _options().items():
        # What an older version did not know yet had the value that is the option's today.
        node = run.config.get(group, {"_target_": None} if "none" in options else None)
        if isinstance(node, dict) and not _is_under(group, MACHINE_ONLY):
            name = _option(group, flat(node), chosen.get(group))
            if name is not None:
                missing = {f"{group}.{key}": v for key, v in options.get(name, {}).items()}
                kept = {key: v for key, v in missing.items() if _is_new(key, v, row)} | kept
                kept[group] = name
                kept.pop(f"{group}._target_", None)
    if "experiment" in chosen:
        kept["experiment"] = chosen["experiment"]
    return kept


def _is_new(key: str, value: Value, row: Row) -> bool:
    """Whether a config with `row` lacks `key`, which is no link and not the machine's."""
    is_link = isinstance(value, str) and value.startswith("${")
    return not (key in row or is_link or _is_under(key, MACHINE_ONLY))


def _option(group: str, node: Row, chosen: str | None) -> str | None:
    """The option of `group` that `node` is: the one that was typed, else the most alike of its
    class; the class where there is none; None where a group has no class and no name."""
    options = _options()[group]

    def makes(values: Row) -> bool:
        key = "_target_" if "_target_" in node else "name"
        return values.get(key) == node.get(key)

    able = {name: values for name, values in options.items() if makes(values)}
    if chosen in able:
        return chosen
    if able:
        return max(sorted(able), key=lambda name: _likeness(able[name], node))
    name = str(node.get("_target_", node.get("name", ""))).rpartition(".")[2]
    return name or None


def _likeness(values: Row, node: Row) -> tuple[int, int]:
    """Greater for an option of which less is changed in `node`, then of which more is in it."""
    equal = [node[key] == value for key, value in values.items() if key in node]
    return (sum(equal) - len(equal), sum(equal))


def _differing(rows: Sequence[Row], typed: set[str]) -> list[str]:
    """Names of what differs and is not decided by the option of its own group, or by the task."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [repr(row.get(name)) for row in rows] for name in names}
    differ = [name for name, column in columns.items() if len({*column}) > 1 and name != SEED]
    options = [name for name in differ if name in _options() or name in WHOLE]
    kept = []
    for name in differ:
        group = name.partition(".")[0]
        owners = [group] if group in options and group != name else []
        if name == "experiment" or name not in (*WHOLE, *typed):
            owners += [whole for whole in WHOLE if whole in options and whole != name]
        if not any(_decides(columns[owner], columns[name]) for owner in owners):
            kept.append(name)
    return sorted(kept, key=lambda name: (name not in options, "." in name, name))


def _decides(owner: Sequence[str], column: Sequence[str]) -> bool:
    return len({*zip(owner, column, strict=True)}) == len({*owner})


def _is_copy(key: str, rows: Collection[Row]) -> bool:
    """Whether a link of `conf/` makes `key`, and every run still has the value of what is linked;
    one run alone may have that value by chance (`data.seed=1 seed=1,2`)."""
    links, end = _links(), len(key)
    while end > 0:
        source = links.get(key[:end])
        if source is not None:
            origin = source + key[end:]
            return all(repr(row.get(origin)) == repr(row[key]) for row in rows if key in row)
        end = key.rfind(".", 0, end)
    return False


def _is_under(key: str, places: Sequence[str]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)


def _key_of(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


@cache
def _options() -> dict[str, dict[str, Row]]:
    """The leaves of every option of every config group that a config keeps as such."""
    found: dict[str, dict[str, Row]] = {}
    for group, names in groups(config_dir()).items():
        if group not in ("experiment", "debug"):
            found[group] = {name: _leaves(group, name) for name in names}
    return found


@cache
def _links() -> dict[str, str]:
    """Where a config has copies, and of what: {"model.cell": "cell", "data.seed": "seed"}."""
    links = {}
    for group, options in _options().items():
        for row in options.values():
            for key, value in row.items():
                if isinstance(value, str) and value.startswith("${") and ":" not in value:
                    links[f"{group}.{key}"] = value.strip("${}")
    return links


def _leaves(group: str, name: str) -> Row:
    """The leaves of an option without its defaults list; of one that sets values of the whole
    config (a task) only those of its own group."""
    text = (config_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")
    node = yaml.load(text, YAML_LOADER)
    if not isinstance(node, dict):
        return {}
    if text.startswith("# @package _global_"):
        node = node.get(group, {})
    node.pop("defaults", None)
    return flat(node)
