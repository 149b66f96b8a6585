"""From the resolved config to the parts of a run: DataModule, learner, Trainer.

The one idea: the config names parts and options, `DataSpec` names sizes, and this file is the only
place where they meet. Whatever a config can name is made by `config.build`, which refuses targets
that are not Seqloom's or torch's. Nothing here reads or writes a file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from seqloom.commands.launchers import signal_number
from seqloom.commands.values import plain_values
from seqloom.config import build
from seqloom.data.module import SequenceData
from seqloom.data.spec import DataSpec
from seqloom.errors import ConfigError
from seqloom.learners import Learner
from seqloom.runs import RunFolder
from seqloom.strategies import Setting, StrategyOptions, precision
from seqloom.tracking import CsvLogger
from seqloom.tracking.checkpoints import AverageOptions, Checkpoint
from seqloom.tracking.divergence import Divergence, FiniteOutputs
from seqloom.tracking.early_stopping import EarlyStopping
from seqloom.tracking.ema import WeightAverage
from seqloom.tracking.loggers import LoggerRecipe
from seqloom.tracking.overfit import Overfit
from seqloom.tracking.predictions import PredictionWriter
from seqloom.tracking.profile import Profile
from seqloom.tracking.progress import Progress
from seqloom.tracking.randomness import Randomness
from seqloom.tracking.step_limit import StepLimit
from seqloom.tracking.throughput import Throughput

logger = logging.getLogger(__name__)


def build_datamodule(cfg: DictConfig, vocabulary_dir: Path | None = None) -> SequenceData:
    """The data of `cfg.data`; nothing is read yet.

    Args:
        vocabulary_dir: a run's tokenizers and class names, to be used as they are; None takes them
            from the training data.
    """
    datamodule = build(cfg.data, vocabulary_dir=vocabulary_dir)
    assert isinstance(datamodule, SequenceData)
    return datamodule


def build_learner(cfg: DictConfig, spec: DataSpec) -> Learner:
    """The learner of `cfg`, with fresh weights of the sizes that `spec` asks for."""
    learner = build(
        cfg.learner,
        spec=spec,
        model=build(cfg.model),
        optimizer=build(cfg.optimizer),
        scheduler=build(cfg.scheduler),
        config=plain_values(cfg),
    )
    assert isinstance(learner, Learner)
    return learner


def choose_precision(cfg: DictConfig) -> precision.Precision:
    """What `cfg.precision` comes to on the device that `cfg.trainer` names."""
    cell = str(cfg.cell._target_).rpartition(".")[2]
    return precision.choose(cfg.precision.name, device=main_device(cfg), cell=cell)


def main_device(cfg: DictConfig) -> torch.device:
    """The device that the first process computes on. Raises ConfigError where it is not there."""
    accelerator = cfg.trainer.accelerator
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("gpu", "mps", "auto") and torch.backends.mps.is_available():
        return torch.device("mps")
    if accelerator not in ("auto", "cpu"):
        raise ConfigError(
            f"trainer.accelerator={accelerator}",
            "torch finds none here",
            "write trainer.accelerator=cpu, or auto for what is there",
        )
    return torch.device("cpu")


def build_loggers(cfg: DictConfig) -> list[LoggerRecipe]:
    """Recipes of the loggers that `cfg.logger` names, after metrics.csv, which every run writes."""
    return [CsvLogger, *(build(cfg.logger[name]) for name in cfg.logger if name != "csv")]


def build_callbacks(cfg: DictConfig, folder: RunFolder) -> list[Callback]:
    """What happens beside training, in the order in which it must."""
    options, task = cfg.callbacks, cfg.task
    average = None
    if options.average_checkpoints is not None and options.average_checkpoints.count:
        average = AverageOptions(
            count=options.average_checkpoints.count, of=options.average_checkpoints.of
        )
    callbacks: list[Callback] = [
        Randomness(seed=cfg.seed),
        Throughput(),
        Progress(num_examples=options.num_examples),
        PredictionWriter(path=folder.predictions),
        *_watchers(cfg, folder),
    ]
    if options.ema_decay is not None:
        callbacks.append(WeightAverage(decay=options.ema_decay))
    if options.early_stopping_patience is not None:
        callbacks.append(
            EarlyStopping(
                monitor=task.monitor, mode=task.mode, patience=options.early_stopping_patience
            )
        )
    if options.stop_after_steps is not None:
        callbacks.append(StepLimit(options.stop_after_steps))
    checkpoint = Checkpoint(
        directory=folder.checkpoints,
        monitor=task.monitor,
        mode=task.mode,
        every_n_steps=options.checkpoint_every_n_steps,
        every_s=options.checkpoint_every_s,
        average=average,
        preemption_signal=None
        if options.preemption_signal is None
        else signal_number(options.preemption_signal),
    )
    return [*callbacks, checkpoint]


def _watchers(cfg: DictConfig, folder: RunFolder) -> list[Callback]:
    """What ends a training for another reason than its limits, and how it was found."""
    options, callbacks = cfg.callbacks, list[Callback]()
    if cfg.trainer.detect_anomaly:
        callbacks.append(FiniteOutputs())
    if options.stop_on_divergence:
        callbacks.append(Divergence(monitor=cfg.task.monitor, best=folder.best))
    if options.overfit_examples is not None:
        callbacks.append(Overfit(below=options.overfit_below))
    if options.profile_updates is not None:
        callbacks.append(Profile(num_updates=options.profile_updates, trace=folder.trace))
    return callbacks


def build_trainer(
    cfg: DictConfig, folder: RunFolder, *, loggers: list[Logger], callbacks: list[Callback]
) -> Trainer:
    """Lightning's Trainer with the limits and devices of `cfg.trainer`."""
    limits = OmegaConf.to_container(cfg.trainer, resolve=True)
    assert isinstance(limits, dict)
    precision_name = choose_precision(cfg).trainer_name
    strategy = build_strategy(cfg)
    with trainer_errors():
        return Trainer(
            **{str(name): value for name, value in limits.items()},
            strategy=strategy,
            precision=precision_name,
            deterministic=cfg.deterministic,
            logger=loggers,
            callbacks=callbacks,
            default_root_dir=folder.path,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            # Our samplers divide batches over ranks; Lightning would divide single examples.
            use_distributed_sampler=False,
        )


