"""Typed schemas: what each config group may hold, and of which type.

The YAML files hold the values and say what each one means; a schema holds the names and the types,
so that a misspelt key or a word where a number belongs is an error before any work is done. No
value stands in both: every field is required (OmegaConf's `???`) except links such as `${seed}`,
which the schema owns. The classes that these configs build check ranges; nothing is checked twice.
Free of torch.

A file holds the groups of one subject; `SCHEMAS` names the schema of every option, `LOGGERS` those
that share the group `logger`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from seqloom.config.schemas import data, learning, model, running, spreading, sweeping
from seqloom.config.schemas.running import Callbacks, Precision, Task, Trainer


@dataclass
class Experiment:
    """Everything that one run is made of; groups with several schemas are `Any` here."""

    seed: int = MISSING
    deterministic: bool = MISSING
    run_dir: str | None = MISSING
    resume: str | None = MISSING
    task: Task = field(default_factory=Task)
    data: Any = MISSING
    tokenizer: Any = MISSING
    batching: Any = MISSING
    frames: Any = None  # configs of runs from before there were clips do not have it
    model: Any = MISSING
    cell: Any = MISSING
    unrolling: Any = MISSING
    stack: Any = MISSING
    attention: Any = MISSING
    output: Any = MISSING
    learner: Any = MISSING
    decoding: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    strategy: Any = MISSING
    precision: Precision = field(default_factory=Precision)
    logger: dict[str, Any] = field(default_factory=dict)
    callbacks: Callbacks = field(default_factory=Callbacks)
    # What makes several runs of one command line is no part of a run: `runs.plain` leaves it out.
    sweep: Any = None
    launcher: Any = None


SCHEMAS: dict[str, dict[str, type]] = {
    **data.SCHEMAS,
    **model.SCHEMAS,
    **learning.SCHEMAS,
    **spreading.SCHEMAS,
    **sweeping.SCHEMAS,
}

LOGGERS = running.LOGGERS
