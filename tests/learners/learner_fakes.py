"""A tokenizer of letters, a Trainer without surroundings, and what the tests of learners share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from seqloom.cells import LSTM
from seqloom.data.batch import Batch
from seqloom.layers.outputs import Categorical
from seqloom.layers.recurrent import StackOptions
from seqloom.learners.schedules import Constant
from seqloom.unrolling import Auto


class Letters:
    """A tokenizer of the letters a-e and, on request, further characters."""

    def __init__(self, more: str = "") -> None:
        self.characters = "abcde" + more

    @property
    def vocab_size(self) -> int:
        return 4 + len(self.characters)

    def normalize(self, text: str) -> str:
        return text

    def encode(self, text: str) -> list[int]:
        return [self.characters.index(letter) + 4 for letter in text]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.characters[i - 4] for i in ids if i >= 4)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [self.decode([i]).replace(" ", "\u2581") or "<eos>" for i in ids]

    def save(self, path: Path) -> None:
        raise AssertionError("not saved here")


# What every topology is made of, for `partial`.
PARTS: dict[str, Any] = {
    "hidden_size": 16,
    "num_layers": 1,
    "dropout": 0.0,
    "locked_dropout": False,
    "stack": StackOptions(),
    "cell": LSTM,
    "unrolling": Auto(),
    "output": Categorical,
}
# What every learner is given.
LEARNER_PARTS: dict[str, Any] = {
    "optimizer": partial(torch.optim.SGD, lr=0.5),
    "scheduler": Constant(),
    "label_smoothing": 0.0,
    "config": {"seed": 1},
}


def trainer_of(**options: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "max_epochs": 1,
    }
    return Trainer(**{**defaults, **options})


def loader(batches: Sequence[Batch]) -> torch.utils.data.DataLoader[Batch]:
    return torch.utils.data.DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]


def fit(learner: LightningModule, batches: Sequence[Batch], **options: Any) -> Trainer:
    trainer = trainer_of(**options)
    trainer.fit(learner, train_dataloaders=loader(batches))
    return trainer


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def assert_close(one: Iterable[Tensor], other: Iterable[Tensor]) -> None:
    for left, right in zip(one, other, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
