"""From the resolved config to the parts of a run: DataModule, learner, Trainer.

The one idea: the config names parts and options, `DataSpec` names sizes, and this file is the only
place where they meet. Whatever a config can name is made by `config.build`, which refuses targets
that are not Seqloom's or torch's. Nothing here reads or writes a file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from seqloom.commands.values import plain_values
from seqloom.config import build
from seqloom.data.spec import DataSpec
from seqloom.data.text_pairs import TextPairs
from seqloom.learners import EncoderDecoderLearner
from seqloom.runs import RunFolder
from seqloom.strategies import precision
from seqloom.tracking.checkpoints import AverageOptions, Checkpoint
from seqloom.tracking.early_stopping import EarlyStopping
from seqloom.tracking.ema import WeightAverage
from seqloom.tracking.loggers import LoggerRecipe
from seqloom.tracking.predictions import PredictionWriter
from seqloom.tracking.progress import Progress
from seqloom.tracking.randomness import Randomness
from seqloom.tracking.throughput import Throughput


def build_datamodule(cfg: DictConfig, vocabulary_dir: Path | None = None) -> TextPairs:
    """The data of `cfg.data`, cut by `cfg.tokenizer` and `cfg.batching`; nothing is read yet.

    Args:
        vocabulary_dir: a run's tokenizers, to be used as they are; None trains them.
    """
    datamodule = build(
        cfg.data,
        tokenizer=build(cfg.tokenizer),
        batching=build(cfg.batching),
        vocabulary_dir=vocabulary_dir,
    )
    assert isinstance(datamodule, TextPairs)
    return datamodule


def build_learner(cfg: DictConfig, spec: DataSpec) -> EncoderDecoderLearner:
    """The learner of `cfg`, with fresh weights of the sizes that `spec` asks for."""
    learner = build(
        cfg.learner,
        spec=spec,
        model=build(cfg.model),
        optimizer=build(cfg.optimizer),
        scheduler=build(cfg.scheduler),
        search=build(cfg.decoding),
        config=plain_values(cfg),
    )
    assert isinstance(learner, EncoderDecoderLearner)
    return learner


def choose_precision(cfg: DictConfig) -> precision.Precision:
    """What `cfg.precision` comes to on the device that `cfg.trainer` names."""
    cell = str(cfg.cell._target_).rpartition(".")[2]
    return precision.choose(cfg.precision.name, device=main_device(cfg), cell=cell)


def main_device(cfg: DictConfig) -> torch.device:
    """The device that the first process computes on."""
    accelerator = cfg.trainer.accelerator
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return torch.device("mps")
    return torch.device("cpu")


def build_loggers(cfg: DictConfig) -> list[LoggerRecipe]:
    """Recipes of the loggers that `cfg.logger` names."""
    return [build(cfg.logger[name]) for name in cfg.logger]


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
    ]
    if options.ema_decay is not None:
        callbacks.append(WeightAverage(decay=options.ema_decay))
    if options.early_stopping_patience is not None:
        callbacks.append(
            EarlyStopping(
                monitor=task.monitor, mode=task.mode, patience=options.early_stopping_patience
            )
        )
    checkpoint = Checkpoint(
        directory=folder.checkpoints,
        monitor=task.monitor,
        mode=task.mode,
        every_n_steps=options.checkpoint_every_n_steps,
        every_s=options.checkpoint_every_s,
        average=average,
    )
    return [*callbacks, checkpoint]


def build_trainer(
    cfg: DictConfig, folder: RunFolder, *, loggers: list[Logger], callbacks: list[Callback]
) -> Trainer:
    """Lightning's Trainer with the limits and devices of `cfg.trainer`."""
    limits = OmegaConf.to_container(cfg.trainer, resolve=True)
    assert isinstance(limits, dict)
    return Trainer(
        **{str(name): value for name, value in limits.items()},
        strategy=cfg.strategy.name,
        precision=choose_precision(cfg).trainer_name,
        deterministic=cfg.deterministic or None,
        logger=loggers or False,
        callbacks=callbacks,
        default_root_dir=folder.path,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        # Our samplers divide batches over ranks themselves; Lightning would divide single examples.
        use_distributed_sampler=False,
    )
