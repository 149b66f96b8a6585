"""The learner through a real Trainer: one update is one update, however its batches are cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from learner_fakes import Letters, fit, trainer_of, weights
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Timer

from seqloom.cells import LSTM
from seqloom.data.batch import Batch
from seqloom.data.spec import DataSpec, TokenSide
from seqloom.decoding import BeamSearch
from seqloom.layers.attention import GeneralAttention
from seqloom.layers.outputs import Categorical
from seqloom.layers.recurrent import StackOptions
from seqloom.learners import EncoderDecoderLearner
from seqloom.learners.optimization import progress
from seqloom.learners.schedules import Constant, Cosine, Plateau
from seqloom.sequences import Padded
from seqloom.topologies import EncoderDecoder
from seqloom.unrolling import Auto

# No validation loader, few batches: Lightning's hints do not fit these tiny runs.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def make_learner(**options: Any) -> EncoderDecoderLearner:
    torch.manual_seed(0)
    side = TokenSide(Letters())
    model = partial(
        EncoderDecoder,
        embedding_size=8,
        hidden_size=16,
        num_encoder_layers=1,
        num_decoder_layers=1,
        bidirectional=True,
        stack=StackOptions(),
        dropout=0.0,
        locked_dropout=False,
        tie="all",
        bridge="projected",
        wiring="late",
        cell=LSTM,
        unrolling=Auto(),
        attention=GeneralAttention,
        output=Categorical,
    )
    defaults: dict[str, Any] = {
        "spec": DataSpec(side, side, shared_vocabulary=True),
        "model": model,
        "optimizer": partial(torch.optim.SGD, lr=0.5),
        "scheduler": Constant(),
        "search": BeamSearch(beam_size=2),
        "label_smoothing": 0.1,
        "scheduled_sampling": 0.0,
        "normalize": "tokens",
        "config": {"seed": 1},
    }
    return EncoderDecoderLearner(**{**defaults, **options})


def make_batch(pairs: Sequence[tuple[str, str]], first: int = 0) -> Batch:
    def side(texts: Sequence[str]) -> Padded:
        return Padded.from_list([torch.tensor([*Letters().encode(text), 2]) for text in texts])

    sources, targets = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    index = torch.arange(first, first + len(pairs))
    return Batch(index, side(sources), side(targets), sources, targets)


PAIRS = [("ab", "ba"), ("abc", "c"), ("d", "deedd"), ("eeab", "ab"), ("ca", "a"), ("b", "bbbbbb")]


@pytest.mark.parametrize("normalize", ["tokens", "sequences"])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_accumulated_batches_are_one_large_batch(normalize: str, clip: float | None) -> None:
    whole, cut = make_learner(normalize=normalize), make_learner(normalize=normalize)
    fit(whole, [make_batch(PAIRS)], gradient_clip_val=clip)
    parts = [make_batch(PAIRS[:1]), make_batch(PAIRS[1:3]), make_batch(PAIRS[3:])]
    fit(cut, parts, gradient_clip_val=clip, accumulate_grad_batches=3)
    for one, other in zip(weights(whole), weights(cut), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_update_is_the_gradient_of_the_mean_over_tokens() -> None:
    learner, batch = make_learner(), make_batch(PAIRS)
    before = weights(learner)
    readouts, _ = learner.model(batch.source, batch.target)
    mask = batch.target.mask()
    logits = learner.model.output.logits(readouts.values[mask])
    loss = torch.nn.functional.cross_entropy(logits, batch.target.values[mask], label_smoothing=0.1)
    grads = torch.autograd.grad(loss, list(learner.parameters()))
    fit(learner, [batch])
    for old, grad, new in zip(before, grads, weights(learner), strict=True):
        torch.testing.assert_close(new, old - 0.5 * grad, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_norm_of_the_mean_gradient() -> None:
    learner = make_learner()
    before = weights(learner)
    fit(learner, [make_batch(PAIRS)], gradient_clip_val=0.01)
    moved = torch.cat(
        [(new - old).flatten() for old, new in zip(before, weights(learner), strict=True)]
    )
    assert float(moved.norm()) == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_it_learns_and_its_scores_are_those_of_the_corpus() -> None:
    learner = make_learner(optimizer=partial(torch.optim.Adam, lr=0.02), scheduler=Cosine())
    trainer = fit(learner, [make_batch(PAIRS)] * 150)
    batches = [make_batch(PAIRS[:4]), make_batch(PAIRS[4:], first=4)]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    (metrics,) = trainer.test(learner, loader, verbose=False)
    assert metrics["test/exact_match"] == 1.0
    assert metrics["test/chrf"] == pytest.approx(100.0)
    total = count = 0.0
    for batch in batches:
        readouts, _ = learner.model(batch.source, batch.target)
        mask = batch.target.mask()
        logits = learner.model.output.logits(readouts.values[mask]).detach()
        total += float(
            torch.nn.functional.cross_entropy(logits, batch.target.values[mask], reduction="sum")
        )
        count += int(mask.sum())
    assert metrics["test/nll"] == pytest.approx(total / count, rel=1e-5)
    assert metrics["test/perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
    assert set(learner.signatures) == {"test/bleu", "test/chrf"}
    texts = [source for source, _ in PAIRS]
    learner.eval()
    assert [best.text for best, *_ in learner.answer(texts)] == [t for _, t in PAIRS]
    assert [len(found) for found in learner.answer(texts, num_best=2)] == [2] * 6
    for text, found in zip(texts, learner.attention_maps(texts), strict=True):
        assert found["input_pieces"] == [*text, "<eos>"]
        assert len(found["weights"]) == len(found["output_pieces"])
        for row in found["weights"]:
            assert sum(row) == pytest.approx(1, abs=1e-4)
    assert learner.answer([]) == []


def test_scheduled_sampling_grows_with_the_updates() -> None:
    learner = make_learner(scheduled_sampling=0.5)
    seen: list[float] = []
    forward = learner.model.forward

    def record(source: Padded, target: Padded, sampling: float = 0.0) -> Any:
        seen.append(sampling)
        return forward(source, target, sampling)

    learner.model.forward = record  # type: ignore[method-assign]
    fit(learner, [make_batch(PAIRS)] * 5)
    assert seen == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_the_logged_loss_is_the_mean_over_the_tokens_of_the_update() -> None:
    whole, cut = make_learner(), make_learner()
    parts = [make_batch(PAIRS[:1]), make_batch(PAIRS[1:])]
    one = fit(whole, [make_batch(PAIRS)]).callback_metrics["train/loss"]
    two = fit(cut, parts, accumulate_grad_batches=2).callback_metrics["train/loss"]
    torch.testing.assert_close(one, two)


def test_a_plateau_lowers_the_rate_after_the_warm_up() -> None:
    learner = make_learner(
        optimizer=partial(torch.optim.SGD, lr=1e-6),  # too little to improve
        scheduler=Plateau(monitor="val/loss", mode="min", warmup_steps=3, decay=0.5, patience=1),
    )
    rates: list[float] = []

    class Rates(Callback):
        def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"] / 1e-6)

    loader = torch.utils.data.DataLoader([make_batch(PAIRS)], batch_size=None)
    trainer = trainer_of(max_epochs=9, callbacks=[Rates()])
    trainer.fit(learner, train_dataloaders=loader, val_dataloaders=loader)
    assert rates[:4] == pytest.approx([2 / 3, 1.0, 1.0, 0.5], rel=1e-3)
    assert rates[-1] == pytest.approx(0.125, rel=1e-3)


@pytest.mark.parametrize(
    ("elapsed", "remaining", "expected"), [(30.0, 30.0, 0.5), (1.0, 99.0, 0.25)]
)
def test_progress_is_the_further_of_updates_and_clock(
    elapsed: float, remaining: float, expected: float
) -> None:
    timer = Timer(duration={"seconds": 100})
    timer.time_elapsed = lambda *_: elapsed  # type: ignore[method-assign]
    timer.time_remaining = lambda *_: remaining  # type: ignore[method-assign]
    trainer = SimpleNamespace(estimated_stepping_batches=40, callbacks=[timer], world_size=1)
    assert progress(trainer, 10) == pytest.approx(expected)  # type: ignore[arg-type]


def test_no_clock_no_budget_is_no_progress() -> None:
    trainer = SimpleNamespace(estimated_stepping_batches=math.inf, callbacks=[], world_size=1)
    assert progress(trainer, 10) == 0.0  # type: ignore[arg-type]


def test_a_search_computes_in_float32_under_autocast_too() -> None:
    learner = make_learner().eval()
    texts = [source for source, _ in PAIRS]
    exact = learner.answer(texts)
    with torch.autocast("cpu", torch.bfloat16):
        assert learner.answer(texts) == exact
