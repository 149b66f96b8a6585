"""Learners of aligned sequences, of language, of vectors and from vectors, through a real Trainer:
updates are means over valid elements, scores are those of the data, and each of them learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
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
from torch import Tensor
from torch.nn import functional as F

from seqloom.data.batch import Batch
from seqloom.data.spec import ClassSide, DataSpec, FeatureSide, TokenSide
from seqloom.decoding import BeamSearch, GreedySearch, SampledSearch
from seqloom.errors import ConfigError, DataError
from seqloom.layers.outputs import CRF, CTC, Squared
from seqloom.learners import (
    Learner,
    SequenceToSequenceLearner,
    SequenceToVectorLearner,
    VectorToSequenceLearner,
)
from seqloom.learners.schedules import Cosine
from seqloom.sequences import EOS_ID, Padded
from seqloom.topologies import SequenceToSequence, SequenceToVector, VectorToSequence

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)

CLASSES = ClassSide(("x", "y", "z"))
LETTERS = TokenSide(Letters(" "))
NUMBERS = FeatureSide(2)
LENGTHS = [5, 2, 4, 1, 3, 6]

ALIGNED = partial(SequenceToSequence, embedding_size=8, bidirectional=True, tie="none", **PARTS)
LANGUAGE = partial(SequenceToSequence, embedding_size=8, bidirectional=False, tie="none", **PARTS)
VECTOR = partial(SequenceToVector, embedding_size=8, bidirectional=False, pooling="mean", **PARTS)
WRITER = partial(
    VectorToSequence,
    embedding_size=8,
    conditioning="both",
    tie="none",
    attention=None,
    **PARTS,
)


def classes(lengths: Sequence[int], *, seed: int) -> Padded:
    generator = torch.Generator().manual_seed(seed)
    return Padded.from_list([torch.randint(0, 3, (n,), generator=generator) for n in lengths])


def tagging(rows: slice) -> Batch:
    """Each step's target is the class before it, round the circle."""
    source = classes(LENGTHS, seed=0).select(torch.arange(6)[rows])
    return Batch(torch.arange(6)[rows], source, source.with_values((source.values + 1) % 3))


