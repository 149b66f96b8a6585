"""The order of batches through Lightning's Trainer: new in each epoch, the same after a resume."""

from pathlib import Path

import pytest
import torch
from data_fakes import RowRecorder, training_loader
from lightning.pytorch import Callback, Trainer

from seqloom.data.batching import Bucketed
from seqloom.errors import ConfigError

# Lightning 2.6 beside torch 2.13.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

NUM_BATCHES = 7
NUM_EPOCHS = 3


class SaveAtEveryUpdate(Callback):
    """What a checkpoint callback does at its safest: between an update and the next batch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved: list[int] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.fit_loop._should_accumulate():
            return
        num_batches = trainer.fit_loop.total_batch_idx + 1
        self.saved.append(num_batches)
        trainer.save_checkpoint(self.folder / f"{num_batches}.ckpt")


class SaveAfterEpochs(Callback):
    """Saves when the first batch of the next epoch has not been asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / f"epoch-{trainer.current_epoch}.ckpt")


def fit(loader, folder, *, callbacks=(), ckpt_path=None, validate=False, **limits):
    model = RowRecorder()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validate else 0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **({"max_epochs": NUM_EPOCHS} | limits),
    )
    trainer.fit(model, loader, training_loader(9), ckpt_path=ckpt_path, weights_only=True)
    loader.close()
    return model


def same_weights(one, other):
    return torch.equal(one.weight, other.weight)


def test_the_order_differs_between_epochs_and_every_row_is_seen_once_in_each(tmp_path):
    rows = fit(training_loader(), tmp_path).rows
    epochs = [rows[i : i + NUM_BATCHES] for i in range(0, len(rows), NUM_BATCHES)]
    assert len(epochs) == NUM_EPOCHS
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    for epoch in epochs:
        assert sorted(row for batch in epoch for row in batch) == list(range(26))


def test_workers_change_nothing(tmp_path):
    alone, helped = (
        fit(training_loader(num_workers=num_workers), tmp_path) for num_workers in (0, 2)
    )
    assert alone.rows == helped.rows
    assert same_weights(alone, helped)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"validate": True},
        {"validate": True, "val_check_interval": 3},
        {"accumulate_grad_batches": 2},
        {"accumulate_grad_batches": 2, "validate": True},
        {"max_steps": 17, "max_epochs": -1},
    ],
    ids=str,
)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_repeats_an_undisturbed_one(tmp_path, num_workers, limits):
    save = SaveAtEveryUpdate(tmp_path)
    straight = fit(training_loader(num_workers=num_workers), tmp_path, callbacks=[save], **limits)
    # In the first epoch, the last batch of an epoch, the first of one, in the middle, near the end.
    wanted = [2, NUM_BATCHES, NUM_BATCHES + 1, NUM_BATCHES + 4, 2 * NUM_BATCHES, 16]
    if num_workers:
        wanted = [NUM_BATCHES, NUM_BATCHES + 4]
    for num_batches in {max(n for n in save.saved if n <= most) for most in wanted}:
        resumed = fit(
            training_loader(num_workers=num_workers),
            tmp_path,
            ckpt_path=tmp_path / f"{num_batches}.ckpt",
            **limits,
        )
        assert resumed.rows == straight.rows[num_batches:], num_batches
        assert same_weights(resumed, straight), num_batches


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("validate", [False, True])
def test_a_run_resumed_between_epochs_repeats_an_undisturbed_one(tmp_path, num_workers, validate):
    def loader():
        return training_loader(num_workers=num_workers)

    straight = fit(loader(), tmp_path, callbacks=[SaveAfterEpochs(tmp_path)], validate=validate)
    for epoch in range(NUM_EPOCHS - 1):
        path = tmp_path / f"epoch-{epoch}.ckpt"
        resumed = fit(loader(), tmp_path, ckpt_path=path, validate=validate)
        assert resumed.rows == straight.rows[(epoch + 1) * NUM_BATCHES :]
        assert same_weights(resumed, straight)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_epochs_that_are_cut_short_resume_too(tmp_path, num_workers):
    limits = {"limit_train_batches": 4}
    save = SaveAtEveryUpdate(tmp_path)

    def loader():
        return training_loader(num_workers=num_workers)

    straight = fit(loader(), tmp_path, callbacks=[save], **limits)
    assert len(straight.rows) == 4 * NUM_EPOCHS
    for num_batches in (2, 4, 6):
        path = tmp_path / f"{num_batches}.ckpt"
        resumed = fit(loader(), tmp_path, ckpt_path=path, **limits)
        assert resumed.rows == straight.rows[num_batches:]


def test_batches_by_tokens_resume_with_the_same_number_in_every_epoch(tmp_path):
    def loader():
        return training_loader(60, batching=Bucketed(max_tokens=40, pool_size=20))

    save = SaveAtEveryUpdate(tmp_path)
    straight = fit(loader(), tmp_path, callbacks=[save])
    num_batches = len(loader())
    assert len(straight.rows) == NUM_EPOCHS * num_batches
    for epoch in range(NUM_EPOCHS):
        rows = straight.rows[epoch * num_batches : (epoch + 1) * num_batches]
        assert sorted(row for batch in rows for row in batch) == list(range(60))
    path = tmp_path / f"{num_batches + 5}.ckpt"
    resumed = fit(loader(), tmp_path, ckpt_path=path)
    assert resumed.rows == straight.rows[num_batches + 5 :]
    assert same_weights(resumed, straight)


def test_other_data_are_refused_in_mid_epoch_only(tmp_path):
    fit(training_loader(), tmp_path, callbacks=[SaveAtEveryUpdate(tmp_path)], max_epochs=1)
    others = training_loader(fingerprint="other")
    with pytest.raises(ConfigError, match="other data or other batches"):
        fit(others, tmp_path, ckpt_path=tmp_path / "3.ckpt")
    resumed = fit(others, tmp_path, ckpt_path=tmp_path / f"{NUM_BATCHES}.ckpt")
    assert len(resumed.rows) == NUM_BATCHES * (NUM_EPOCHS - 1)


def test_prediction_and_validation_see_every_row_and_keep_our_sampler(tmp_path):
    model = fit(training_loader(), tmp_path, validate=True, max_epochs=1)
    assert sorted(row for batch in model.validated for row in batch) == list(range(9))
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    predicted = trainer.predict(model, training_loader(9), return_predictions=True)
    assert sorted(row for batch in predicted for row in batch) == list(range(9))
