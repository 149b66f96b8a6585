"""Registers the schemas with Hydra, so that every YAML file is checked against its own.

`conf/GROUP/OPTION.yaml` begins with `schema_OPTION` in its defaults list; groups with a single
schema are fields of `schemas.Experiment`, the schema of the root.
"""

from __future__ import annotations

from hydra.core.config_store import ConfigStore

from seqloom.config.schemas import LOGGERS, SCHEMAS, Experiment

PREFIX = "schema"


def register() -> None:
    """Makes the schemas known to Hydra; calling it again changes nothing."""
    store = ConfigStore.instance()
    store.store(name=PREFIX, node=Experiment)
    for group, options in SCHEMAS.items():
        for option, schema in options.items():
            store.store(group=group, name=f"{PREFIX}_{option}", node=schema)
    for option, schema in LOGGERS.items():
        name = f"{PREFIX}_{option}"
        store.store(group="logger", name=name, node=schema, package=f"logger.{option}")
