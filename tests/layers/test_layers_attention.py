"""Attention against loops over positions, under masks, and through a search's shared memory."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from seqloom.errors import ConfigError
from seqloom.layers.attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    MultiHeadAttention,
)
from seqloom.layers.shared_memory import SharedMemory
from seqloom.sequences import Padded

SIZE = 6
KINDS = {
    "dot": DotAttention,
    "general": GeneralAttention,
    "concat": partial(AdditiveAttention, bias=False),
    "bahdanau": partial(AdditiveAttention, bias=True),
    "multihead": partial(MultiHeadAttention, num_heads=2),
}


def make(kind: str) -> Attention:
    torch.manual_seed(0)
    return KINDS[kind](query_size=SIZE, memory_size=SIZE)


def score(attention: Attention, query: Tensor, position: Tensor) -> Tensor:
    """One query and one position, as the papers write it."""
    if isinstance(attention, GeneralAttention):
        return query @ attention.weight.weight @ position
    if isinstance(attention, AdditiveAttention):
        both = torch.cat([attention.query.weight, attention.key.weight], dim=1)
        bias = 0 if attention.key.bias is None else attention.key.bias
        return attention.energy.weight[0] @ torch.tanh(both @ torch.cat([query, position]) + bias)
    return query @ position


@pytest.mark.parametrize("kind", ["dot", "general", "concat", "bahdanau"])
def test_equals_a_loop_over_positions(kind: str) -> None:
    attention = make(kind)
    source = Padded(torch.randn(3, 5, SIZE), torch.tensor([5, 2, 1]))
    queries = torch.randn(3, 4, SIZE)
    contexts, weights = attention(queries, attention.prepare(source))
    for row, positions in enumerate(source.to_list()):
        for step in range(4):
            scores = torch.stack([score(attention, queries[row, step], p) for p in positions])
            expected = scores.softmax(0)
            torch.testing.assert_close(weights[row, step, : len(positions)], expected)
            torch.testing.assert_close(contexts[row, step], expected @ positions)


def test_multihead_equals_torch() -> None:
    attention = make("multihead")
    assert isinstance(attention, MultiHeadAttention)
    theirs = torch.nn.MultiheadAttention(SIZE, 2, batch_first=True)
    parts = [attention.query, attention.key, attention.value]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.load_state_dict(attention.output.state_dict())
    source = Padded(torch.randn(2, 5, SIZE), torch.tensor([5, 3]))
    queries = torch.randn(2, 4, SIZE)
    contexts, weights = attention(queries, attention.prepare(source))
    expected, expected_weights = theirs(
        queries, source.values, source.values, key_padding_mask=~source.mask()
    )
    torch.testing.assert_close(contexts, expected)
    torch.testing.assert_close(weights, expected_weights)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_sum_to_one_over_the_real_positions(kind: str) -> None:
    attention = make(kind)
    source = Padded(torch.randn(3, 5, SIZE) * 30, torch.tensor([5, 2, 0]))
    contexts, weights = attention(torch.randn(3, 4, SIZE), attention.prepare(source))
    torch.testing.assert_close(weights[:2].sum(-1), torch.ones(2, 4))
    assert bool((weights[1, :, 2:] == 0).all())
    assert bool((weights[2] == 0).all())  # nothing to look at: no weight, and no NaN
    assert not contexts.isnan().any()


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_read(kind: str) -> None:
    attention = make(kind)
    values = torch.randn(2, 5, SIZE)
    lengths = torch.tensor([5, 2])
    spoilt = values.clone()
    spoilt[1, 2:] = 1e3
    queries = torch.randn(2, 4, SIZE)
    clean = attention(queries, attention.prepare(Padded(values, lengths)))[0]
    dirty = attention(queries, attention.prepare(Padded(spoilt, lengths)))[0]
    torch.testing.assert_close(clean, dirty)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "rows",
    [
        [0, 1, 2],
        [0, 0, 1, 1, 2, 2],
        [1, 1],
        [0, 0, 2, 2],
        [2, 0, 2, 1],
        [0, 0, 1, 2],
        [2, 2, 0, 0],
        [],
    ],
)
def test_shared_memory_equals_a_copy_for_each_row(kind: str, rows: list[int]) -> None:
    attention = make(kind)
    source = Padded(torch.randn(3, 5, SIZE), torch.tensor([5, 2, 4]))
    shared = SharedMemory(attention.prepare(source)).select(torch.tensor(rows, dtype=torch.int64))
    queries = torch.randn(len(rows), SIZE)
    contexts, weights = shared.attend(attention, queries)
    for number, row in enumerate(rows):
        alone = attention.prepare(source.select(torch.tensor([row])))
        context, weight = attention(queries[None, number : number + 1], alone)
        torch.testing.assert_close(contexts[number], context[0, 0])
        torch.testing.assert_close(weights[number], weight[0, 0])


def test_beams_of_a_sentence_share_its_memory_through_reordering() -> None:
    attention = make("general")
    source = Padded(torch.randn(2, 5, SIZE), torch.tensor([5, 2]))
    memory = attention.prepare(source)
    beams = SharedMemory(memory).select(torch.tensor([0, 0, 0, 1, 1, 1]))
    moved = beams.select(torch.tensor([2, 0, 1, 5, 5, 3]))
    assert moved.memory is memory
    assert moved.num_rows_each == 3


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="attention=general"):
        DotAttention(query_size=4, memory_size=6)
    with pytest.raises(ConfigError, match="num_heads=4"):
        MultiHeadAttention(query_size=4, memory_size=6, num_heads=4)


def test_scaled_dot_product_of_one_head_is_dot_over_root() -> None:
    attention = MultiHeadAttention(query_size=4, memory_size=4, num_heads=1)
    queries, keys = torch.randn(1, 2, 4), torch.randn(1, 3, 4)
    expected = attention.query(queries) @ keys.transpose(1, 2) / math.sqrt(4)
    torch.testing.assert_close(attention.scores(queries, keys), expected)
