"""Convolutional cells: their papers' equations, maps of any size, and a 1 x 1 map is a vector."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from seqloom.cells import Cell, ConvGRU, ConvLSTM
from seqloom.cells.noise import Noise
from seqloom.errors import ConfigError
from seqloom.sequences import Padded
from seqloom.unrolling import Auto, Dynamic, Scan, Static

Recipe = Callable[..., Cell]

every_cell = pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(ConvLSTM, id="lstm"),
        pytest.param(lambda **sizes: ConvLSTM(**sizes, peephole=True), id="peephole"),
        pytest.param(ConvGRU, id="gru"),
    ],
)


def make(recipe: Recipe) -> Cell:
    """A cell of 2 input and 3 hidden channels, whose parameters all differ from their starts."""
    torch.manual_seed(0)
    cell = recipe(input_size=2, hidden_size=3).double()
    for parameter in cell.parameters():
        parameter.detach().add_(0.1 * torch.randn_like(parameter))
    return cell


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


@every_cell
def test_every_loop_gives_the_same_numbers(recipe: Recipe) -> None:
    cell = make(recipe)
    values = maps(3, 4, 2, 5, 6).requires_grad_()
    inputs = Padded(values, torch.tensor([2, 0, 4]))
    state = tuple(part + 0.5 for part in cell.initial_state(values, 3))
    answers = []
    for unrolling in (Dynamic(), Static(num_steps=5), Auto()):
        outputs, final = unrolling(cell, inputs, state)
        assert outputs.values.shape == (3, 4, 3, 5, 6)
        assert bool((outputs.values[0, 2:] == 0).all())
        torch.testing.assert_close([part[1] for part in final], [part[1] for part in state])
        loss = outputs.values.sin().sum() + sum(part.cos().sum() for part in final)
        grads = torch.autograd.grad(loss, [values, *cell.parameters()])
        answers.append([outputs.values, *final, *grads])
    torch.testing.assert_close(answers[0], answers[1])
    torch.testing.assert_close(answers[0], answers[2])


@every_cell
def test_states_take_the_size_of_the_maps(recipe: Recipe) -> None:
    cell = recipe(input_size=2, hidden_size=3)
    for like in (torch.zeros(4, 7, 2, 5, 6), torch.zeros(4, 2, 5, 6, dtype=torch.bfloat16)):
        state = cell.initial_state(like, 4)
        assert [tuple(part.shape) for part in state] == [(4, 3, 5, 6)] * len(cell.state_sizes)
        assert {part.dtype for part in state} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, new = cell.step(cell.project(torch.randn(4, 2, 5, 6)), state)
    assert {part.dtype for part in (output, *new)} == {torch.float32}


@torch.no_grad()
@pytest.mark.parametrize("peephole", [False, True])
def test_conv_lstm_is_its_equations(peephole: bool) -> None:
    cell = make(lambda **sizes: ConvLSTM(**sizes, peephole=peephole))
    x, hidden, memory = maps(2, 2, 5, 6), maps(2, 3, 5, 6), maps(2, 3, 5, 6)
    output, new = cell.step(cell.project(x), (hidden, memory))
    blocks = zip(
        cell.weight_ih.chunk(4), cell.weight_hh.chunk(4), cell.bias_ih.chunk(4), strict=True
    )
    i, f, n, o = (
        F.conv2d(x, w, b, padding=1) + F.conv2d(hidden, u, padding=1) for w, u, b in blocks
    )
    w_i, w_f, w_o = cell.weight_peephole if peephole else torch.zeros(3, 3, 1, 1)
    c = (f + w_f * memory).sigmoid() * memory + (i + w_i * memory).sigmoid() * n.tanh()
    h = (o + w_o * c).sigmoid() * c.tanh()
    torch.testing.assert_close([output, *new], [h, h, c])


@torch.no_grad()
def test_conv_gru_is_its_equations() -> None:
    cell = make(ConvGRU)
    x, hidden = maps(2, 2, 5, 6), maps(2, 3, 5, 6)
    output, new = cell.step(cell.project(x), (hidden,))
    z, r, n = F.conv2d(x, cell.weight_ih, cell.bias_ih, padding=1).chunk(3, dim=1)
    u_z, u_r, u_n = cell.weight_hh.chunk(3)
    z = (z + F.conv2d(hidden, u_z, padding=1)).sigmoid()
    r = (r + F.conv2d(hidden, u_r, padding=1)).sigmoid()
    n = (n + F.conv2d(r * hidden, u_n, padding=1)).tanh()
    h = (1 - z) * hidden + z * n
    torch.testing.assert_close([output, *new], [h, h])


@torch.no_grad()
def test_a_map_of_one_place_is_an_lstm() -> None:
    cell = make(lambda **sizes: ConvLSTM(**sizes, kernel_size=1))
    module = torch.nn.LSTMCell(2, 3, dtype=torch.float64)
    module.weight_ih.copy_(cell.weight_ih[:, :, 0, 0])
    module.weight_hh.copy_(cell.weight_hh[:, :, 0, 0])
    module.bias_ih.copy_(cell.bias_ih)
    module.bias_hh.zero_()
    x, hidden, memory = maps(4, 2, 1, 1), maps(4, 3, 1, 1), maps(4, 3, 1, 1)
    expected = module(x[..., 0, 0], (hidden[..., 0, 0], memory[..., 0, 0]))
    _, new = cell.step(cell.project(x), (hidden, memory))
    torch.testing.assert_close([part[..., 0, 0] for part in new], list(expected))


@every_cell
def test_recurrent_noise_acts_on_whole_channels(recipe: Recipe) -> None:
    cell = make(recipe)
    noisy = cell.for_sequence(Noise(recurrent_dropout=0.5, weight_drop=0.5), 2)
    seen = noisy.read(torch.ones(2, 3, 5, 6, dtype=torch.float64))
    torch.testing.assert_close(seen, seen[:, :, :1, :1].expand_as(seen))
    for name in cell.recurrent_weights:
        assert bool((getattr(noisy, name) == 0).any())
        assert not bool((getattr(cell, name) == 0).any())


def test_what_is_refused() -> None:
    for recipe in (ConvLSTM, ConvGRU):
        with pytest.raises(ConfigError, match="kernel_size=2"):
            recipe(input_size=2, hidden_size=3, kernel_size=2)
    cell = ConvGRU(input_size=2, hidden_size=3)
    inputs = Padded(torch.zeros(1, 2, 2, 4, 4), torch.tensor([2]))
    with pytest.raises(ConfigError, match="dynamic, static or auto"):
        Scan()(cell, inputs, cell.initial_state(inputs.values, 1))
