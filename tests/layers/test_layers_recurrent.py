"""Layers and stacks: two directions are two runs, steps are the whole for every cell and option,
connections are the papers' formulas, sizes are the cells' own."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from seqloom.cells import GRU, LSTM, RNN, ProjectedLSTM
from seqloom.cells.noise import Noise
from seqloom.errors import ConfigError
from seqloom.layers.bridge import Bridge
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.recurrent import (
    RecurrentLayer,
    RecurrentStack,
    StackOptions,
    stack_of_layers,
)
from seqloom.sequences import Padded
from seqloom.unrolling import Auto, Dynamic

PROJECTED = partial(ProjectedLSTM, projection_size=2)
PLAIN = StackOptions()


def make_layer(
    input_size: int, output_size: int, *, cell: Any = LSTM, bidirectional: bool = False
) -> RecurrentLayer:
    return RecurrentLayer(
        cell=cell,
        unrolling=Auto(),
        input_size=input_size,
        output_size=output_size,
        bidirectional=bidirectional,
    )


def make_stack(
    options: StackOptions = PLAIN, *, num_layers: int = 3, dropout: float = 0.0, **more: Any
) -> RecurrentStack:
    arguments: dict[str, Any] = {"cell": LSTM, "unrolling": Auto(), "output_size": 4, **more}
    drop = SequenceDropout(probability=dropout, locked=False)
    torch.manual_seed(0)
    return stack_of_layers(3, num_layers, dropout=drop, options=options, **arguments)


def batch(*lengths: int, size: int = 3) -> Padded:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(len(lengths), max(lengths), size, generator=generator)
    return Padded(values, torch.tensor(lengths))


@pytest.mark.parametrize("cell", [LSTM, GRU, RNN, PROJECTED])
def test_two_directions_are_two_runs(cell: Any) -> None:
    layer = make_layer(3, 8, cell=cell, bidirectional=True)
    inputs = batch(6, 0, 2, 5)
    outputs, final = layer(inputs, layer.initial_state(inputs.values, 4))
    forward, backward = layer.cells
    there, there_final = Auto()(forward, inputs, forward.initial_state(inputs.values, 4))
    back, back_final = Auto()(backward, inputs.reversed(), backward.initial_state(inputs.values, 4))
    half = layer.output_size // 2
    assert torch.equal(outputs.values[..., :half], there.values)
    assert torch.equal(outputs.values[..., half:], back.reversed().values)
    for size, part, one, other in zip(
        layer.state_sizes, final, there_final, back_final, strict=True
    ):
        assert torch.equal(part, torch.cat([one, other], dim=1))
        assert part.shape == (4, size)


def test_a_cell_with_another_output_size_is_read_as_it_is() -> None:
    stack = make_stack(cell=PROJECTED, bidirectional=True, output_size=8)
    assert [layer.input_size for layer in stack.layers] == [3, 4, 4]
    assert stack.output_size == 4
    assert stack.state_sizes == [(4, 8)] * 3
    outputs, _ = stack(batch(4, 2), stack.initial_states(torch.empty(0), 2))
    assert outputs.values.shape == (2, 4, 4)


OPTIONS = [
    PLAIN,
    StackOptions(connection="residual"),
    StackOptions(connection="highway", layer_norm=True),
    StackOptions(connection="residual", residual_from=3),
    StackOptions(zoneout=0.3, zoneout_memory=0.1, recurrent_dropout=0.5, weight_drop=0.5),
]


@pytest.mark.parametrize("cell", [LSTM, GRU, RNN, PROJECTED])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_equal_the_whole(options: StackOptions, cell: Any) -> None:
    stack = make_stack(options, cell=cell, side_size=2).eval()
    inputs, side = batch(4, 4), torch.randn(2, 4, 2)
    whole, finals = stack(inputs, stack.initial_states(inputs.values, 2), side=side)
    states = stack.initial_states(inputs.values, 2)
    for step in range(4):
        output, states = stack.step(inputs.values[:, step], states, side=side[:, step])
        torch.testing.assert_close(output, whole.values[:, step])
    for state, final in zip(states, finals, strict=True):
        for one, other in zip(state, final, strict=True):
            torch.testing.assert_close(one, other)


def test_noise_that_is_drawn_for_a_sequence_is_the_same_at_each_of_its_steps() -> None:
    """In training: the steps of a drawn stack are the whole of that same drawn stack."""
    options = StackOptions(recurrent_dropout=0.5, weight_drop=0.5, connection="residual")
    stack = make_stack(options)
    drawn = stack.for_sequence(2)
    inputs = batch(5, 5)
    whole, _ = drawn(inputs, drawn.initial_states(inputs.values, 2))
    states = drawn.initial_states(inputs.values, 2)
    for step in range(5):
        output, states = drawn.step(inputs.values[:, step], states)
        torch.testing.assert_close(output, whole.values[:, step])
    other, _ = stack(inputs, stack.initial_states(inputs.values, 2))
    assert not torch.allclose(whole.values, other.values)
    assert [name for name, _ in stack.named_parameters()] == [
        name for name, _ in make_stack().named_parameters()
    ]


def below_and_plain(stack: RecurrentStack, inputs: Padded) -> list[torch.Tensor]:
    """What each layer gives by itself, fed with what the (connected) one below it gave."""
    states = stack.initial_states(inputs.values, inputs.batch_size)
    given, read = [], inputs
    for number, (layer, state) in enumerate(zip(stack.layers, states, strict=True), start=1):
        outputs, _ = layer(read, state)
        given.append(outputs.values)
        if stack.options.connection == "residual" and number >= stack.options.residual_from:
            outputs = outputs.with_values(outputs.values + read.values)
        elif stack.options.connection == "highway" and number >= stack.options.residual_from:
            linear = stack.gates[str(number)]
            gate = torch.sigmoid(F.linear(read.values, linear.weight, linear.bias))
            mixed = gate * outputs.values + (1 - gate) * read.values
            outputs = outputs.with_values(mixed)
        read = outputs
    return [*given, read.values]


@pytest.mark.parametrize("connection", ["residual", "highway"])
@pytest.mark.parametrize("residual_from", [2, 3])
def test_connections_are_the_formulas(connection: str, residual_from: int) -> None:
    stack = make_stack(StackOptions(connection=connection, residual_from=residual_from))
    inputs = batch(4, 2)
    outputs, _ = stack(inputs, stack.initial_states(inputs.values, 2))
    *given, expected = below_and_plain(stack, inputs)
    torch.testing.assert_close(outputs.values, expected)
    assert not torch.allclose(outputs.values, given[-1])
    assert not outputs.values[1, 2:].any()


def test_a_first_layer_with_a_connection_leaves_padding_zero() -> None:
    stack = make_stack(StackOptions(connection="residual", residual_from=1), output_size=3)
    inputs = batch(4, 2)
    outputs, _ = stack(inputs, stack.initial_states(inputs.values, 2))
    assert not outputs.values[1, 2:].any()
    plain = make_stack(output_size=3, num_layers=1)
    alone, _ = plain(inputs, plain.initial_states(inputs.values, 2))
    lowest = make_stack(
        StackOptions(connection="residual", residual_from=1), output_size=3, num_layers=1
    )
    connected, _ = lowest(inputs, lowest.initial_states(inputs.values, 2))
    torch.testing.assert_close(connected.values, (alone.values + inputs.zeroed().values))


def test_a_stack_above_another_counts_on_from_it() -> None:
    options = StackOptions(connection="residual", residual_from=3, layer_norm=True)
    upper = make_stack(options, num_layers=2, output_size=3, num_below=1)
    assert set(upper.norms) == {"2", "3"}
    inputs = batch(4, 4)
    outputs, _ = upper(inputs, upper.initial_states(inputs.values, 2))
    states = upper.initial_states(inputs.values, 2)
    second, _ = upper.layers[0](inputs.with_values(F.layer_norm(inputs.values, [3])), states[0])
    third, _ = upper.layers[1](second.with_values(F.layer_norm(second.values, [3])), states[1])
    torch.testing.assert_close(outputs.values, third.values + second.values)


def test_only_the_first_layer_reads_both_ways_when_asked() -> None:
    stack = make_stack(StackOptions(bidirectional_layers="first"), bidirectional=True)
    assert [len(layer.cells) for layer in stack.layers] == [2, 1, 1]
    assert [len(layer.cells) for layer in make_stack(bidirectional=True).layers] == [2, 2, 2]


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ({"connection": "dense"}, "residual or highway"),
        ({"bidirectional_layers": "last"}, "all or first"),
        ({"residual_from": 0}, "1 or more"),
        ({"zoneout": 1.0}, "below 1"),
        ({"weight_drop": -0.1}, "0 or more"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, Any], instead: str) -> None:
    with pytest.raises(ConfigError, match=instead):
        StackOptions(**options)


def test_a_stack_of_no_layers_gives_its_inputs_back_and_has_no_output_size() -> None:
    inputs, stack = batch(4, 2), make_stack(num_layers=0)
    outputs, finals = stack(inputs, [])
    assert outputs is inputs
    assert finals == []
    with pytest.raises(ConfigError, match="1 or more"):
        _ = stack.output_size


def test_a_batch_without_rows_or_without_steps() -> None:
    stack = make_stack(StackOptions(connection="highway", layer_norm=True), bidirectional=True)
    for shape in [(0, 4, 3), (2, 0, 3)]:
        empty = Padded(torch.zeros(shape), torch.zeros(shape[0], dtype=torch.int64))
        outputs, finals = stack(empty, stack.initial_states(empty.values, shape[0]))
        assert outputs.values.shape == (*shape[:2], 4)
        assert len(finals) == 3


def test_states_stay_in_float32_under_autocast() -> None:
    for cell in (LSTM, GRU):
        layer = make_layer(3, 4, cell=cell)
        inputs = batch(3, 1)
        with torch.autocast("cpu", torch.bfloat16):
            _, final = layer(inputs, layer.initial_state(inputs.values, 2))
            _, stepped = layer.step(inputs.values[:, 0], layer.initial_state(inputs.values, 2))
        assert {part.dtype for part in (*final, *stepped)} == {torch.float32}


def test_bridges_fit_layers_of_unlike_states() -> None:
    encoder = make_stack(cell=GRU, bidirectional=True)
    decoder = make_stack(cell=PROJECTED, num_layers=2)
    inputs = batch(4, 0)
    _, finals = encoder(inputs, encoder.initial_states(inputs.values, 2))
    own = [tuple(part + 7 for part in state) for state in decoder.initial_states(inputs.values, 2)]
    sizes = {"encoder_sizes": encoder.state_sizes, "decoder_sizes": decoder.state_sizes}
    zero = Bridge(kind="zero", **sizes)(finals, own)
    assert zero == own
    bridge = Bridge(kind="projected", **sizes)
    states = bridge(finals, own)
    flat = torch.cat([part for state in states for part in state], dim=1)
    torch.testing.assert_close(flat - 7, torch.tanh(bridge.projection(finals[-1][0])))
    assert [tuple(p.shape[1] for p in s) for s in states] == decoder.state_sizes
    with pytest.raises(ConfigError, match="projected"):
        Bridge(kind="last", **sizes)


def test_dynamic_and_fused_agree_on_thinned_weights() -> None:
    """DropConnect leaves a cell whole enough for a vendor's kernel."""
    inputs = batch(5, 3)
    layer = RecurrentLayer(
        cell=LSTM, unrolling=Auto(), input_size=3, output_size=4, noise=Noise(weight_drop=0.5)
    )
    drawn = layer.for_sequence(2)
    state = layer.initial_state(inputs.values, 2)
    by_kernel, _ = drawn(inputs, state)
    by_loop, _ = Dynamic()(drawn.cells[0], inputs, state)
    torch.testing.assert_close(by_kernel.values, by_loop.values)
