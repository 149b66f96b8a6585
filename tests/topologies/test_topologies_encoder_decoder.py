"""One mathematics for training and search, for every wiring, attention, bridge and tie."""

from functools import partial
from typing import Any

import pytest
import torch

from seqloom.cells import GRU, LSTM, ProjectedLSTM
from seqloom.decoding import BeamSearch, GreedySearch
from seqloom.errors import ConfigError
from seqloom.layers.attention import (
    AdditiveAttention,
    DotAttention,
    GeneralAttention,
    MultiHeadAttention,
)
from seqloom.layers.outputs import Adaptive, Categorical, Mixture
from seqloom.layers.recurrent import StackOptions
from seqloom.sequences import Padded
from seqloom.topologies import EncoderDecoder
from seqloom.unrolling import Auto, Dynamic

ATTENTIONS: dict[str, Any] = {
    "none": None,
    "dot": DotAttention,
    "general": GeneralAttention,
    "bahdanau": partial(AdditiveAttention, bias=True),
    "multihead": partial(MultiHeadAttention, num_heads=2),
}
DEFAULTS: dict[str, Any] = {
    "source_size": 13,
    "reads_ids": True,
    "target_vocab_size": 13,
    "shared_vocabulary": True,
    "embedding_size": 6,
    "hidden_size": 8,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "bidirectional": True,
    "stack": StackOptions(connection="residual"),
    "dropout": 0.0,
    "locked_dropout": False,
    "tie": "none",
    "bridge": "projected",
    "wiring": "late",
    "cell": LSTM,
    "unrolling": Auto(),
    "attention": GeneralAttention,
    "output": Categorical,
}


def make(overrides: dict[str, Any] | None = None) -> EncoderDecoder:
    torch.manual_seed(0)
    model = EncoderDecoder(**{**DEFAULTS, **(overrides or {})})
    # Larger weights than at the start of training, so that differences would show.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def pair() -> tuple[Padded, Padded]:
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(4, 13, (3, 5), generator=generator)
    target = torch.randint(4, 13, (3, 4), generator=generator)
    return Padded(source, torch.tensor([5, 2, 3])), Padded(target, torch.tensor([2, 4, 3]))


CASES = [
    {"wiring": wiring, "attention": ATTENTIONS[attention], "cell": cell}
    for wiring in ("late", "first_layer", "input_feeding")
    for attention in ATTENTIONS
    for cell in (LSTM, GRU)
]


OTHERS: list[dict[str, Any]] = [
    {"bridge": "last"},
    {"bridge": "zero"},
    {"tie": "all"},
    {"cell": partial(ProjectedLSTM, projection_size=3), "wiring": "first_layer"},
    {"stack": StackOptions(zoneout=0.2, zoneout_memory=0.1), "wiring": "first_layer"},
    {"stack": StackOptions(connection="highway", layer_norm=True, bidirectional_layers="first")},
    {"stack": StackOptions(connection="residual", residual_from=3), "num_decoder_layers": 3},
    {"output": partial(Mixture, num_mixtures=2), "tie": "output"},
    {"output": partial(Adaptive, cutoffs=[5])},
]


