"""`build`: the one way from a config node to an object, and the only caller of Hydra's
`instantiate`.

A config may come from anywhere (a run folder, a colleague), and `instantiate` imports and calls
whatever `_target_` names. So the whole node is walked first: a target is a class that was defined
in one of the packages of `ALLOWED` (`seqloom.runs.lock.os.system` is a path through Seqloom, not a
part of it), and of Hydra's special keys only `_target_` and `_partial_` are known. The price: a
part from another package needs a class of Seqloom around it. A user's own cell is code in a file;
it is loaded only when `trust_file` has been told of it, which happens where a command line names
it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from seqloom.errors import ConfigError, SeqloomError

ALLOWED = ("seqloom.", "torch.nn.", "torch.optim.", "lightning.")
SPECIAL = ("_target_", "_partial_")
USER_CODE = "seqloom.cells.user.UserCell"

_trusted: set[str] = set()


def trust_file(file: str) -> None:
    """From now on a config of this process may load the cell in `file`."""
    _trusted.add(str(Path(file).resolve()))


def trust_file_of(config: DictConfig) -> None:
    """Trusts the cell's file of a config that the user's own command line composed."""
    file = OmegaConf.select(config, "cell.file")
    if file is not None:
        trust_file(file)


def trust_named_files(overrides: Sequence[str]) -> None:
    """Trusts the file that a command line over an existing run names by `cell.file=FILE`."""
    for text in overrides:
        key, _, file = text.partition("=")
        if key == "cell.file":
            trust_file(file.strip("'\""))


def build(node: DictConfig, **parts: Any) -> Any:
    """Makes what `node` describes, parts inside it first.

    Args:
        node: a config with a `_target_`; with `_partial_: true` it is a recipe, and a callable is
            the answer. `_target_: null`, at the top or inside, stands for None.
        parts: further keyword arguments, handed over as they are.

    Raises:
        ConfigError: a target is not allowed or cannot be imported, or the class refuses an
            argument.
        SeqloomError: as the class raised it.
    """
    values = _without_absent(OmegaConf.to_container(node, resolve=True, enum_to_str=True))
    if values is None:
        return None
    for path, mapping in _mappings(values, str(node._get_full_key(None) or "config")):
        _check(path, mapping)
    # A copy of `parts` inside a config would be a deep copy, so they are added outside.
    is_recipe = values.get("_partial_", False)
    try:
        recipe = instantiate({**values, "_partial_": True, "_convert_": "all"})
    except InstantiationException as error:
        raise _reason(error, str(values["_target_"])) from error
    if is_recipe:
        return functools.partial(recipe, **parts) if parts else recipe
    return recipe(**parts)


def _without_absent(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_absent(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("_target_", "") is None:
        return None
    return {key: _without_absent(item) for key, item in value.items()}


def _mappings(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping in `value`, with its dotted path."""
    if isinstance(value, dict):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list):
            yield from _mappings(item, f"{path}.{key}")


def _check(path: str, mapping: dict[str, Any]) -> None:
    for key in mapping:
        if str(key).startswith("_") and str(key).endswith("_") and key not in SPECIAL:
            raise ConfigError(f"{path}.{key}", "this key is not allowed", "remove it")
    if "_target_" in mapping and not _is_allowed(str(mapping["_target_"])):
        raise ConfigError(
            f"{path}._target_={mapping['_target_']}",
            "a config may not call this",
            f"name a class of {', '.join(prefix.rstrip('.') for prefix in ALLOWED)}",
        )
    if mapping.get("_target_") == USER_CODE:
        file = str(mapping.get("file"))
        if str(Path(file).resolve()) not in _trusted:
            raise ConfigError(
                f"{path}.file={file}",
                "a run's own config may not load code",
                f"say that you trust the file: add cell.file={file}",
            )


def _is_allowed(target: str) -> bool:
    """Whether `target` names a class at home in an allowed package; imports only from those."""
    if not target.startswith(ALLOWED):
        return False
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(target, f"cannot be imported ({error})", "name a class") from None
    return isinstance(found, type) and found.__module__.startswith(ALLOWED)


def _reason(error: InstantiationException, target: str) -> SeqloomError:
    """What lies behind Hydra's wrapping of an error."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, SeqloomError):
        return cause
    return ConfigError(target, " ".join(str(cause).split()), "see its keys in conf/")
