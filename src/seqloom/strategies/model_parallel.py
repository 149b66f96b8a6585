"""Weights spread over processes: FSDP2 over shares of the data, rows of the vocabulary within one.

The idea: processes form a grid, data_parallel_size x tensor_parallel_size (`grid`). Those that
share a vocabulary read the same batches and draw the same chance; each keeps some words of the
embedding and of the output layer (`vocabulary`), and everything else whole. Between those that read
different batches FSDP2 keeps a slice of every parameter, gradient and state of the optimiser on
each; `strategy=fsdp` does that alone.

Checkpoints are whole and plain, and know nothing of the grid. Price: every process gathers all of
it for each checkpoint. Refuses a moving average of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning.pytorch.strategies import Strategy

from seqloom.errors import ConfigError
from seqloom.strategies.grid import GridStrategy
from seqloom.strategies.setting import (
    Setting,
    check_timeout,
    need_processes,
    refuse_weight_average,
)


@dataclass(frozen=True)
class FullySharded:
    """Every parameter in slices over all processes, each with its own batches.

    Args:
        timeout_s: seconds that a process waits for the others before it gives up.
    """

    timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        check_timeout(self.timeout_s)

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        need_processes("fsdp", setting)
        refuse_weight_average("fsdp", setting)
        return GridStrategy(setting.num_processes, 1, timeout_s=self.timeout_s)


@dataclass(frozen=True)
class ModelParallel:
    """Rows of the vocabulary over some processes, slices of the rest over the others.

    Args:
        tensor_parallel_size: processes that share the vocabulary, at least 2; "auto": all.
        timeout_s: seconds that a process waits for the others before it gives up.
    """

    tensor_parallel_size: int | str = "auto"
    timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        size = self.tensor_parallel_size
        if size != "auto" and (isinstance(size, str) or size < 2):
            raise ConfigError(
                f"strategy.tensor_parallel_size={size}",
                "it is no number of processes that share a vocabulary",
                "write 2 or more, auto for all, or strategy=fsdp",
            )
        check_timeout(self.timeout_s)

    def for_run(self, setting: Setting) -> Strategy | str:
        """See `StrategyOptions`."""
        need_processes("model_parallel", setting)
        refuse_weight_average("model_parallel", setting)
        size = self.tensor_parallel_size
        num_sharing = setting.num_processes if isinstance(size, str) else size
        if setting.num_processes % num_sharing:
            raise ConfigError(
                f"strategy.tensor_parallel_size={num_sharing}",
                f"does not divide {setting.num_processes} processes",
                "change one of the two",
            )
        num_shares = setting.num_processes // num_sharing
        return GridStrategy(num_shares, num_sharing, timeout_s=self.timeout_s)
