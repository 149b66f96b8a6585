"""Whether a run can go on as asked, found out before anything of it is written.

The one idea: a wrong call must leave a finished run as it was. So the checkpoint is compared with
the config, the vocabulary and the budget first; a resumed run then keeps its tokenizers, whatever
its data files have become. Price: last.ckpt is read once more.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from omegaconf import DictConfig

from seqloom.commands.loading import check_shape, check_vocabulary, damaged, read_checkpoint
from seqloom.data.module import SequenceData
from seqloom.errors import ConfigError, DataError
from seqloom.runs import RunFolder, Summary, next_limit, sha256_of_vocabulary


def check_resume(cfg: DictConfig, folder: RunFolder, before: Summary) -> None:
    """Raises where last.ckpt cannot go on by `cfg`; a run that is not finished may lack the test
    alone.

    Raises:
        ConfigError: `cfg` describes other weights, or the budget of a finished run is used up.
        DataError: last.ckpt is damaged, or the vocabulary is not its own.
    """
    state = read_checkpoint(folder.last)
    check_shape(cfg, folder.last, state)
    check_vocabulary(folder, folder.last, state)
    try:
        epochs = state["loops"]["fit_loop"]["epoch_progress"]["current"]["completed"]
        steps = state["global_step"]
        timer = state["callbacks"].get("Timer")  # Lightning's, which counts for max_time.
    except (KeyError, TypeError):
        raise damaged(folder.last, "it holds no state of the training") from None
    seconds = timer["time_elapsed"]["train"] if timer else 0.0
    limit = next_limit(cfg.trainer, steps=steps, epochs=epochs, seconds=seconds)
    if before.status == "finished" and limit is not None:
        name = limit.partition("=")[0]
        used = cfg.trainer[name.removeprefix("trainer.")]
        raise ConfigError(
            f"resume={folder.path}",
            f"training is over: its budget ({name}={used}) is used up",
            f"raise it, for example {limit}",
        )


def check_same_vocabulary(datamodule: SequenceData, folder: RunFolder) -> None:
    """Raises DataError where the data gives other tokenizers or classes than the run was trained
    with."""
    with tempfile.TemporaryDirectory() as temporary:
        datamodule.save_vocabulary(Path(temporary))
        found = sha256_of_vocabulary(Path(temporary))
    for name, expected in sha256_of_vocabulary(folder.vocabulary).items():
        if found.get(name) != expected:
            raise DataError(
                str(folder.vocabulary / name),
                f"{folder.last} was trained with it, but the training data now gives another",
                "restore the data, or start a new run",
            )
