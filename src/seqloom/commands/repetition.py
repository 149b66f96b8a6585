"""What of a run is trained again: its config, how far, and why the numbers may not be equal.

The idea: the same updates in the same order, so no clock decides anything. A finished run is
trained by its own budget; one that `max_time` ended by its number of updates, over which its
schedule then runs; one that was interrupted up to its last checkpoint. Refuses runs of which nobody
can say what they should come to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig

from seqloom.config import run_config
from seqloom.errors import ConfigError, DataError
from seqloom.runs import RunFolder, Summary, duration_s, next_limit

# Both: a last validation follows, as it did when the time was over.
_STEPS = ("trainer.max_steps", "callbacks.stop_after_steps")


def num_saved(folder: RunFolder, summary: Summary) -> int | None:
    """Updates to which an interrupted run can be compared; None for a finished one."""
    if summary.status == "finished":
        return None
    again = f"`python train.py resume={folder.path}`"
    if summary.status != "interrupted":
        mend = {"running": f"wait for it, or go on with {again}"}
        raise ConfigError(
            f"run={folder.path}",
            f"its status is {summary.status}, so nothing says what it should come to",
            mend.get(summary.status, f"go on with {again} first"),
        )
    if not folder.last.is_file():
        raise DataError(str(folder.path), "it was interrupted before it saved", f"see {again}")
    from seqloom.commands.loading import read_checkpoint

    return int(read_checkpoint(folder.last)["global_step"])


def config_again(
    folder: RunFolder, summary: Summary, num_saved: int | None, named: list[str]
) -> DictConfig:
    """The run's own config, to be trained from the start up to where it came, without a clock."""
    before = run_config(folder.path, named)
    changes = []
    if num_saved is not None:
        changes.append(f"callbacks.stop_after_steps={num_saved}")
    if before.trainer.max_time is not None:
        if num_saved is not None:
            raise ConfigError(
                f"run={folder.path}",
                "it followed a clock (trainer.max_time) and was interrupted",
                f"go on with `python train.py resume={folder.path}` first",
            )
        changes.append("trainer.max_time=null")
        if _time_was_over(before, summary):
            changes += [f"{key}={summary.steps}" for key in _STEPS]
    cfg = run_config(folder.path, [*named, *changes])
    cfg.resume, cfg.run_dir = None, None
    cfg.logger = {name: cfg.logger[name] for name in cfg.logger if name == "csv"}
    return cfg


def _time_was_over(cfg: DictConfig, summary: Summary) -> bool:
    """Whether `max_time` ended the training: no other budget did, nor a want of progress."""
    budget = {**cfg.trainer, "max_time": None}
    if next_limit(budget, steps=summary.steps, epochs=summary.epochs, seconds=0) is not None:
        return False
    could_stop_early = cfg.callbacks.early_stopping_patience is not None
    return not could_stop_early or summary.seconds >= (duration_s(cfg.trainer.max_time) or 0)


def notes(
    cfg: DictConfig,
    folder: RunFolder,
    summary: Summary,
    sessions: list[dict[str, Any]],
    num_saved: int | None,
) -> Iterator[str]:
    """Why a difference may be no fault."""
    if num_saved is not None:
        yield f"it was interrupted: it is compared up to update {num_saved}, the last one saved"
    max_time = folder.read_config().get("trainer", {}).get("max_time")
    if max_time is not None:
        steps = f"it is repeated by its {summary.steps} updates"
        yield f"trainer.max_time={max_time}: {steps}; what followed the clock is not the same twice"
    if str(cfg.strategy._target_).endswith(".AsyncSgd"):
        yield "strategy=async_sgd: processes wait for nobody, so no run is the same twice"
    for number, session in enumerate(sessions[1:], start=2):
        changed = [text for text in session.get("overrides", []) if not _is_place(str(text))]
        if changed:
            yield (
                f"session {number} went on with {' '.join(map(str, changed))}: "
                "one training under the last values may differ"
            )


def _is_place(setting: str) -> bool:
    return setting.partition("=")[0] in ("resume", "run_dir", "cell.file")