def build_strategy(cfg: DictConfig) -> Strategy | str:
    """What spreads the run over devices; Lightning's own object, or its name for one."""
    options: StrategyOptions = build(cfg.strategy)
    return options.for_run(_setting(cfg))


def _setting(cfg: DictConfig) -> Setting:
    device, devices = main_device(cfg), str(cfg.trainer.devices)
    if devices in ("auto", "-1"):
        num_devices = torch.cuda.device_count() if device.type == "cuda" else 1
    elif devices.isdigit() and int(devices) > 0:
        num_devices = int(devices)
    else:
        raise ConfigError(
            f"trainer.devices={devices}", "is no number of devices", "write 1 or more, or auto"
        )
    return Setting(
        device=device,
        num_devices=num_devices,
        num_nodes=cfg.trainer.num_nodes,
        num_accumulated=cfg.trainer.accumulate_grad_batches,
        carries_state=str(cfg.batching._target_).endswith(".StreamBatches"),
        has_idle_parameters=bool(OmegaConf.select(cfg, "learner.front.unfreeze_at_epoch")),
        averages_weights=cfg.callbacks.ema_decay is not None,
        follows_clock=cfg.trainer.max_time is not None,
    )


@contextmanager
def trainer_errors() -> Iterator[None]:
    """What Lightning's Trainer says of its arguments, as a ConfigError."""
    try:
        yield
    except (MisconfigurationException, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ConfigError("trainer", why, "see conf/trainer/default.yaml") from error


def pin_algorithms(cfg: DictConfig) -> None:
    """Where `cfg.deterministic` is true: what must be set before a GPU is used, and a word of it.

    The Trainer does the rest.
    """
    if cfg.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        logger.info("deterministic: only algorithms that give the same numbers again")
