"""`load_run`: the one way from a run folder back to a learner that can be used, without its
training data.

The one idea: a folder is believed only where its parts agree. A checkpoint holds the config that
built its weights and the SHA-256 of its vocabulary; a `config.yaml`, an override or a vocabulary
that does not fit them is an error that names both. Nothing in a folder from elsewhere runs code:
tensors are read with `weights_only=True`, and `config.build` calls nothing but Seqloom's and
torch's own parts.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from seqloom.commands import assembly
from seqloom.commands.values import plain_values
from seqloom.config import run_config, trust_named_files
from seqloom.data.spec import DataSpec
from seqloom.data.vocabulary import load_spec
from seqloom.errors import ConfigError, DataError
from seqloom.learners import Learner
from seqloom.runs import RunFolder, sha256_of_file
from seqloom.strategies.precision import Precision

# Groups of which an evaluation may choose another option: none of them shapes the weights.
SWAPPABLE = ("data", "batching", "decoding", "precision")
# Groups that shape the weights: what a checkpoint was trained by is what it must be used by.
SHAPING = ("frames", "model", "cell", "stack", "attention", "output", "tokenizer")
# A group that a run does not have at all, as one of before there was the group.
ABSENT: dict[str, Any] = {"_target_": None}
# Settings of those groups that do not: they act while training, or give the same numbers.
SHAPELESS = (
    "dropout",
    "locked_dropout",
    "unrolling",
    "recurrent_dropout",
    "weight_drop",
    "bpe_dropout",
    "file",
    "max_frames",
    "checkpointed",
    "weights",
)


@dataclass(frozen=True)
class LoadedRun:
    """A run as one can use it.

    Attributes:
        cfg: what the weights were trained by, with the caller's overrides.
        spec: the two sides of its data, with their tokenizers.
        learner: on the CPU, in evaluation mode.
        checkpoint: the file that the weights are from.
        device, precision: what to compute on and in.
    """

    folder: RunFolder
    cfg: DictConfig
    spec: DataSpec
    learner: Learner
    checkpoint: Path
    device: torch.device
    precision: Precision


def load_run(path: Path, *, overrides: Sequence[str] = ()) -> LoadedRun:
    """Loads the weights that the run recommends: averaged, else best, else last.

    Args:
        overrides: of `SWAPPABLE` groups and of values that do not shape the weights.

    Raises:
        ConfigError: `path` is no run folder (names near ones), or an override cannot be.
        DataError: there is no checkpoint yet, or a file of the run is damaged or does not belong
            to it.
    """
    folder = RunFolder.open(path)
    checkpoint = _recommended(folder)
    state = read_checkpoint(checkpoint)
    trust_named_files(overrides)
    cfg = run_config(folder.path, overrides, swappable=SWAPPABLE)
    check_shape(cfg, checkpoint, state)
    check_vocabulary(folder, checkpoint, state)
    spec = load_spec(folder.vocabulary)
    learner = assembly.build_learner(cfg, spec)
    try:
        learner.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        raise damaged(checkpoint, " ".join(str(error).split())) from None
    device, precision = assembly.main_device(cfg), assembly.choose_precision(cfg)
    return LoadedRun(folder, cfg, spec, learner.eval(), checkpoint, device, precision)


def _recommended(folder: RunFolder) -> Path:
    if folder.recommended is not None:
        return folder.recommended
    status = folder.read_summary().status
    instead = {
        "running": "wait for its first validation",
        "failed": f"read {folder.log} for what went wrong",
    }.get(status, f"go on with `python train.py resume={folder.path}`")
    raise DataError(str(folder.path), f"it has no checkpoint (status {status})", instead)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and plain values of a checkpoint, on the CPU; never runs code from the file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's own words advise to load it anyway.
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        name = f" ({foreign[1]})" if foreign else ""
        raise damaged(path, f"it holds more than tensors and plain values{name}") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise damaged(path, why) from None
    known = _mapping(state, "hyper_parameters")
    parts = (_mapping(state, "state_dict"), _mapping(known, "config"), known.get("vocabulary"))
    if not all(isinstance(part, dict) and part for part in parts):
        raise damaged(path, "it lacks weights, their config or the SHA-256 of their vocabulary")
    return state


def _mapping(value: object, key: str) -> dict[str, Any]:
    """`value[key]` where that is a mapping, else {}."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def check_shape(cfg: DictConfig, checkpoint: Path, state: dict[str, Any]) -> None:
    """Raises ConfigError where `cfg` describes other weights than the checkpoint holds."""
    trained = state["hyper_parameters"]["config"]
    asked = plain_values(cfg)
    for group in SHAPING:
        if _shape(_mapping(asked, group) or ABSENT) != _shape(_mapping(trained, group) or ABSENT):
            raise ConfigError(
                group,
                f"config.yaml or an override asks for another one than {checkpoint} was trained by",
                f"leave {group} as it was, or train a new run",
            )


def _shape(group: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _shape(value) if isinstance(value, dict) else value
        for key, value in group.items()
        if key not in SHAPELESS
    }


def check_vocabulary(folder: RunFolder, checkpoint: Path, state: dict[str, Any]) -> None:
    """Raises DataError unless the vocabulary is the one that the weights were trained with."""
    for name, expected in state["hyper_parameters"]["vocabulary"].items():
        path = folder.vocabulary / name
        if not path.is_file():
            raise DataError(str(path), f"{checkpoint} needs it", "copy it from the original run")
        if sha256_of_file(path) != expected:
            raise DataError(
                str(path),
                f"it is not the vocabulary that {checkpoint} was trained with (SHA-256 differs)",
                "copy both from the same run",
            )


def damaged(path: Path, why: str) -> DataError:
    """The error that says why `path` is of no use."""
    return DataError(str(path), f"it is no whole checkpoint of Seqloom ({why})", "copy it anew")