@pytest.mark.parametrize("overrides", [*CASES, *OTHERS])
def test_forced_run_equals_the_steps_of_a_search(overrides: dict[str, Any]) -> None:
    model = make(overrides)
    source, target = pair()
    readouts, weights = model(source, target)
    logits = model.output.logits(readouts.values)
    state = model.start(source)
    tokens = torch.full((3,), model.bos_id)
    for step in range(target.max_length):
        scores, attention, state = model.step(tokens, state)
        for row, length in enumerate(target.lengths.tolist()):
            if step < length:
                torch.testing.assert_close(scores[row], logits[row, step], rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(attention[row], weights[row, step], rtol=1e-4, atol=1e-5)
        tokens = target.values[:, step]


@pytest.mark.parametrize("overrides", CASES)
def test_a_row_is_the_same_alone_and_in_a_batch(overrides: dict[str, Any]) -> None:
    model = make(overrides)
    source, target = pair()
    together, _ = model(source, target)
    for row in range(3):
        one_source, one_target = (
            Padded.from_list([side.to_list()[row]]) for side in (source, target)
        )
        alone, _ = model(one_source, one_target)
        length = int(target.lengths[row])
        torch.testing.assert_close(
            together.values[row, :length], alone.values[0], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("search", [GreedySearch(), BeamSearch(beam_size=3)])
@pytest.mark.parametrize("wiring", ["late", "first_layer", "input_feeding"])
def test_a_search_answers_alone_as_in_a_batch_of_64(search: Any, wiring: str) -> None:
    model = make({"wiring": wiring, "unrolling": Dynamic()})
    generator = torch.Generator().manual_seed(3)
    rows = [
        torch.randint(4, 13, (int(length),), generator=generator)
        for length in torch.randint(1, 9, (64,), generator=generator)
    ]
    together = search(model, Padded.from_list(rows))
    for number in range(0, 64, 7):
        alone = search(model, Padded.from_list([rows[number]]))
        assert [h.tokens for h in alone[0]] == [h.tokens for h in together[number]]


def test_an_empty_source_row_is_legal() -> None:
    model = make()
    source, target = pair()
    source = Padded(source.values, torch.tensor([5, 0, 3]))
    readouts, _ = model(source, target)
    assert not readouts.values.isnan().any()


def test_scheduled_sampling_of_nothing_and_of_everything() -> None:
    model = make()
    source, target = pair()
    forced, _ = model(source, target)
    sampled, _ = model(source, target, sampling=1e-12)
    mask = target.mask()
    torch.testing.assert_close(sampled.values[mask], forced.values[mask], rtol=1e-4, atol=1e-5)
    own, _ = model(source, target, sampling=1.0)
    state, tokens = model.start(source), torch.full((3,), model.bos_id)
    for step in range(target.max_length):
        logits, _, state = model.step(tokens, state)
        torch.testing.assert_close(
            model.output.logits(own.values[:, step]), logits, rtol=1e-4, atol=1e-5
        )
        tokens = logits.argmax(-1)


def test_noise_is_one_for_all_steps_of_a_sequence() -> None:
    """A decoder that is trained step by step draws its noise once, as one that runs at once."""
    stack = StackOptions(recurrent_dropout=0.5, weight_drop=0.5)
    model = make({"stack": stack, "wiring": "input_feeding", "hidden_size": 64}).train()
    same = torch.zeros(200, 1, dtype=torch.int64) + 4
    source, target = (Padded(same.expand(200, n), torch.full((200,), n)) for n in (1, 3))
    drawn = model._for_sequence(200)
    state = model.start(source)
    first = drawn._step(model.target_embedding(target.values[:, 0]), state)[0]
    again = drawn._step(model.target_embedding(target.values[:, 0]), state)[0]
    other = model._step(model.target_embedding(target.values[:, 0]), state)[0]
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    readouts, _ = model(source, target)
    readouts.values.sum().backward()
    assert all(p.grad is not None for p in model.lower.parameters())


def test_gradients_reach_every_parameter() -> None:
    for wiring in ("late", "first_layer", "input_feeding"):
        model = make({"wiring": wiring}).train()
        source, target = pair()
        readouts, _ = model(source, target)
        mask = target.mask()
        model.output.loss(readouts.values[mask], target.values[mask]).loss.backward()
        missing = [
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is None or not bool(parameter.grad.abs().sum() > 0)
        ]
        assert missing == []


@pytest.mark.parametrize(
    ("overrides", "instead"),
    [
        ({"wiring": "early"}, "late, first_layer, input_feeding"),
        ({"tie": "some"}, "none, output, all"),
        ({"tie": "all", "shared_vocabulary": False}, "tokenizer.shared=true"),
        ({"hidden_size": 7}, "even number"),
        ({"attention": None, "bridge": "zero"}, "projected"),
        ({"bridge": "around"}, "zero, last, projected"),
        ({"bridge": "last", "num_decoder_layers": 3}, "projected"),
    ],
)
def test_what_cannot_be_is_said(overrides: dict[str, Any], instead: str) -> None:
    with pytest.raises(ConfigError, match=instead):
        make(overrides)
