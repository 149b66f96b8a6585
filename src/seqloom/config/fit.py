"""Whether the parts of a command line fit together: a part that the chosen model, data or learner
does not read would be ignored in silence.

A part is read by links: `${attention}` inside `model` says that this model has an attention. So
what is used is found in the composed config itself, and no list has to be kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from seqloom.config.overrides import parse
from seqloom.errors import ConfigError

# Groups that others read by a link; the rest belongs to every run.
LINKED = (
    "tokenizer",
    "batching",
    "frames",
    "cell",
    "unrolling",
    "stack",
    "attention",
    "output",
    "decoding",
)


def check_fit(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raises ConfigError for the first override that chooses data that the task does not read, or
    a part that nothing reads."""
    parsed = [override for override in map(parse, overrides) if not override.is_hydra_override()]
    for override in parsed:
        if override.key_or_group == "data":
            _check_data(override, config)
    links = set(_links(OmegaConf.to_container(config, resolve=False)))
    for override in parsed:
        group = override.key_or_group.partition(".")[0]
        absent = override.key_or_group == group and override.value() in (None, "none")
        if group in LINKED and group not in links and not absent:
            raise ConfigError(
                str(override.input_line),
                f"task={config.task.name} with these parts has no {group}",
                "leave it out",
            )


def _check_data(override: Override, config: DictConfig) -> None:
    known = list(config.task.data)
    if not override.is_sweep_override() and override.value() not in known:
        raise ConfigError(
            str(override.input_line),
            f"task={config.task.name} cannot read it",
            f"choose one of {', '.join(known)}",
        )


def _links(value: object) -> Iterator[str]:
    """The names in `${name}` anywhere in `value`."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _links(item)
    elif isinstance(value, list):
        for item in value:
            yield from _links(item)
    elif isinstance(value, str) and value.startswith("${"):
        yield value.strip("${}")