def filtering(rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(1)
    whole = Padded.from_list([torch.rand(n, 2, generator=generator) for n in LENGTHS])
    source = whole.select(torch.arange(6)[rows])
    return Batch(torch.arange(6)[rows], source, source.with_values(1 - source.values))


def language(rows: slice) -> Batch:
    ids = torch.tensor(LETTERS.tokenizer.encode("abc dea bcd e")).repeat(6, 1)[rows]
    lengths = torch.tensor([12, 7, 12, 1, 0, 12])[rows]
    return Batch(torch.arange(6)[rows], Padded(ids[:, :-1], lengths), Padded(ids[:, 1:], lengths))


def classifying(rows: slice) -> Batch:
    source = classes(LENGTHS, seed=2).select(torch.arange(6)[rows])
    return Batch(torch.arange(6)[rows], source, source.last(torch.zeros(6)[rows].long()))


def summing(rows: slice) -> Batch:
    batch = filtering(rows)
    source, _ = batch.pair()
    return Batch(batch.index, source, source.zeroed().values.sum(dim=1))


def naming(rows: slice) -> Batch:
    names = ["abc", "d", "eeeee"]
    source = torch.tensor([0, 1, 2, 2, 1, 0])[rows]
    ids = [[*LETTERS.tokenizer.encode(names[label]), EOS_ID] for label in source.tolist()]
    return Batch(torch.arange(6)[rows], source, Padded.from_list([torch.tensor(i) for i in ids]))


def make(kind: str, **options: Any) -> Learner:
    torch.manual_seed(0)
    search = {"search": GreedySearch(max_length_ratio=0, max_length_offset=8)}
    none = {"search": None}
    built: dict[str, tuple[type[Learner], DataSpec, Any, dict[str, Any]]] = {
        "tagging": (SequenceToSequenceLearner, DataSpec(CLASSES, CLASSES), ALIGNED, none),
        "filtering": (
            SequenceToSequenceLearner,
            DataSpec(NUMBERS, NUMBERS),
            partial(ALIGNED, output=Squared),
            none,
        ),
        "language": (
            SequenceToSequenceLearner,
            DataSpec(LETTERS, LETTERS, shared_vocabulary=True),
            LANGUAGE,
            search,
        ),
        "classifying": (SequenceToVectorLearner, DataSpec(CLASSES, CLASSES), VECTOR, {}),
        "summing": (
            SequenceToVectorLearner,
            DataSpec(NUMBERS, NUMBERS),
            partial(VECTOR, embedding_size=None, pooling="last", output=Squared),
            {},
        ),
        "naming": (VectorToSequenceLearner, DataSpec(CLASSES, LETTERS), WRITER, search),
    }
    kind_of, spec, model, more = built[kind]
    defaults = {"spec": spec, "model": model, **LEARNER_PARTS, **more}
    return kind_of(**{**defaults, **options})


BATCHES: dict[str, Callable[[slice], Batch]] = {
    "tagging": tagging,
    "filtering": filtering,
    "language": language,
    "classifying": classifying,
    "summing": summing,
    "naming": naming,
}
ALL, FIRST, SECOND, THIRD = slice(0, 6), slice(0, 1), slice(1, 4), slice(4, 6)
every_kind = pytest.mark.parametrize("kind", list(BATCHES))


def mean_loss(learner: Learner, kind: str, batch: Batch) -> Tensor:
    """The mean over valid elements, by torch's own losses."""
    model: Any = learner.model
    if kind in ("classifying", "summing"):
        readouts, targets = model(batch.source), batch.target
    else:
        source = batch.source
        if kind == "naming":
            source = Padded(source.unsqueeze(1), torch.ones(len(source), dtype=torch.int64))
            readouts, _ = model(source, batch.target)
        else:
            readouts, _ = model(source)
        mask = batch.target.mask()
        readouts, targets = readouts.values[mask], batch.target.values[mask]
    if kind in ("filtering", "summing"):
        return F.mse_loss(model.output.predict(readouts), targets)
    return F.cross_entropy(model.output.logits(readouts), targets)


@every_kind
def test_the_update_is_the_gradient_of_the_mean_over_valid_elements(kind: str) -> None:
    learner, batch = make(kind), BATCHES[kind](ALL)
    before = weights(learner)
    loss = mean_loss(learner, kind, batch)
    grads = torch.autograd.grad(loss, list(learner.parameters()))
    trainer = fit(learner, [batch])
    expected = [old - 0.5 * grad for old, grad in zip(before, grads, strict=True)]
    assert_close(weights(learner), expected)
    torch.testing.assert_close(trainer.callback_metrics["train/loss"], loss.detach())


@every_kind
def test_accumulated_batches_are_one_large_batch(kind: str) -> None:
    whole, cut = make(kind), make(kind)
    fit(whole, [BATCHES[kind](ALL)])
    parts = [BATCHES[kind](rows) for rows in (FIRST, SECOND, THIRD)]
    fit(cut, parts, accumulate_grad_batches=3)
    assert_close(weights(cut), weights(whole))


@every_kind
def test_scores_do_not_depend_on_how_data_is_cut(kind: str) -> None:
    learner, trainer = make(kind), trainer_of()
    (whole,) = trainer.validate(learner, loader([BATCHES[kind](ALL)]), verbose=False)
    parts = [BATCHES[kind](rows) for rows in (FIRST, SECOND, THIRD)]
    (cut,) = trainer.test(learner, loader(parts), verbose=False)
    assert set(whole) | set(cut) == learner.metric_names
    for name, value in whole.items():
        name = "test/nll" if name == "val/loss" else name.replace("val/", "test/")
        assert cut[name] == pytest.approx(value, rel=1e-5), name
    expected = float(mean_loss(learner.eval(), kind, BATCHES[kind](ALL)).detach())
    assert whole["val/loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "score"),
    [
        ("tagging", "exact_match"),
        ("language", "accuracy"),
        ("classifying", "f1"),
        ("naming", "accuracy"),
        ("filtering", "mse"),
        ("summing", "mae"),
    ],
)
def test_it_learns(kind: str, score: str) -> None:
    learner = make(kind, optimizer=partial(torch.optim.Adam, lr=0.02), scheduler=Cosine())
    trainer = fit(learner, [BATCHES[kind](ALL)] * 250)
    (metrics,) = trainer.test(learner, loader([BATCHES[kind](ALL)]), verbose=False)
    if score in ("mse", "mae"):
        assert metrics[f"test/{score}"] < 0.05
    elif kind == "language":  # after its first letter alone a text is not yet known
        assert metrics["test/accuracy"] > 0.9
    else:
        assert metrics[f"test/{score}"] == 1.0


def predictions(learner: Learner, kind: str, rows: slice = ALL) -> Any:
    learner.eval()
    with torch.inference_mode():
        return learner.evaluate(BATCHES[kind](rows), 0, "test")


@pytest.mark.parametrize("kind", ["tagging", "classifying", "naming", "summing", "filtering"])
def test_every_example_has_its_prediction(kind: str) -> None:
    learner = make(kind)
    together = predictions(learner, kind)
    assert [p.index for p in together] == list(range(6))
    for row in range(6):
        (alone,) = predictions(learner, kind, slice(row, row + 1))
        assert (alone.index, alone.input, alone.target) == (
            row,
            together[row].input,
            together[row].target,
        )
        if kind in ("tagging", "classifying", "naming"):
            assert alone.prediction == together[row].prediction
    first = BATCHES[kind](FIRST)
    texts = Batch(first.index, first.source, first.target, ("own input",), ("own target",))
    with torch.inference_mode():
        (shown,) = learner.evaluate(texts, 0, "test")
    assert (shown.input, shown.target) == ("own input", "own target")


def test_a_language_model_goes_on_from_the_first_halves_of_windows() -> None:
    learner = make("language", optimizer=partial(torch.optim.Adam, lr=0.02), scheduler=Cosine())
    fit(learner, [language(ALL)] * 250)
    shown = predictions(learner, "language")
    assert [p.index for p in shown] == [0, 1, 2, 5]  # the others are too short to be halved
    assert (shown[0].input, shown[0].target) == ("abc de", "a bcd e")
    assert shown[0].prediction.startswith("a bcd e")
    (found,) = learner.answer(["abc"])
    assert found[0].text.startswith(" dea bc")
    assert found[0].log_prob == found[0].score > -1.0
    assert [len(row) for row in learner.answer(["abc", "d"])] == [1, 1]
    assert learner.has_lines
    (words,) = learner.suggest(["abc dea"], num_best=2)
    assert words[0].text == "bcd"
    assert words[0].score > 0.9
    assert words[0].score >= words[1].score


def test_classes_are_answered_with_their_probabilities() -> None:
    learner = make("classifying").eval()
    lines = ["x y z", "y"]
    answers = learner.answer(lines, num_best=5)
    for found in answers:
        assert sorted(answer.text for answer in found) == ["x", "y", "z"]
        assert sum(answer.score for answer in found) == pytest.approx(1.0)
        assert [a.score for a in found] == sorted((a.score for a in found), reverse=True)
        assert math.exp(found[0].log_prob) == pytest.approx(found[0].score)
    assert learner.answer(lines) == [found[:1] for found in answers]
    assert [learner.answer([line])[0][0].text for line in lines] == [f[0].text for f in answers]
    with pytest.raises(DataError, match="no class of this run"):
        learner.answer(["x w"])


def test_numbers_and_aligned_sequences_have_one_answer() -> None:
    summing, tagging = make("summing").eval(), make("tagging").eval()
    ((number,),) = summing.answer(["0.1 0.2 0.3 0.4"])
    assert len(number.text.split()) == 2
    ((tags,),) = tagging.answer(["x y z"])
    assert len(tags.text.split()) == 3
    for learner, line in ((summing, "1 2"), (tagging, "x")):
        with pytest.raises(ConfigError, match="n_best=2"):
            learner.answer([line], num_best=2)
        with pytest.raises(ConfigError, match="suggest=true"):
            learner.suggest([line])
        assert learner.attention_maps([line]) == []
        assert learner.answer([]) == []


def test_names_are_sampled_for_a_class() -> None:
    learner = make("naming", search=SampledSearch(max_length=8)).eval()
    ((*names,),) = learner.answer(["y"], num_best=5)
    assert len({name.text for name in names}) > 1
    same_class = naming(slice(0, 1)), naming(slice(5, 6))
    with torch.inference_mode():
        written = [learner.evaluate(batch, 0, "test")[0].prediction for batch in same_class]
    assert written[0] != written[1]  # of equal sources, each example has a sample of its own


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("tagging", {"model": partial(ALIGNED, output=Squared)}, "output=categorical"),
        ("filtering", {"model": ALIGNED}, "output=squared"),
        ("classifying", {"model": partial(VECTOR, output=Squared)}, "output=categorical"),
        ("naming", {"model": partial(WRITER, output=Squared)}, "output=categorical"),
        ("classifying", {"model": partial(VECTOR, output=CRF)}, "does not have"),
        ("tagging", {"model": partial(ALIGNED, output=CTC)}, "does not have"),
        ("naming", {"spec": DataSpec(CLASSES, CLASSES)}, "another task"),
        ("language", {"search": None}, "decoding=sample"),
        ("language", {"model": ALIGNED}, r"model\.bidirectional=false"),
        ("tagging", {"search": BeamSearch()}, "decoding=none"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    kind: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make(kind, **options)
    assert "\n" not in str(caught.value)


@every_kind
def test_batches_are_counted(kind: str) -> None:
    counts = make(kind).count_batch(BATCHES[kind](SECOND))
    assert counts["examples"] == 3
    if kind in ("tagging", "filtering"):
        assert counts["source_tokens"] == counts["target_tokens"] == 7
        assert counts["source_positions"] == 18
    if kind == "naming":
        assert "source_tokens" not in counts
    if kind in ("classifying", "summing"):
        assert "target_tokens" not in counts


def test_tags_that_depend_on_each_other() -> None:
    learner = make("tagging", model=partial(ALIGNED, output=CRF))
    learner.optimizer_recipe = partial(torch.optim.Adam, lr=0.05)
    trainer = fit(learner, [tagging(ALL)] * 100)
    (metrics,) = trainer.test(learner, loader([tagging(FIRST), tagging(SECOND)]), verbose=False)
    assert metrics["test/exact_match"] == 1.0
    assert metrics["test/nll"] < 0.1
