"""One vector for a sequence, for a pair, and for a sequence of sequences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from topology_parts import PARTS, close, features, ids, one_row, unreached, with_large_weights

from seqloom.cells import LSTM
from seqloom.layers.recurrent import StackOptions
from seqloom.sequences import Padded
from seqloom.topologies import (
    HierarchicalToVector,
    SequenceEncoder,
    SequencePairToVector,
    SequenceToVector,
    SequenceVector,
)
from seqloom.unrolling import Auto

POOLINGS = ["last", "mean", "max", "attention"]
LENGTHS = [5, 2, 1, 3]


def make(**overrides: Any) -> SequenceToVector:
    options: dict[str, Any] = {
        "source_size": 11,
        "reads_ids": True,
        "target_size": 3,
        "embedding_size": 6,
        "hidden_size": 8,
        "num_layers": 2,
        "bidirectional": False,
        "pooling": "last",
        **PARTS,
    }
    torch.manual_seed(0)
    model: SequenceToVector = with_large_weights(SequenceToVector(**{**options, **overrides}))
    return model


def vector(source_size: int, *, reads_ids: bool, pooling: str = "mean") -> SequenceVector:
    encoder = SequenceEncoder(
        source_size=source_size,
        reads_ids=reads_ids,
        embedding_size=6 if reads_ids else None,
        hidden_size=8,
        num_layers=1,
        bidirectional=True,
        dropout=0.0,
        locked_dropout=False,
        stack=StackOptions(),
        cell=LSTM,
        unrolling=Auto(),
    )
    return SequenceVector(encoder=encoder, pooling=pooling)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_row_is_the_same_alone_and_padded(pooling: str, bidirectional: bool) -> None:
    model = make(pooling=pooling, bidirectional=bidirectional)
    source = ids(LENGTHS, vocab_size=11, padding=3)
    together = model(source)
    for row in range(len(LENGTHS)):
        close(together[row], model(one_row(source, row))[0])


@pytest.mark.parametrize(
    ("bidirectional", "layers", "half"),
    [(False, "all", 8), (True, "all", 4), (True, "first", 8)],
)
def test_last_is_where_each_direction_ends(bidirectional: bool, layers: str, half: int) -> None:
    model = make(bidirectional=bidirectional, stack=StackOptions(bidirectional_layers=layers))
    source = ids(LENGTHS, vocab_size=11, padding=1)
    outputs, finals = model.vector.encoder(source)
    for row, length in enumerate(LENGTHS):
        forward, backward = outputs.values[row, length - 1, :half], outputs.values[row, 0, half:]
        close(model(source)[row], torch.cat([forward, backward]))
        close(model(source)[row], finals[-1][0][row])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_without_steps_is_no_accident(pooling: str) -> None:
    model = make(pooling=pooling)
    readouts = model(ids([3, 0], vocab_size=11))
    assert not readouts.isnan().any()
    assert not readouts.isinf().any()
    nothing = Padded(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    assert model(nothing).shape == (2, 8)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_reach_every_parameter(pooling: str) -> None:
    for overrides in ({}, {"reads_ids": False, "source_size": 3, "embedding_size": None}):
        model = make(pooling=pooling, **overrides).train()
        source = features(LENGTHS, size=3) if overrides else ids(LENGTHS, vocab_size=11)
        model.output.loss(model(source), torch.tensor([0, 1, 2, 0])).loss.backward()
        assert unreached(model) == []


def test_an_embedding_has_length_one() -> None:
    model = make()
    embedded = model.embed(ids(LENGTHS, vocab_size=11))
    close(embedded.norm(dim=-1), torch.ones(4))
    readouts = model(ids(LENGTHS, vocab_size=11))
    close(embedded * readouts.norm(dim=-1, keepdim=True), readouts)


def test_a_pair_is_compared_by_shared_weights() -> None:
    model = SequencePairToVector(
        vector=vector(11, reads_ids=True),
        hidden_size=5,
        target_size=3,
        dropout=0.0,
        output=PARTS["output"],
    )
    model = with_large_weights(model)
    left, right = ids([5, 2], vocab_size=11), ids([3, 4], vocab_size=11, seed=1)
    u, v = model.vector(left), model.vector(right)
    expected = torch.tanh(model.readout(torch.cat([u, v, (u - v).abs(), u * v], dim=1)))
    close(model(left, right), expected)
    assert not torch.allclose(model(left, right), model(right, left))
    model.output.loss(model(left, right), torch.tensor([0, 1])).loss.backward()
    assert unreached(model) == []


def test_a_document_is_the_sequence_of_its_sentences() -> None:
    model = with_large_weights(
        HierarchicalToVector(
            inner=vector(11, reads_ids=True),
            outer=vector(8, reads_ids=False),
            target_size=3,
            output=PARTS["output"],
        )
    )
    sentences = ids([5, 2, 4, 1, 3], vocab_size=11)
    together = model(sentences, torch.tensor([2, 0, 3]))
    for row, part in enumerate([slice(0, 2), slice(0, 0), slice(2, 5)]):
        own = [model.inner(Padded.from_list([s]))[0] for s in sentences.to_list()[part]]
        steps = torch.stack(own) if own else torch.zeros(0, 8)
        close(together[row], model.outer(Padded.from_list([steps]))[0])
    model.output.loss(together, torch.tensor([0, 1, 2])).loss.backward()
    assert unreached(model) == []
