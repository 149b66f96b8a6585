"""A vector told step by step: one mathematics for training and search, however it is given."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from topology_parts import PARTS, close, features, ids, one_row, unreached, with_large_weights

from seqloom.cells import GRU
from seqloom.decoding import BeamSearch, GreedySearch, SampledSearch
from seqloom.errors import ConfigError
from seqloom.layers.attention import GeneralAttention, MultiHeadAttention
from seqloom.sequences import BOS_ID, Padded
from seqloom.topologies import VectorToSequence

CASES: list[dict[str, Any]] = [
    {"conditioning": "state"},
    {"conditioning": "every_step"},
    {"conditioning": "both"},
    {"conditioning": "both", "cell": GRU},
    {"conditioning": "both", "tie": "output"},
    {"conditioning": "attention", "attention": GeneralAttention},
    {"conditioning": "attention", "attention": partial(MultiHeadAttention, num_heads=2)},
]
every_case = pytest.mark.parametrize("overrides", CASES)


def make(**overrides: Any) -> VectorToSequence:
    options: dict[str, Any] = {
        "source_size": 3,
        "reads_ids": False,
        "target_size": 13,
        "embedding_size": 6,
        "hidden_size": 8,
        "num_layers": 2,
        "conditioning": "both",
        "tie": "none",
        "attention": None,
        **PARTS,
    }
    torch.manual_seed(0)
    model: VectorToSequence = with_large_weights(VectorToSequence(**{**options, **overrides}))
    return model


def pair() -> tuple[Padded, Padded]:
    return features([4, 1, 2], size=3, padding=1), ids([2, 4, 3], vocab_size=13, seed=1)


@every_case
def test_forced_run_equals_the_steps_of_a_search(overrides: dict[str, Any]) -> None:
    model = make(**overrides)
    source, target = pair()
    readouts, weights = model(source, target)
    logits = model.output.logits(readouts.values)
    state, tokens = model.start(source), torch.full((3,), BOS_ID)
    for step in range(target.max_length):
        scores, attention, state = model.step(tokens, state)
        for row, length in enumerate(target.lengths.tolist()):
            if step < length:
                close(scores[row], logits[row, step])
                close(attention[row], weights[row, step])
        tokens = target.values[:, step]


@every_case
def test_a_row_is_the_same_alone_and_padded(overrides: dict[str, Any]) -> None:
    model = make(**overrides)
    source, target = pair()
    together, _ = model(source, target)
    for row, length in enumerate(target.lengths.tolist()):
        alone, _ = model(one_row(source, row), one_row(target, row))
        close(together.values[row, :length], alone.values[0])


@every_case
def test_the_vector_matters_at_the_first_step_and_later(overrides: dict[str, Any]) -> None:
    model = make(**overrides)
    source, target = pair()
    other = source.with_values(source.values + 1)
    one, another = (model(each, target)[0].values for each in (source, other))
    for step in (0, 1):
        assert (one[:, step] - another[:, step]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "search", [GreedySearch(), BeamSearch(beam_size=3), SampledSearch(max_length=12)]
)
@pytest.mark.parametrize("conditioning", ["both", "attention"])
def test_a_search_answers_alone_as_in_a_batch(search: Any, conditioning: str) -> None:
    attention = GeneralAttention if conditioning == "attention" else None
    model = make(conditioning=conditioning, attention=attention)
    source = features([1 + row % 4 for row in range(32)], size=3, seed=3)
    together = search(model, source)
    for row in range(0, 32, 5):
        (alone,) = search(model, one_row(source, row))
        assert [h.tokens for h in alone] == [h.tokens for h in together[row]]


def test_classes_are_embedded() -> None:
    model = make(reads_ids=True, source_size=5)
    source = Padded(torch.tensor([[0], [4], [0]]), torch.ones(3, dtype=torch.int64))
    target = ids([3, 3, 3], vocab_size=13).select(torch.tensor([0, 0, 0]))
    readouts, _ = model(source, target)
    close(readouts.values[0], readouts.values[2])
    assert (readouts.values[0] - readouts.values[1]).abs().max() > 1e-3


@every_case
def test_gradients_reach_every_parameter(overrides: dict[str, Any]) -> None:
    model = make(**overrides).train()
    source, target = pair()
    readouts, _ = model(source, target)
    mask = target.mask()
    model.output.loss(readouts.values[mask], target.values[mask]).loss.backward()
    assert unreached(model) == []


@every_case
def test_no_vectors_are_legal(overrides: dict[str, Any]) -> None:
    model = make(**overrides)
    source, target = pair()
    readouts, _ = model(Padded(source.values, torch.tensor([4, 0, 2])), target)
    assert not readouts.values.isnan().any()


@pytest.mark.parametrize(
    ("overrides", "instead"),
    [
        ({"conditioning": "never"}, "state, every_step, both, attention"),
        ({"conditioning": "attention"}, "set both"),
        ({"attention": GeneralAttention}, "attention=none"),
        ({"tie": "all"}, "use none or output"),
    ],
)
def test_what_cannot_be_is_said(overrides: dict[str, Any], instead: str) -> None:
    with pytest.raises(ConfigError, match=instead):
        make(**overrides)
