"""What happens inside a run's frame: data, learner, fit, test, and what is left for the reader.

Straight down, in the order in which a run happens; every process of a distributed run walks
through `run`, and only the first one writes. The weights that are tested are those that the run
recommends (averaged, else best), read back from their file, so what is reported is what `evaluate`
and `predict` will load.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn, TypeVar

from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.plugins.environments import SLURMEnvironment
from omegaconf import DictConfig, open_dict

from seqloom.commands import assembly, debugging
from seqloom.commands.console import console_log, print_result, quiet_trainer
from seqloom.commands.features import fill
from seqloom.commands.illustrations import write_illustrations
from seqloom.commands.loading import read_checkpoint
from seqloom.commands.processes import ProcessError, watched
from seqloom.commands.resuming import check_same_vocabulary
from seqloom.commands.values import plain_values
from seqloom.data.module import SequenceData
from seqloom.data.one_batch import OneBatch
from seqloom.data.video.module import VideoData
from seqloom.errors import ConfigError, SeqloomError
from seqloom.learners import ClipReading, Learner
from seqloom.runs import (
    RunFolder,
    Summary,
    next_limit,
    sha256_of_vocabulary,
)
from seqloom.tracking.checkpoints import Checkpoint
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.loggers import log_file, open_loggers
from seqloom.tracking.predictions import PredictionWriter
from seqloom.tracking.report import write_report
from seqloom.tracking.throughput import Throughput, peak_memory_bytes

logger = logging.getLogger(__name__)

Kind = TypeVar("Kind")


class Fitting:
    """One process's part of a run.

    Args:
        folder: locked by the first process.
        summary: filled in as facts become known; whoever made it writes its status.
        started_s: when the run began, by `time.monotonic`.
        rank: of this process over all machines; the first one, 0, writes.
    """

    def __init__(
        self,
        cfg: DictConfig,
        folder: RunFolder,
        summary: Summary,
        *,
        started_s: float,
        rank: int = 0,
    ) -> None:
        self.cfg, self.folder, self.summary = cfg, folder, summary
        self.started_s, self.rank, self.is_first = started_s, rank, rank == 0
        self.callbacks = assembly.build_callbacks(cfg, folder)

    def run(self) -> dict[str, float]:
        """Goes on from last.ckpt where the folder has one; returns the test metrics by name."""
        cfg, folder = self.cfg, self.folder
        is_resumed = folder.last.is_file()
        with (
            log_file(folder.log, rank=self.rank),
            console_log(is_first=self.is_first),
            quiet_trainer(),
            traceback_in_log(folder),
        ):
            assembly.pin_algorithms(cfg)
            self._pin_precision()
            seed_everything(cfg.seed, workers=True, verbose=False)
            datamodule = self._prepared_data(is_resumed)
            learner = self._learner(datamodule, is_resumed)
            self._cache_features(learner, datamodule)
            run, recipes = (
                LoggedRun(folder, plain_values(cfg), is_resumed),
                assembly.build_loggers(cfg),
            )
            with open_loggers(recipes, run) as loggers:
                trainer = assembly.build_trainer(
                    cfg, folder, loggers=loggers, callbacks=self.callbacks
                )
                _keep_signals_ours(trainer)
                if self.is_first:  # Not before all of it was found to fit.
                    folder.write_config(plain_values(cfg))
                with watched(trainer, folder.path, partial(self._give_up, trainer)):
                    self._fit(trainer, learner, datamodule, is_resumed)
                    metrics = self._test(trainer, learner, datamodule)
                if self.is_first:
                    self._leave(learner, metrics)
        return metrics

    def _pin_precision(self) -> None:
        """Decides `auto` once: a resume and every other process must compute in the same."""
        chosen = assembly.choose_precision(self.cfg)
        logger.info("precision %s: %s", chosen.name, chosen.reason)
        with open_dict(self.cfg):
            self.cfg.precision.name = chosen.name

    def _prepared_data(self, is_resumed: bool) -> SequenceData:
        datamodule = assembly.build_datamodule(self.cfg)
        datamodule.prepare_data()
        datamodule.setup("fit")
        padding = [
            f"{share:.1%} of {name.removeprefix('train/').removesuffix('_padding')} positions"
            for name, share in datamodule.padding_fractions().items()
        ]
        if padding:
            logger.info("padding of an epoch: %s", " and ".join(padding))
        if is_resumed:
            check_same_vocabulary(datamodule, self.folder)
        elif self.is_first:
            datamodule.save_vocabulary(self.folder.vocabulary)
        return datamodule

    def _learner(self, datamodule: SequenceData, is_resumed: bool) -> Learner:
        """A fresh learner, whose checkpoints name the vocabulary that its ids belong to."""
        learner = assembly.build_learner(self.cfg, datamodule.spec)
        if is_resumed:  # before features are computed, and whether or not files are still there
            learner.load_state_dict(read_checkpoint(self.folder.last)["state_dict"])
        else:
            learner.load_pretrained()
        vocabulary = sha256_of_vocabulary(self.folder.vocabulary)
        learner.hparams["vocabulary"] = vocabulary
        self.summary.parameters = sum(p.numel() for p in learner.parameters())
        self.summary.fingerprints = {"data": datamodule.fingerprint, **vocabulary}
        return learner

    def _cache_features(self, learner: Learner, datamodule: SequenceData) -> None:
        """Computes once what a frozen front says of each clip, where the config asks for it."""
        if isinstance(learner, ClipReading) and learner.caches_features:
            assert isinstance(datamodule, VideoData)
            fill(datamodule, learner, assembly.main_device(self.cfg))

    def _fit(
        self,
        trainer: Trainer,
        learner: Learner,
        datamodule: SequenceData,
        is_resumed: bool,
    ) -> None:
        last = self.folder.last if is_resumed else None
        num_examples = self.cfg.callbacks.overfit_examples
        data = datamodule if num_examples is None else OneBatch(datamodule, num_examples)
        try:
            with debugging.anomalies_in_words(trainer):
                trainer.fit(learner, datamodule=data, ckpt_path=last, weights_only=True)
        finally:
            self._note_progress(trainer)
        if trainer.global_step == 0:
            raise ConfigError(
                "trainer",
                "training ended before its first update",
                "raise max_time, limit_train_batches or data.num_train",
            )

    def _note_progress(self, trainer: Trainer) -> None:
        """Facts that are true whether or not the training came to its end."""
        checkpoint, throughput = _one(self.callbacks, Checkpoint), _one(self.callbacks, Throughput)
        self.summary.steps, self.summary.epochs = trainer.global_step, trainer.current_epoch
        self.summary.throughput = dict(throughput.summary())
        self.summary.peak_memory_bytes = peak_memory_bytes()
        if checkpoint.best_score is not None:
            self.summary.best = {
                "monitor": self.cfg.task.monitor,
                "score": checkpoint.best_score,
                "step": checkpoint.best_step,
                "metrics": checkpoint.best_metrics,
            }

    def _test(
        self, trainer: Trainer, learner: Learner, datamodule: SequenceData
    ) -> dict[str, float]:
        weights = _one(self.callbacks, Checkpoint).test_path
        (metrics,) = trainer.test(
            learner, datamodule=datamodule, ckpt_path=weights, weights_only=True, verbose=False
        )
        return dict(metrics)

    def _give_up(self, trainer: Trainer, error: ProcessError) -> NoReturn:
        """Ends this process, which waits for one that is gone, from a thread beside it."""
        logger.error("the run failed", exc_info=error)
        self._note_progress(trainer)
        self.summary.status, self.summary.error = "failed", str(error)
        self.summary.seconds = time.monotonic() - self.started_s
        self.folder.write_summary(self.summary)
        self.folder.close()
        sys.stderr.write(f"error: {error}\n")
        sys.stderr.flush()
        os._exit(error.exit_code)

    def _leave(self, learner: Learner, metrics: dict[str, float]) -> None:
        """What the reader of the folder finds beside the weights."""
        predictions = _one(self.callbacks, PredictionWriter).predictions
        model = learner.to(assembly.main_device(self.cfg)).eval()
        write_illustrations(self.folder, model, predictions)
        self.summary.metrics = dict(metrics)
        self.summary.signatures = learner.signatures
        self.summary.peak_memory_bytes = peak_memory_bytes()
        self.summary.seconds = time.monotonic() - self.started_s
        failure = debugging.failed_check(self.callbacks)
        self.summary.status = "finished" if failure is None else "failed"
        self.summary.error = None if failure is None else str(failure)
        self.folder.write_summary(self.summary)
        debugging.write_findings(self.folder, self.callbacks)
        write_report(self.folder.path)
        summary = self.summary
        limit = next_limit(
            self.cfg.trainer, steps=summary.steps, epochs=summary.epochs, seconds=summary.seconds
        )
        reads_clips = isinstance(learner, ClipReading)
        print_result(self.folder, summary, predictions, limit=limit, reads_clips=reads_clips)
        debugging.print_findings(self.folder, self.callbacks)
        if failure is not None:
            raise failure


@contextmanager
def traceback_in_log(folder: RunFolder) -> Iterator[None]:
    """An error leaves its traceback in the run's log; one that nobody expected says so."""
    try:
        yield
    except Exception as error:
        logger.exception("the run failed")
        if not isinstance(error, SeqloomError):
            error.add_note(f"(the traceback is in {folder.log})")
        raise


def _keep_signals_ours(trainer: Trainer) -> None:
    """Under Slurm, Lightning would answer SIGUSR1 by a checkpoint and a new job of its own."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if isinstance(environment, SLURMEnvironment):
        environment.auto_requeue = False


def _one(callbacks: list[Callback], kind: type[Kind]) -> Kind:
    """The one callback of a kind."""
    (found,) = (callback for callback in callbacks if isinstance(callback, kind))
    return found
