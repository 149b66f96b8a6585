"""A tiny translation run, trained once for all tests of the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from seqloom.commands.train import train
from seqloom.config import plain
from seqloom.config.overrides import compose_config

TINY = (
    "task=translation",
    "data.num_train=64",
    "data.num_val=16",
    "data.num_test=16",
    "tokenizer.vocab_size=300",
    "batching.batch_size=16",
    "model.embedding_size=8",
    "model.hidden_size=16",
    "model.num_encoder_layers=1",
    "model.num_decoder_layers=1",
    "decoding.beam_size=2",
    "trainer.max_epochs=1",
    "trainer.max_steps=4",
    "trainer.accelerator=cpu",
    "logger=csv",
)

TinyConfig = Callable[..., DictConfig]


@pytest.fixture(scope="session")
def tiny_settings(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The command line of a run that takes about a second."""
    return (*TINY, f"data.cache_dir={tmp_path_factory.mktemp('cache')}")


@pytest.fixture(scope="session")
def tiny_config(tiny_settings: tuple[str, ...]) -> TinyConfig:
    """The config of that run, with further overrides."""

    def compose(*overrides: str) -> DictConfig:
        # A greedy search has no beam.
        dropped = "decoding.beam_size=2" if "decoding=greedy" in overrides else None
        settings = [setting for setting in tiny_settings if setting != dropped]
        return plain(compose_config([*settings, *overrides]))

    return compose


@pytest.fixture(scope="session")
def trained_run(tiny_config: TinyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder; read only."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_config(f"run_dir={path}"))
    return path
