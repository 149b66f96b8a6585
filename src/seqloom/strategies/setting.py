"""What a run tells the strategy that spreads it, and what `strategy=` gives.

The idea: a strategy's own options are in its YAML, and what only the rest of the run knows comes as
one `Setting`. Each refuses the settings under which it would not compute what one process computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from lightning.pytorch.strategies import Strategy

from seqloom.errors import ConfigError


@dataclass(frozen=True)
class Setting:
    """What a strategy may ask of its run.

    Attributes:
        device: the kind of device of every process, without an index.
        num_devices: processes on each machine, at least 1.
        num_nodes: machines.
        num_accumulated: batches in an update.
        carries_state: the batches of a stream hand their states on.
        has_idle_parameters: in some updates some parameters have no gradient, since they begin to
            learn later.
        averages_weights: a moving average of the weights is kept beside them.
        follows_clock: the run ends by the clock.
    """

    device: torch.device
    num_devices: int = 1
    num_nodes: int = 1
    num_accumulated: int = 1
    carries_state: bool = False
    has_idle_parameters: bool = False
    averages_weights: bool = False
    follows_clock: bool = False

    @property
    def num_processes(self) -> int:
        """On all machines."""
        return self.num_devices * self.num_nodes


class StrategyOptions(Protocol):
    """What `strategy=` gives."""

    def for_run(self, setting: Setting) -> Strategy | str:
        """A strategy for Lightning's Trainer, or its name.

        Raises ConfigError where it does not work here or not with this run.
        """
        ...


def check_timeout(timeout_s: float) -> None:
    """Raises ConfigError unless `timeout_s` is positive."""
    if timeout_s <= 0:
        raise ConfigError(
            f"strategy.timeout_s={timeout_s}", "it is not positive", "write a number above 0"
        )


def need_processes(strategy: str, setting: Setting) -> None:
    """Raises ConfigError unless there are at least two processes."""
    if setting.num_processes < 2:
        raise ConfigError(
            "trainer.devices=1",
            f"strategy={strategy} spreads a model over processes",
            "write trainer.devices=2 or more, or strategy=auto",
        )


def need_one_process(strategy: str, setting: Setting) -> None:
    """Raises ConfigError unless there is a single process."""
    if setting.num_processes > 1:
        raise ConfigError(
            f"trainer.devices={setting.num_devices}",
            f"strategy={strategy} is one process for all devices",
            "write trainer.devices=1, or strategy=ddp",
        )


def refuse_carried_state(strategy: str, setting: Setting) -> None:
    """Raises ConfigError where batches hand their states on."""
    if setting.carries_state:
        raise ConfigError(
            "batching=stream",
            f"strategy={strategy} cuts a batch, and states are handed on with whole ones",
            "write batching=windows, or strategy=ddp",
        )


def refuse_weight_average(strategy: str, setting: Setting) -> None:
    """Raises ConfigError where an average of the weights is kept."""
    if setting.averages_weights:
        raise ConfigError(
            "callbacks.ema_decay",
            f"under strategy={strategy} no process has the whole weights after each update",
            "write callbacks.ema_decay=null, or strategy=ddp with plain communication",
        )
