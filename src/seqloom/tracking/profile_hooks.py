"""What tells the stopwatch of a profile: Lightning's words, the model's parts, autograd's nodes.

The idea: nothing is listed by hand but Lightning's names. The parts of a model are the modules that
it is made of, where a module from the model's own package (a topology in a topology) counts by its
parts; in the backward pass each node of the graph knows, by its number, under which part it was
made. The price: a hook at each node, for the time of the profile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.profilers import Profiler
from torch import Tensor, nn

from seqloom.tracking.stopwatch import REST, Stopwatch

BACKWARD, VALIDATION = "backward", "validation"
ROWS = {
    "train_dataloader_next": "data",
    "batch_to_device": "transfer",
    "training_step": "learner",
    "backward": BACKWARD,
    "optimizer_step": "optimizer",
    "optimizer_zero_grad": "optimizer",
    "configure_gradient_clipping": "optimizer",
    "lr_scheduler_step": "optimizer",
}
"""The names by which Lightning calls what it does, and the rows of the table."""
_OUTSIDE = {REST, "callbacks", *ROWS.values()}  # of the model


class Actions(Profiler):
    """Told by Lightning what begins and ends; tells the stopwatch.

    Validation within training is one row; nothing that it consists of is noticed.
    """

    def __init__(self, trainer: Trainer, stopwatch: Stopwatch) -> None:
        super().__init__()
        self._trainer, self._stopwatch = trainer, stopwatch
        self._is_training = True

    def start(self, action_name: str) -> None:
        row = self._row(action_name)
        if row is None:
            return
        if row == "data":  # a graph that was never gone back through
            self._stopwatch.marks.clear()
        self._stopwatch.enter(row)
        if row == BACKWARD:
            self._stopwatch.is_on = False  # what is computed again belongs to its node

    def stop(self, action_name: str) -> None:
        row = self._row(action_name)
        if row is None:
            return
        self._stopwatch.leave()
        if row == BACKWARD:
            self._stopwatch.is_on = True

    def _row(self, action: str) -> str | None:
        is_training = self._trainer.training
        if is_training != self._is_training:
            self._stopwatch.switch(REST if is_training else VALIDATION)
            self._stopwatch.is_on = self._is_training = is_training
        if not is_training:
            return None
        return "callbacks" if action.startswith("[Callback]") else ROWS.get(_hook(action))


def _hook(action: str) -> str:
    return action.rpartition(".")[2]


def parts(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """A model and what it is made of, by name; each once. A module of the model's own package is
    made of parts too."""
    package = _package(module)
    seen: set[int] = set()

    def walk(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        yield name, module
        if _package(module) == package:
            for child_name, child in module.named_children():
                yield from walk(child, f"{name}.{child_name}")

    return walk(module, name)


def _package(module: nn.Module) -> str:
    return type(module).__module__.rpartition(".")[0]


def follow_backward(loss: Tensor, stopwatch: Stopwatch) -> None:
    """While the gradient of `loss` is computed, time belongs to `NAME, backward`: of the part of
    the model that made a node of the graph; to `backward` where none did, and at the end, when
    processes wait for each other's gradients."""
    marks, stopwatch.marks = stopwatch.marks, []
    numbers = [number for number, _ in marks]
    if not numbers or loss.grad_fn is None:
        return
    loss.grad_fn.register_prehook(partial(_switch_at_end, stopwatch))
    waiting, seen = [loss.grad_fn], {loss.grad_fn}
    while waiting:
        node = waiting.pop()
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
        if node.next_functions:  # a leaf's gradient belongs to the node before
            place = bisect_right(numbers, node._sequence_nr()) - 1
            name = marks[max(place, 0)][1]
            row = f"{name}, {BACKWARD}" if name not in _OUTSIDE else BACKWARD
            node.register_prehook(partial(_switch, stopwatch, row))


def _switch(stopwatch: Stopwatch, row: str, gradients: Any) -> None:
    stopwatch.switch(row)


def _switch_at_end(stopwatch: Stopwatch, gradients: Any) -> None:
    """Queued before those of data parallel strategies, which wait."""
    engine = torch.autograd.Variable._execution_engine
    engine.queue_callback(partial(stopwatch.switch, BACKWARD))
