"""An output for each step: in one pass, step by step, window by window, alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from topology_parts import PARTS, close, features, ids, one_row, unreached, with_large_weights

from seqloom.cells import GRU, LSTM
from seqloom.decoding import BeamSearch, GreedySearch, SampledSearch
from seqloom.errors import ConfigError
from seqloom.sequences import BOS_ID, Padded
from seqloom.topologies import SequenceToSequence

VOCAB_SIZE = 13
LENGTHS = [5, 2, 0, 3]


def make(**overrides: Any) -> SequenceToSequence:
    options: dict[str, Any] = {
        "source_size": VOCAB_SIZE,
        "reads_ids": True,
        "target_size": VOCAB_SIZE,
        "shared_vocabulary": True,
        "embedding_size": 6,
        "hidden_size": 8,
        "num_layers": 2,
        "bidirectional": False,
        "tie": "none",
        **PARTS,
    }
    torch.manual_seed(0)
    model: SequenceToSequence = with_large_weights(SequenceToSequence(**{**options, **overrides}))
    return model


CASES: list[dict[str, Any]] = [
    {},
    {"cell": GRU},
    {"tie": "output"},
    {"tie": "output", "embedding_size": 8},
    {"bidirectional": True},
    {"reads_ids": False, "source_size": 3, "shared_vocabulary": False},
    {"reads_ids": False, "source_size": 3, "shared_vocabulary": False, "embedding_size": None},
]


@pytest.mark.parametrize("overrides", CASES)
def test_a_row_is_the_same_alone_and_padded(overrides: dict[str, Any]) -> None:
    model = make(**overrides)
    reads_ids = overrides.get("reads_ids", True)
    source = (
        ids(LENGTHS, vocab_size=VOCAB_SIZE, padding=2)
        if reads_ids
        else features(LENGTHS, size=3, padding=2)
    )
    readouts, finals = model(source)
    for row, length in enumerate(LENGTHS):
        if length:
            alone, own = model(one_row(source, row))
            close(readouts.values[row, :length], alone.values[0])
            for state, own_state in zip(finals, own, strict=True):
                for part, own_part in zip(state, own_state, strict=True):
                    close(part[row], own_part[0])


@pytest.mark.parametrize("overrides", [{}, {"cell": GRU}, {"tie": "output"}])
def test_steps_after_a_prompt_equal_one_pass(overrides: dict[str, Any]) -> None:
    model = make(**overrides)
    prompt = ids([4, 1, 2], vocab_size=VOCAB_SIZE)
    rest = ids([3, 3, 3], vocab_size=VOCAB_SIZE, seed=1).values
    whole = [torch.cat([row, more]) for row, more in zip(prompt.to_list(), rest, strict=True)]
    expected = model.output.logits(model(Padded.from_list(whole))[0].values)
    state, tokens = model.start(prompt), torch.full((3,), BOS_ID)
    for step in range(4):
        logits, attention, state = model.step(tokens, state)
        assert attention.shape == (3, 0)
        for row, length in enumerate(prompt.lengths.tolist()):
            close(logits[row], expected[row, length - 1 + step])
        tokens = rest[:, min(step, 2)]


def test_windows_with_carried_states_equal_one_pass() -> None:
    model = make()
    source = ids([9, 4, 6], vocab_size=VOCAB_SIZE)
    whole, finals = model(source)
    states, outputs = None, []
    for start in range(0, 9, 4):
        window = source.values[:, start : start + 4]
        lengths = (source.lengths - start).clamp(0, window.shape[1])
        readouts, states = model(Padded(window, lengths), states)
        outputs.append(readouts.values)
    for row, length in enumerate(source.lengths.tolist()):
        close(torch.cat(outputs, dim=1)[row, :length], whole.values[row, :length])
    for final, expected in zip(states, finals, strict=True):
        for part, expected_part in zip(final, expected, strict=True):
            close(part, expected_part)


@pytest.mark.parametrize(
    "search",
    [
        GreedySearch(max_length_ratio=0, max_length_offset=9),
        BeamSearch(beam_size=3, max_length_ratio=0, max_length_offset=9),
        SampledSearch(max_length=9),
    ],
)
def test_a_prompt_goes_on_the_same_alone_and_in_a_batch(search: Any) -> None:
    model = make(num_layers=1)
    lengths = [1 + row % 7 for row in range(32)]
    prompts = ids(lengths, vocab_size=VOCAB_SIZE, seed=5)
    together = search(model, prompts)
    for row in range(0, 32, 5):
        (alone,) = search(model, one_row(prompts, row))
        assert [h.tokens for h in alone] == [h.tokens for h in together[row]]


def test_an_empty_prompt_is_legal() -> None:
    model = make()
    nothing = Padded(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    found = SampledSearch(max_length=5)(model, nothing)
    assert len(found) == 2


@pytest.mark.parametrize("overrides", CASES)
def test_gradients_reach_every_parameter(overrides: dict[str, Any]) -> None:
    model = make(**overrides).train()
    reads_ids = overrides.get("reads_ids", True)
    source = ids([5, 2], vocab_size=VOCAB_SIZE) if reads_ids else features([5, 2], size=3)
    readouts, _ = model(source)
    mask = source.mask()
    targets = torch.randint(0, VOCAB_SIZE, (int(mask.sum()),))
    model.output.loss(readouts.values[mask], targets).loss.backward()
    assert unreached(model) == []


def test_dropout_leaves_features_alone() -> None:
    model = make(
        reads_ids=False, source_size=3, shared_vocabulary=False, embedding_size=None, dropout=0.5
    ).train()
    values = features([4], size=3).values
    assert torch.equal(model.encoder.read(values), values)


def test_it_is_the_plain_network_that_torch_has() -> None:
    model = make(num_layers=1, embedding_size=6, cell=partial(LSTM))
    source = ids([5, 5], vocab_size=VOCAB_SIZE)
    reference = torch.nn.LSTM(6, 8, batch_first=True)
    own = {name.rsplit(".", 1)[-1]: p for name, p in model.encoder.stack.named_parameters()}
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            parameter.copy_(own[name.removesuffix("_l0")])
    expected, _ = reference(model.encoder.embedding(source.values))
    close(model(source)[0].values, expected)


@pytest.mark.parametrize(
    ("overrides", "instead"),
    [
        ({"embedding_size": None}, "set a number of features"),
        ({"tie": "all"}, "use none or output"),
        ({"tie": "output", "shared_vocabulary": False}, "model.tie=none"),
        ({"hidden_size": 7, "bidirectional": True}, "even"),
    ],
)
def test_what_cannot_be_is_said(overrides: dict[str, Any], instead: str) -> None:
    with pytest.raises(ConfigError, match=instead):
        make(**overrides)


def test_a_model_that_reads_both_ways_has_no_next_step() -> None:
    with pytest.raises(ConfigError, match=r"model\.bidirectional=false"):
        make(bidirectional=True).start(ids([2], vocab_size=VOCAB_SIZE))
