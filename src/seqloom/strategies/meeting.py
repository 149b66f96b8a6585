"""Processes whose weights may differ while they train, and are the same wherever weights are used.

The idea: there are three such places, when a validation begins, when a checkpoint is made and when
training ends; before each of them all processes `meet`. What meeting means is the strategy's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch.strategies import DDPStrategy


class MeetingStrategy(DDPStrategy, ABC):
    """Lightning's processes, which meet before their weights are used."""

    @abstractmethod
    def meet(self) -> None:
        """From here on all processes have the same, whole weights, as far as training has begun.
        All of them call this at the same point."""

    def on_validation_start(self) -> None:
        self.meet()

    def on_train_end(self) -> None:
        self.meet()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole model's; called by all processes."""
        self.meet()
        return super().lightning_module_state_dict()
