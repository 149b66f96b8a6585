"""Plain delayed translation: one network, checked against a loop written from its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from topology_parts import PARTS, close, ids, one_row, unreached, with_large_weights
from torch import Tensor

from seqloom.decoding import BeamSearch, GreedySearch
from seqloom.errors import ConfigError
from seqloom.sequences import BOS_ID, Padded
from seqloom.topologies import DelayedSequenceToSequence

DELAYS = [None, 0, 2, 5, 9]


def make(**overrides: Any) -> DelayedSequenceToSequence:
    options: dict[str, Any] = {
        "source_size": 11,
        "reads_ids": True,
        "target_vocab_size": 13,
        "shared_vocabulary": False,
        "delay": None,
        "embedding_size": 6,
        "hidden_size": 8,
        "num_layers": 2,
        "tie": "none",
        **PARTS,
    }
    torch.manual_seed(0)
    model: DelayedSequenceToSequence = with_large_weights(
        DelayedSequenceToSequence(**{**options, **overrides})
    )
    return model


def pair() -> tuple[Padded, Padded]:
    return ids([5, 2, 0, 3], vocab_size=11), ids([2, 4, 3, 1], vocab_size=13, seed=1)


def by_definition(model: DelayedSequenceToSequence, source: Tensor, target: Tensor) -> Tensor:
    """Logits [T, V] of one pair: at step t, source token t beside the output of the step before."""
    delay = len(source) if model.delay is None else model.delay
    states = model.stack.initial_states(torch.zeros(1, 1, 6), 1)
    outputs = [BOS_ID, *target.tolist()]
    logits = []
    for step in range(delay + len(target)):
        read = torch.zeros(1, 6)
        if step < len(source):
            read = read + model.source_embedding(source[step])
        if step >= delay:
            read = read + model.target_embedding(torch.tensor(outputs[step - delay]))
        hidden, states = model.stack.step(read, states)
        if step >= delay:
            logits.append(model.output.logits(torch.tanh(model.readout(hidden)))[0])
    return torch.stack(logits)


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("tie", ["none", "output", "all"])
def test_it_is_what_it_says(delay: int | None, tie: str) -> None:
    shared = {"source_size": 13, "shared_vocabulary": True} if tie == "all" else {}
    model = make(delay=delay, tie=tie, **shared)
    source, target = pair()
    readouts, weights = model(source, target)
    logits = model.output.logits(readouts.values)
    assert weights.shape == (4, 4, 0)
    for row, (one, other) in enumerate(zip(source.to_list(), target.to_list(), strict=True)):
        close(logits[row, : len(other)], by_definition(model, one, other))


@pytest.mark.parametrize("delay", DELAYS)
def test_forced_run_equals_the_steps_of_a_search(delay: int | None) -> None:
    model = make(delay=delay)
    source, target = pair()
    logits = model.output.logits(model(source, target)[0].values)
    state, tokens = model.start(source), torch.full((4,), BOS_ID)
    for step in range(target.max_length):
        scores, _, state = model.step(tokens, state)
        for row, length in enumerate(target.lengths.tolist()):
            if step < length:
                close(scores[row], logits[row, step])
        tokens = target.values[:, step]


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("search", [GreedySearch(), BeamSearch(beam_size=3)])
def test_a_search_answers_alone_as_in_a_batch(search: Any, delay: int | None) -> None:
    model = make(delay=delay)
    source = ids([1 + row % 8 for row in range(32)], vocab_size=11, seed=3)
    together = search(model, source)
    for row in range(0, 32, 5):
        (alone,) = search(model, one_row(source, row))
        assert [h.tokens for h in alone] == [h.tokens for h in together[row]]


def test_scheduled_sampling_of_nothing_and_of_everything() -> None:
    model = make(delay=2)
    source, target = pair()
    forced, _ = model(source, target)
    sampled, _ = model(source, target, sampling=1e-12)
    mask = target.mask()
    close(sampled.values[mask], forced.values[mask])
    own, _ = model(source, target, sampling=1.0)
    state, tokens = model.start(source), torch.full((4,), BOS_ID)
    for step in range(target.max_length):
        logits, _, state = model.step(tokens, state)
        close(model.output.logits(own.values[:, step]), logits)
        tokens = logits.argmax(-1)


@pytest.mark.parametrize("delay", [None, 2])
def test_gradients_reach_every_parameter(delay: int | None) -> None:
    model = make(delay=delay).train()
    source, target = pair()
    readouts, _ = model(source, target)
    mask = target.mask()
    model.output.loss(readouts.values[mask], target.values[mask]).loss.backward()
    assert unreached(model) == []


@pytest.mark.parametrize(
    ("overrides", "instead"),
    [
        ({"delay": -1}, "or null"),
        ({"tie": "some"}, "none, output, all"),
        ({"tie": "all"}, "tokenizer.shared=true"),
    ],
)
def test_what_cannot_be_is_said(overrides: dict[str, Any], instead: str) -> None:
    with pytest.raises(ConfigError, match=instead):
        make(**overrides)
