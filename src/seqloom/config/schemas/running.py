"""Schemas of what stands around a model: task, trainer, strategy, precision, callbacks, loggers."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from seqloom.config.schemas.choices import (
    Averaged,
    Direction,
    PrecisionName,
    UploadedCheckpoint,
    WandbMode,
)
from seqloom.config.schemas.parts import Recipe


@dataclass
class Task:
    name: str = MISSING
    title: str = MISSING
    topology: str = MISSING
    monitor: str = MISSING
    mode: Direction = MISSING
    memory_steps: int | None = MISSING
    data: list[str] = MISSING


@dataclass
class Trainer:
    max_epochs: int | None = MISSING
    max_steps: int = MISSING
    max_time: str | None = MISSING
    accelerator: str = MISSING
    devices: int | str = MISSING
    num_nodes: int = MISSING
    gradient_clip_val: float | None = MISSING
    accumulate_grad_batches: int = MISSING
    check_val_every_n_epoch: int | None = MISSING
    val_check_interval: int | float | None = MISSING
    log_every_n_steps: int = MISSING
    limit_train_batches: int | float | None = MISSING
    limit_val_batches: int | float | None = MISSING
    limit_test_batches: int | float | None = MISSING
    detect_anomaly: bool = False  # configs of runs from before do not have it


@dataclass
class Precision:
    name: PrecisionName = MISSING


@dataclass
class AverageCheckpoints:
    count: int | None = MISSING
    of: Averaged = MISSING


@dataclass
class Callbacks:
    early_stopping_patience: int | None = MISSING
    stop_after_steps: int | None = None  # as preemption_signal
    checkpoint_every_s: float | None = MISSING
    checkpoint_every_n_steps: int | None = MISSING
    preemption_signal: str | None = None  # configs of runs from before do not have it
    ema_decay: float | None = MISSING
    average_checkpoints: AverageCheckpoints = field(default_factory=AverageCheckpoints)
    num_examples: int = MISSING
    # Configs of runs from before do not have these.
    stop_on_divergence: bool = True
    profile_updates: int | None = None
    overfit_examples: int | None = None
    overfit_below: float = 0.03


@dataclass
class CsvLogger(Recipe):
    pass


@dataclass
class WandbLogger(Recipe):
    project: str = MISSING
    entity: str | None = MISSING
    group: str | None = MISSING
    mode: WandbMode = MISSING
    # Configs of runs from before do not have these.
    upload_checkpoint: UploadedCheckpoint = UploadedCheckpoint.none
    upload_examples: bool = True


@dataclass
class TensorboardLogger(Recipe):
    pass


@dataclass
class MlflowLogger(Recipe):
    experiment: str = MISSING
    tracking_uri: str | None = MISSING


LOGGERS: dict[str, type] = {
    "csv": CsvLogger,
    "wandb": WandbLogger,
    "tensorboard": TensorboardLogger,
    "mlflow": MlflowLogger,
}
