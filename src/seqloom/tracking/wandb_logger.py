"""`WandbLogger`: a run folder is one run of Weights & Biases, however often it was killed.

The id lies in the folder (`wandb_id.txt`), and metrics.csv is the record of truth. When training
begins, W&B is first told what metrics.csv holds (cut back to the checkpoint) and it lacks, then
what happens. So an offline run that goes on writes a new part that has every step once, and the
older parts are removed when that part has come to its end; a kill before leaves them. Online, W&B
keeps the first value of a step; what a resumed run repeats has the same values.
The price: rows told again have W&B's `_timestamp` as if the run had had no breaks, and a kill of an
offline run loses what W&B held in memory, until the run goes on or `seqloom sync` writes it anew.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqloom.errors import ConfigError
from seqloom.runs import read_metrics, write_atomic
from seqloom.sweeps.jobs import SWEEP_VARIABLE
from seqloom.tracking.logged_run import LoggedRun
from seqloom.tracking.run_logger import RunLogger
from seqloom.tracking.wandb_outcome import log_outcome
from seqloom.tracking.wandb_parts import Part, await_free_second, keep_only

_log = logging.getLogger(__name__)

_END_S = 10.0
_START_S = 300.0  # W&B's own process may take long where many runs begin at once.

_MODES = ("auto", "online", "offline", "disabled")
_OLD_MODES = {"dryrun": "offline", "run": "online"}  # as older scripts say in WANDB_MODE


class WandbLogger(RunLogger):
    """Weights & Biases, quiet on the console.

    Args:
        project, entity, group: as W&B names them; without a group, the sweep's name, or the run
            folder's.
        mode: auto, online, offline or disabled; the variable WANDB_MODE wins over it.
        upload_checkpoint: none, or best: the run's best weights, as an artifact at the end.
        upload_examples: a table of predictions, at the end.
        run: the run to log.
    """

    def __init__(
        self,
        *,
        project: str = "seqloom",
        entity: str | None = None,
        group: str | None = None,
        mode: str = "auto",
        upload_checkpoint: str = "none",
        upload_examples: bool = True,
        run: LoggedRun,
    ) -> None:
        super().__init__()
        if upload_checkpoint not in ("none", "best"):
            raise ConfigError(
                f"logger.wandb.upload_checkpoint={upload_checkpoint}",
                "it is unknown",
                "use none or best",
            )
        self._run, self._project, self._entity, self._group = run, project, entity, group
        self._upload_checkpoint, self._upload_examples = upload_checkpoint, upload_examples
        self._mode: Any = chosen_mode(mode)
        self._id = "" if self._mode == "disabled" else wandb_id(run)
        self._experiment: Any = None
        self._is_filled = False

    @property
    def name(self) -> str:
        return self._project

    @property
    def version(self) -> str:
        return self._id

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run, begun when it is first asked for."""
        if self._experiment is None:
            self._experiment = self._begin()
        return self._experiment

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any) -> None:
        """Nothing: W&B has the config since the run began."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Tells W&B what metrics.csv has up to `step`, as far as W&B does not have it."""
        self._fill(step)

    @rank_zero_only
    def log_outcome(self) -> None:
        folder = self._run.folder
        log_outcome(
            self.experiment,
            folder,
            topology=self._run.config.get("task", {}).get("topology"),
            with_examples=self._upload_examples,
            checkpoint=folder.recommended if self._upload_checkpoint == "best" else None,
        )

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        if self._experiment is None:
            return
        if not self._is_filled:  # It failed before the first step.
            self._fill(None)
        part = Path(self._experiment.settings.sync_dir)
        self._experiment.finish(exit_code=exit_code)
        self._experiment = None
        if self._mode != "offline":
            return
        if is_whole(part, self._run.folder.metrics, wait_s=_END_S):
            keep_only(part, self._run.folder.path, self._id)
        else:
            _log.warning("%s lacks steps of metrics.csv; see seqloom sync", part)

    def _begin(self) -> Any:
        import wandb

        folder, task = self._run.folder, self._run.config.get("task", {})
        sweep = os.environ.get(SWEEP_VARIABLE)
        # A service of another process, inherited by name, may still hold this run after a kill.
        os.environ.pop("WANDB_SERVICE", None)
        wandb.setup(wandb.Settings(x_service_wait=_START_S))
        await_free_second(folder.path, self._id)
        experiment = wandb.init(
            project=self._project,
            entity=self._entity,
            name=folder.name,
            id=self._id or None,
            dir=str(folder.path),
            group=self._group or (sweep or folder.name).replace("/", "-"),
            job_type="sweep" if sweep else "train",
            tags=[task["name"]] if "name" in task else None,
            mode=self._mode,
            resume="allow" if self._mode == "online" else None,
            config=self._run.config,
            settings=wandb.Settings(silent=True, console="off"),
        )
        # A sweep of W&B's own compares plain numbers, and a summary by rule is none.
        if "monitor" in task and "WANDB_SWEEP_ID" not in os.environ:
            experiment.define_metric(task["monitor"], summary=str(task["mode"]))
        return experiment

    def _fill(self, last_step: int | None) -> None:
        rows = read_metrics(self._run.folder.metrics)
        rows = [row for row in rows if last_step is None or row["step"] <= last_step]
        begun_s = time.time() - (rows[-1].get("seconds", 0.0) if rows else 0.0)
        first_step = self.experiment.step
        for row in rows:
            step, seconds = int(row.pop("step")), row.pop("seconds", 0.0)
            if step >= first_step:
                self.experiment.log({**row, "_timestamp": begun_s + seconds}, step=step)
        self._is_filled = True


def chosen_mode(mode: str) -> str:
    """online, offline or disabled: as WANDB_MODE says, else `mode`, else by whether there is an
    account.

    Raises ConfigError for a mode that is none.
    """
    chosen = os.environ.get("WANDB_MODE") or mode
    chosen = _OLD_MODES.get(chosen, chosen)
    if chosen not in _MODES:
        raise ConfigError(f"WANDB_MODE={chosen}", "it is unknown", "use " + ", ".join(_MODES))
    if chosen == "auto":
        return "online" if has_account() else "offline"
    return chosen


def wandb_id(run: LoggedRun) -> str:
    """The id of the run at W&B: as before, else that which W&B's agent chose, else a new one."""
    path = run.folder.wandb_id
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    identity = os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
    rank_zero_only(write_atomic)(path, identity + "\n")
    return identity


def is_whole(part: Path, metrics: Path, *, wait_s: float = 0.0) -> bool:
    """The part has its end, and every step of metrics.csv once.

    Args:
        wait_s: how long to wait for the end; W&B may write it a moment after it says so.
    """
    given_up_s = time.monotonic() + wait_s
    while (found := Part.read(part)).exit_code is None and time.monotonic() < given_up_s:
        time.sleep(0.05)
    steps = [int(row["step"]) for row in read_metrics(metrics)]
    return found.exit_code is not None and found.steps == steps


def has_account() -> bool:
    """Whether `wandb login` was done here, or a key is set."""
    import wandb

    return bool(wandb.login(prompt=False, verify=False))
