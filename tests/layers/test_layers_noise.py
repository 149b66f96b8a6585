"""Noise has the expectation that its paper states, and is off in evaluation.

Expectations are means over many rows or draws; tolerances are five standard errors or more.
"""

from typing import Any

import pytest
import torch

from seqloom.cells import GRU, LSTM, Cell, MinGRU
from seqloom.cells.noise import Noise
from seqloom.errors import ConfigError
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.recurrent import RecurrentLayer
from seqloom.sequences import Padded
from seqloom.unrolling import Auto, Dynamic

ROWS = 20_000


def layer_with(noise: Noise, cell: Any = LSTM) -> RecurrentLayer:
    torch.manual_seed(0)
    return RecurrentLayer(cell=cell, unrolling=Auto(), input_size=3, output_size=4, noise=noise)


def cell_of(layer: RecurrentLayer) -> Cell:
    cell = layer.cells[0]
    assert isinstance(cell, Cell)
    return cell


def one_step(cell: Any) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The same inputs and state in every row."""
    sizes = cell(input_size=3, hidden_size=4).state_sizes
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(1, 3, generator=generator).expand(ROWS, 3)
    state = tuple(torch.randn(1, s, generator=generator).expand(ROWS, s) for s in sizes)
    return inputs, state


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_zoneout_keeps_old_elements_at_its_rate_and_is_its_expectation_in_evaluation(
    cell: Any,
) -> None:
    """Krueger et al. 2017: E[state] = rate * old + (1 - rate) * new."""
    layer = layer_with(Noise(zoneout=0.3, zoneout_memory=0.1), cell)
    inputs, old = one_step(cell)
    plain = cell_of(layer)
    _, new = plain.step(plain.project(inputs), old)
    output, noisy = layer.step(inputs, old)
    assert torch.equal(output, noisy[0])
    expected = []
    for rate, before, after, part in zip((0.3, 0.1), old, new, noisy, strict=False):
        kept = torch.isclose(part, before)
        assert bool((kept | torch.isclose(part, after)).all())
        assert abs(float(kept.float().mean()) - rate) < 0.01
        assert len({tuple(row) for row in kept[:50].tolist()}) > 1
        expected.append(rate * before + (1 - rate) * after)
        torch.testing.assert_close(part.mean(0), expected[-1][0], rtol=0.0, atol=0.03)
    output, deterministic = layer.eval().step(inputs, old)
    torch.testing.assert_close(deterministic, tuple(expected))
    assert torch.equal(output, deterministic[0])


def test_zoneout_acts_at_every_step_of_a_sequence() -> None:
    """With a rate near 1 the first state nearly stays; masks are new at each step."""
    layer = layer_with(Noise(zoneout=0.5))
    inputs = Padded(torch.randn(1, 30, 3), torch.tensor([30]))
    outputs, _ = layer(inputs, layer.initial_state(inputs.values, 1))
    kept = torch.isclose(outputs.values[0, 1:], outputs.values[0, :-1])
    assert 0.3 < float(kept.float().mean()) < 0.7
    assert bool((kept[1:] != kept[:-1]).any())


def test_recurrent_dropout_has_the_expectation_of_no_dropout_before_the_gates() -> None:
    layer = layer_with(Noise(recurrent_dropout=0.4))
    drawn = cell_of(layer.for_sequence(ROWS))
    hidden = torch.randn(1, 4).expand(ROWS, 4)
    read = drawn.read(hidden)
    dropped = read == 0
    assert abs(float(dropped.float().mean()) - 0.4) < 0.02
    torch.testing.assert_close(read[~dropped], (hidden / 0.6)[~dropped])
    torch.testing.assert_close(read.mean(0), hidden[0], rtol=0.0, atol=0.05)
    # The same features at every step of a row (Gal and Ghahramani 2016).
    assert torch.equal(drawn.read(torch.ones(ROWS, 4)) == 0, dropped)


def test_recurrent_dropout_differs_by_row_whatever_their_order() -> None:
    """Rows are sorted by length inside an unrolling; none of them reads without its mask."""
    layer = layer_with(Noise(recurrent_dropout=0.5))
    inputs = Padded(torch.randn(1, 6, 3).expand(40, 6, 3), torch.tensor([2, 6] * 20))
    outputs, _ = layer(inputs, layer.initial_state(inputs.values, 40))
    second = outputs.values[:, 1]
    assert len({tuple(row) for row in second.tolist()}) > 8
    assert torch.equal(outputs.values[:, 0], outputs.values[:1, 0].expand(40, 4))


def test_dropconnect_has_the_expectation_of_the_weight_and_leaves_the_module_alone() -> None:
    layer = layer_with(Noise(weight_drop=0.25))
    cell = cell_of(layer)
    names, weight = list(layer.state_dict()), cell.weight_hh
    before = weight.detach().clone()
    draws = [cell_of(layer.for_sequence(1)).weight_hh.detach() for _ in range(2000)]
    mean = torch.stack(draws).mean(0)
    torch.testing.assert_close(mean, before, rtol=0.0, atol=0.1)
    dropped = torch.stack(draws) == 0
    assert abs(float(dropped.float().mean()) - 0.25) < 0.01
    assert list(layer.state_dict()) == names
    assert cell.weight_hh is weight
    assert torch.equal(weight, before)
    assert isinstance(weight, torch.nn.Parameter)


def test_gradients_reach_the_raw_weight_through_the_mask_of_dropconnect() -> None:
    layer = layer_with(Noise(weight_drop=0.5))
    drawn = layer.for_sequence(2)
    inputs = Padded(torch.randn(2, 5, 3), torch.tensor([5, 3]))
    outputs, _ = drawn(inputs, drawn.initial_state(inputs.values, 2))
    outputs.values.square().sum().backward()
    gradient = cell_of(layer).weight_hh.grad
    assert gradient is not None
    thinned = cell_of(drawn).weight_hh.detach() == 0
    assert bool((gradient[thinned] == 0).all())
    assert bool((gradient[~thinned] != 0).all())


@pytest.mark.parametrize(
    "noise", [Noise(recurrent_dropout=0.5), Noise(weight_drop=0.5), Noise(zoneout=0.5)], ids=str
)
def test_evaluation_is_deterministic(noise: Noise) -> None:
    layer = layer_with(noise).eval()
    inputs = Padded(torch.randn(3, 5, 3), torch.tensor([5, 0, 2]))
    state = layer.initial_state(inputs.values, 3)
    once, twice = layer(inputs, state)[0].values, layer(inputs, state)[0].values
    assert torch.equal(once, twice)
    plain, _ = Dynamic()(cell_of(layer), inputs, state)
    assert torch.allclose(once, plain.values) == (noise.zoneout == 0)


@pytest.mark.parametrize("shape", [(400, 5, 50), (400, 5, 10, 2, 3)])
def test_locked_dropout_keeps_one_mask_a_sequence_and_has_the_mean_of_its_input(
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    values = torch.ones(shape)
    locked = SequenceDropout(probability=0.3, locked=True)
    dropped = locked(values)
    assert bool((dropped == dropped[:, :1]).all())
    assert not bool((dropped == dropped[:1]).all())
    assert abs(float(dropped.mean()) - 1) < 0.1
    plain = SequenceDropout(probability=0.3, locked=False)(values)
    assert not bool((plain == plain[:, :1]).all())
    assert abs(float(plain.mean()) - 1) < 0.02
    assert torch.equal(locked.eval()(values), values)


def test_locked_dropout_of_a_single_step_draws_its_own_mask() -> None:
    torch.manual_seed(0)
    step = SequenceDropout(probability=0.5, locked=True)(torch.ones(1000, 8))
    assert abs(float((step == 0).float().mean()) - 0.5) < 0.05
    assert not bool((step == step[:1]).all())


def test_noise_in_matrices_that_a_cell_does_not_have_is_refused() -> None:
    cell = MinGRU(input_size=2, hidden_size=3)
    for noise in (Noise(recurrent_dropout=0.5), Noise(weight_drop=0.5)):
        with pytest.raises(ConfigError, match="MinGRU has no recurrent matrices"):
            cell.for_sequence(noise, 4)
    assert cell.for_sequence(Noise(zoneout=0.1), 4).noise == Noise(zoneout=0.1)
