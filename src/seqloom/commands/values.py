"""`plain_values`: a config as values that YAML, JSON and checkpoints can hold. Free of torch."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf


def plain_values(cfg: DictConfig) -> dict[str, Any]:
    """The config with every link resolved and every enumeration as its word."""
    values = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
