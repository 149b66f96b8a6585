"""Truncated backpropagation: windows of a stream, their state carried, saved, and reset by row."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from learner_fakes import (
    LEARNER_PARTS,
    PARTS,
    Letters,
    assert_close,
    fit,
    loader,
    trainer_of,
    weights,
)
from learner_processes import gather_and_restore
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from seqloom.cells import GRU
from seqloom.data.batch import Batch
from seqloom.data.spec import DataSpec, TokenSide
from seqloom.decoding import GreedySearch
from seqloom.learners import SequenceToSequenceLearner
from seqloom.learners.carried_state import CarriedState
from seqloom.sequences import Padded
from seqloom.topologies import SequenceToSequence

# No validation loader, few batches: Lightning's hints do not fit these tiny runs.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def make_learner(**options: Any) -> SequenceToSequenceLearner:
    torch.manual_seed(0)
    side = TokenSide(Letters())
    model = partial(SequenceToSequence, embedding_size=8, bidirectional=False, tie="none", **PARTS)
    defaults = {
        "spec": DataSpec(side, side, shared_vocabulary=True),
        "model": partial(model, **options.pop("parts", {})),
        "search": GreedySearch(max_length_ratio=0, max_length_offset=5),
        **LEARNER_PARTS,
    }
    return SequenceToSequenceLearner(**{**defaults, **options})


def text(*, seed: int, num_steps: int = 13, num_rows: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, 9, (num_rows, num_steps), generator=generator)


def windows(ids: Tensor, size: int, *, num_streams: int = 1) -> list[Batch]:
    """The windows of a text of rows [B, T], as `batching=stream` makes them; the text again for
    further streams."""
    batches = []
    for _ in range(num_streams):
        for start in range(0, ids.shape[1] - 1, size):
            source, target = ids[:, start : start + size], ids[:, start + 1 : start + 1 + size]
            lengths = torch.full((len(ids),), target.shape[1])
            source = source[:, : target.shape[1]]
            index = torch.arange(len(ids)) * 100 + start
            continues = torch.full((len(ids),), start > 0)
            batches.append(
                Batch(index, Padded(source, lengths), Padded(target, lengths), continues=continues)
            )
    return batches


@pytest.mark.parametrize("size", [12, 100])
def test_a_window_as_long_as_the_data_is_full_backpropagation(size: int) -> None:
    learner, ids = make_learner(), text(seed=1)
    before = weights(learner)
    readouts, _ = learner.model(Padded(ids[:, :-1], torch.full((3,), 12)))
    logits = learner.model.output.logits(readouts.values).flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
    grads = torch.autograd.grad(loss, list(learner.parameters()))
    fit(learner, windows(ids, size))
    expected = [old - 0.5 * grad for old, grad in zip(before, grads, strict=True)]
    assert_close(weights(learner), expected)


@pytest.mark.parametrize("cell", [None, GRU])
def test_windows_score_as_one_pass(cell: Any) -> None:
    learner = make_learner(parts={} if cell is None else {"cell": cell})
    ids = text(seed=2)
    trainer = trainer_of()
    (whole,) = trainer.validate(learner, loader(windows(ids, 100)), verbose=False)
    (cut,) = trainer.validate(learner, loader(windows(ids, 5)), verbose=False)
    assert cut["val/loss"] == pytest.approx(whole["val/loss"], rel=1e-6)
    (torn,) = trainer.validate(
        learner,
        loader([Batch(b.index, b.source, b.target) for b in windows(ids, 5)]),
        verbose=False,
    )
    assert torn["val/loss"] != pytest.approx(whole["val/loss"], rel=1e-6)


def test_the_gradient_ends_where_the_window_begins() -> None:
    """Accumulated over the windows, the update is the sum of the windows' own gradients, each from
    a given state."""
    learner, ids = make_learner(), text(seed=3)
    before, batches = weights(learner), windows(ids, 5)
    states, total = None, torch.zeros(())
    for batch in batches:
        source, target = batch.pair()
        readouts, finals = learner.model(source, states)
        logits = learner.model.output.logits(readouts.values).flatten(0, 1)
        total = total + torch.nn.functional.cross_entropy(
            logits, target.values.flatten(), reduction="sum"
        )
        states = [tuple(part.detach() for part in state) for state in finals]
    grads = torch.autograd.grad(total / (3 * 12), list(learner.parameters()))
    fit(learner, batches, accumulate_grad_batches=3)
    expected = [old - 0.5 * grad for old, grad in zip(before, grads, strict=True)]
    assert_close(weights(learner), expected)


def test_only_rows_that_go_on_are_given_the_state() -> None:
    carried = CarriedState()
    fresh = [(torch.zeros(3, 2), torch.full((3, 4), -1.0))]
    assert carried.start(torch.tensor([True] * 3), fresh) == fresh
    finals = [(torch.ones(3, 2, requires_grad=True) * 2, torch.ones(3, 4))]
    carried.keep(finals)
    ((hidden, memory),) = carried.start(torch.tensor([True, False, True]), fresh)
    assert hidden[:, 0].tolist() == [2, 0, 2]
    assert memory[:, 0].tolist() == [1, -1, 1]
    assert not hidden.requires_grad
    assert carried.start(None, fresh) == fresh
    assert carried.start(torch.tensor([False] * 3), fresh) == fresh
    restored = CarriedState()
    restored.restore(carried.gathered(), 0, torch.device("cpu"))
    ((hidden, _),) = restored.start(torch.tensor([True] * 3), fresh)
    assert hidden[:, 0].tolist() == [2, 2, 2]
    restored.restore(carried.gathered(), 1, torch.device("cpu"))  # a rank that was not there
    assert restored.start(torch.tensor([True] * 3), fresh) == fresh


class SaveAt(Callback):
    """Writes a checkpoint after a batch, as training would."""

    def __init__(self, path: Path, batch: int) -> None:
        self.path, self.batch = path, batch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.batch:
            trainer.save_checkpoint(self.path)


def test_a_resumed_run_goes_on_as_the_straight_one(tmp_path: Path) -> None:
    ids, path = text(seed=4), tmp_path / "middle.ckpt"
    batches = windows(ids, 2, num_streams=2)
    straight = make_learner()
    fit(straight, batches, callbacks=[SaveAt(path, 3)])
    saved = torch.load(path, weights_only=True)["carried_state"]
    assert [part.shape for part in saved[0][0]] == [(3, 16), (3, 16)]
    resumed = make_learner()
    resumed.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    resumed.on_load_checkpoint(torch.load(path, weights_only=True))
    fit(resumed, batches[4:])
    assert_close(weights(resumed), weights(straight))
    forgetful = make_learner()
    forgetful.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    fit(forgetful, batches[4:])
    with pytest.raises(AssertionError):
        assert_close(weights(forgetful), weights(straight))


def test_validation_leaves_the_training_state_alone() -> None:
    ids, other = text(seed=5), text(seed=6, num_rows=2)
    quiet, disturbed = make_learner(), make_learner()
    fit(quiet, windows(ids, 4))
    trainer = trainer_of(val_check_interval=1, limit_val_batches=2)
    trainer.fit(
        disturbed,
        train_dataloaders=loader(windows(ids, 4)),
        val_dataloaders=loader(windows(other, 3)),
    )
    assert_close(weights(disturbed), weights(quiet))


@pytest.mark.slow
def test_every_rank_finds_its_own_rows_in_the_checkpoint(tmp_path: Path) -> None:
    mp.spawn(gather_and_restore, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        saved, own = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert [float(part[0, 0]) for ((part,),) in saved] == [0.0, 1.0]
        assert (own == rank).all()
