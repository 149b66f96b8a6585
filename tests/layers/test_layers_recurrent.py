"""Stacks: two directions are two runs, steps are the whole, residuals and side inputs add up."""

import torch

from seqloom.cells import GRU, LSTM
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.recurrent import RecurrentLayer, RecurrentStack
from seqloom.sequences import Padded
from seqloom.unrolling import Fused


def make_layer(input_size: int, output_size: int, bidirectional: bool = False) -> RecurrentLayer:
    return RecurrentLayer(
        cell=LSTM,
        unrolling=Fused(),
        input_size=input_size,
        output_size=output_size,
        bidirectional=bidirectional,
    )


def make_stack(
    *layers: RecurrentLayer, residual: bool = False, dropout: float = 0.0
) -> RecurrentStack:
    drop = SequenceDropout(probability=dropout, locked=False)
    return RecurrentStack(layers=layers, dropout=drop, residual=residual)


def test_two_directions_are_two_runs() -> None:
    layer = make_layer(3, 8, bidirectional=True)
    inputs = Padded(torch.randn(4, 6, 3), torch.tensor([6, 0, 2, 5]))
    outputs, final = layer(inputs, layer.initial_state(inputs.values, 4))
    forward, backward = layer.cells
    zero = forward.initial_state(inputs.values, 4)
    there, there_final = Fused()(forward, inputs, zero)
    back, back_final = Fused()(backward, inputs.reversed(), zero)
    assert torch.equal(outputs.values[..., :4], there.values)
    assert torch.equal(outputs.values[..., 4:], back.reversed().values)
    for part, one, other in zip(final, there_final, back_final, strict=True):
        assert torch.equal(part, torch.cat([one, other], dim=1))


def test_steps_equal_the_whole_with_residual_and_side_input() -> None:
    stack = make_stack(make_layer(3 + 2, 5), make_layer(5 + 2, 5), residual=True)
    inputs, side = torch.randn(2, 4, 3), torch.randn(2, 4, 2)
    whole, finals = stack(
        Padded(inputs, torch.tensor([4, 4])), stack.initial_states(inputs, 2), side=side
    )
    states = stack.initial_states(inputs, 2)
    for step in range(4):
        output, states = stack.step(inputs[:, step], states, side=side[:, step])
        torch.testing.assert_close(output, whole.values[:, step])
    for state, final in zip(states, finals, strict=True):
        for one, other in zip(state, final, strict=True):
            torch.testing.assert_close(one, other)


def test_residual_adds_what_the_layer_below_gave() -> None:
    layers = make_layer(3, 5), make_layer(5, 5)
    inputs = Padded(torch.randn(2, 4, 3), torch.tensor([4, 2]))
    plain, with_residual = make_stack(*layers), make_stack(*layers, residual=True)
    states = plain.initial_states(inputs.values, 2)
    below, _ = layers[0](inputs, states[0])
    added = with_residual(inputs, states)[0].values - plain(inputs, states)[0].values
    torch.testing.assert_close(added, below.values)


def test_a_stack_of_no_layers_gives_its_inputs_back() -> None:
    inputs = Padded(torch.randn(2, 4, 3), torch.tensor([4, 2]))
    outputs, finals = make_stack()(inputs, [])
    assert outputs is inputs
    assert finals == []


def test_locked_dropout_keeps_one_mask_a_sequence_and_has_the_mean_of_its_input() -> None:
    torch.manual_seed(0)
    values = torch.ones(64, 5, 100)
    locked = SequenceDropout(probability=0.3, locked=True)
    dropped = locked(values)
    assert bool((dropped == dropped[:, :1]).all())
    assert abs(float(dropped.mean()) - 1) < 0.02
    plain = SequenceDropout(probability=0.3, locked=False)(values)
    assert not bool((plain == plain[:, :1]).all())
    assert abs(float(plain.mean()) - 1) < 0.02
    assert torch.equal(locked.eval()(values), values)


def test_states_stay_in_float32_under_autocast() -> None:
    for cell in (LSTM, GRU):
        layer = RecurrentLayer(cell=cell, unrolling=Fused(), input_size=3, output_size=4)
        inputs = Padded(torch.randn(2, 3, 3), torch.tensor([3, 1]))
        with torch.autocast("cpu", torch.bfloat16):
            _, final = layer(inputs, layer.initial_state(inputs.values, 2))
            _, stepped = layer.step(inputs.values[:, 0], layer.initial_state(inputs.values, 2))
        assert {part.dtype for part in (*final, *stepped)} == {torch.float32}
