"""Gated cells: their equations against independent ones, their derivatives, and how they start."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seqloom.cells import (
    GRU,
    LSTM,
    RNN,
    Cell,
    CoupledLSTM,
    GatedCell,
    LayerNormGRU,
    LayerNormLSTM,
    LiGRU,
    PeepholeLSTM,
    ProjectedLSTM,
    ResetBeforeGRU,
    State,
)
from seqloom.cells.noise import Noise
from seqloom.errors import ConfigError

GATED: dict[str, tuple[type[GatedCell], dict[str, Any]]] = {
    "rnn_tanh": (RNN, {}),
    "rnn_relu": (RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}),
    "gru": (GRU, {}),
    "peephole_lstm": (PeepholeLSTM, {}),
    "coupled_lstm": (CoupledLSTM, {}),
    "layer_norm_lstm": (LayerNormLSTM, {}),
    "layer_norm_gru": (LayerNormGRU, {}),
    "li_gru": (LiGRU, {}),
}
INPUT_SIZE, HIDDEN_SIZE = 3, 5
every_gated = pytest.mark.parametrize("name", GATED)


def moved(cell: Cell) -> Cell:
    """In float64, with every parameter away from its start, so that none is zero or one."""
    cell = cell.double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


def make_gated(name: str) -> GatedCell:
    torch.manual_seed(0)
    cell_class, options = GATED[name]
    sizes = {"input_size": INPUT_SIZE, "hidden_size": HIDDEN_SIZE}
    cell = moved(cell_class(**sizes, **options))  # type: ignore[arg-type]
    assert isinstance(cell, GatedCell)
    return cell


def make_state(cell: Cell, num_rows: int) -> State:
    return tuple(torch.randn(num_rows, size, dtype=torch.float64) for size in cell.state_sizes)


def layer_norm(values: Tensor, gain: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    mean = values.mean(dim=-1, keepdim=True)
    variance = (values - mean).square().mean(dim=-1, keepdim=True)
    return (values - mean) / (variance + 1e-5).sqrt() * gain + bias


def expected_step(cell: Any, x: Tensor, state: State) -> State:
    """One step as the papers write it, gate by gate."""
    h, c = state[0], state[-1]
    size = cell.hidden_size
    name = type(cell).__name__
    u = h @ cell.weight_hh.T
    if getattr(cell, "bias_hh", None) is not None:
        u = u + cell.bias_hh
    w = x @ cell.weight_ih.T
    if name == "LayerNormLSTM":
        w, u = layer_norm(w, cell.gain_ih, cell.bias_ih), layer_norm(u, cell.gain_hh)
    elif name in ("LayerNormGRU", "LiGRU"):
        sizes = [2 * size, size] if name == "LayerNormGRU" else [size, size]
        gains = cell.gain_ih.split(sizes)
        parts = zip(w.split(sizes, dim=-1), gains, strict=True)
        w = torch.cat([layer_norm(*part) for part in parts], dim=-1) + cell.bias_ih
        if name == "LayerNormGRU":
            parts = zip(u.split(sizes, dim=-1), cell.gain_hh.split(sizes), strict=True)
            u = torch.cat([layer_norm(*part) for part in parts], dim=-1)
    else:
        w = w + cell.bias_ih
    if name == "RNN":
        return (torch.tanh(w + u) if cell.nonlinearity == "tanh" else F.relu(w + u),)
    ws, us = w.split(size, dim=-1), u.split(size, dim=-1)
    gates = [one + other for one, other in zip(ws, us, strict=True)]
    if name == "LiGRU":
        z, n = gates[0].sigmoid(), F.relu(gates[1])
        return ((1 - z) * n + z * h,)
    if name in ("GRU", "LayerNormGRU"):
        r, z = gates[0].sigmoid(), gates[1].sigmoid()
        n = torch.tanh(ws[2] + r * us[2])
        return ((1 - z) * n + z * h,)
    if name == "CoupledLSTM":
        i, g, o = gates[0].sigmoid(), gates[1].tanh(), gates[2].sigmoid()
        c = (1 - i) * c + i * g
        return (o * c.tanh(), c)
    p_i, p_f, p_o = cell.weight_ch.chunk(3) if name == "PeepholeLSTM" else (0.0, 0.0, 0.0)
    i, f, g = (gates[0] + p_i * c).sigmoid(), (gates[1] + p_f * c).sigmoid(), gates[2].tanh()
    c = f * c + i * g
    read = layer_norm(c, cell.gain_c, cell.bias_c) if name == "LayerNormLSTM" else c
    return ((gates[3] + p_o * c).sigmoid() * read.tanh(), c)


@every_gated
def test_a_step_is_what_the_paper_says(name: str) -> None:
    cell = make_gated(name)
    x, state = torch.randn(4, INPUT_SIZE, dtype=torch.float64), make_state(cell, 4)
    output, new = cell.step(cell.project(x), state)
    theirs = expected_step(cell, x, state)
    assert output is new[0]
    assert len(new) == len(theirs)
    for ours, other in zip(new, theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-12, atol=1e-12)


@every_gated
def test_a_steps_derivative_is_right(name: str) -> None:
    cell = make_gated(name)
    state = tuple(part.requires_grad_() for part in make_state(cell, 3))
    x = torch.randn(3, INPUT_SIZE, dtype=torch.float64, requires_grad=True)

    def step(x: Tensor, *parts: Tensor) -> State:
        return cell.step(cell.project(x), parts)[1]

    assert torch.autograd.gradcheck(step, (x, *state))


@every_gated
@pytest.mark.parametrize("num_rows", [0, 1, 4])
def test_the_written_derivative_of_the_gates_is_autograds(name: str, num_rows: int) -> None:
    cell = make_gated(name)
    state = tuple(part.requires_grad_() for part in make_state(cell, num_rows))
    x = torch.randn(num_rows, INPUT_SIZE, dtype=torch.float64)
    projected = cell.project(x).detach().requires_grad_()
    recurrent = F.linear(state[0], cell.weight_hh, cell.bias_hh).detach().requires_grad_()
    parameters = [cell.get_parameter(name) for name in cell.gate_parameters]

    new, saved = cell.gate(projected, recurrent, state)
    grads = tuple(torch.randn_like(part) for part in new)
    sources = [projected, recurrent, *state, *parameters]
    theirs = torch.autograd.grad(new, sources, grads, allow_unused=True)
    with torch.no_grad():
        by_projected, by_recurrent, by_state, by_parameters = cell.gate_backward(
            tuple(tensor.detach() for tensor in saved),
            tuple(part.detach() for part in state),
            grads,
        )
    ours = [by_projected, by_recurrent, *by_state, *by_parameters]
    assert len(ours) == len(theirs)
    for source, one, other in zip(sources, ours, theirs, strict=True):
        expected = torch.zeros_like(source) if other is None else other
        torch.testing.assert_close(one, expected, rtol=1e-10, atol=1e-12)


def test_reset_before_the_matrix() -> None:
    torch.manual_seed(0)
    cell: Any = moved(ResetBeforeGRU(input_size=INPUT_SIZE, hidden_size=HIDDEN_SIZE))
    x, (h,) = torch.randn(4, INPUT_SIZE, dtype=torch.float64), make_state(cell, 4)
    w_r, w_z, w_n = (x @ cell.weight_ih.T + cell.bias_ih).chunk(3, dim=-1)
    u_r, u_z, u_n = cell.weight_hh.chunk(3)
    r, z = (w_r + h @ u_r.T).sigmoid(), (w_z + h @ u_z.T).sigmoid()
    n = torch.tanh(w_n + (r * h) @ u_n.T)
    output, _ = cell.step(cell.project(x), (h,))
    torch.testing.assert_close(output, (1 - z) * n + z * h)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_projected_lstm_carries_its_projection() -> None:
    torch.manual_seed(0)
    cell = ProjectedLSTM(input_size=INPUT_SIZE, hidden_size=HIDDEN_SIZE, projection_size=2)
    module = torch.nn.LSTM(INPUT_SIZE, HIDDEN_SIZE, proj_size=2)
    module.load_state_dict({f"{key}_l0": value for key, value in cell.state_dict().items()})
    assert (cell.output_size, cell.state_sizes) == (2, (2, HIDDEN_SIZE))
    x, state = torch.randn(4, INPUT_SIZE), (torch.randn(4, 2), torch.randn(4, HIDDEN_SIZE))
    output, new = cell.step(cell.project(x), state)
    _, theirs = module(x[None], tuple(part[None] for part in state))
    assert output is new[0]
    torch.testing.assert_close(new, tuple(part[0] for part in theirs))
    for projection_size in (0, HIDDEN_SIZE):
        with pytest.raises(ConfigError, match="projection_size"):
            ProjectedLSTM(input_size=1, hidden_size=HIDDEN_SIZE, projection_size=projection_size)


RECURRENT = [RNN, LSTM, GRU, ResetBeforeGRU, LiGRU, CoupledLSTM, PeepholeLSTM, LayerNormGRU]


@pytest.mark.parametrize("cell_class", RECURRENT)
def test_recurrent_matrices_start_as_asked(cell_class: Any) -> None:
    for init in ("orthogonal", "identity", "uniform"):
        cell = cell_class(input_size=3, hidden_size=8, recurrent_init=init)
        for block in cell.weight_hh.detach().split(8):
            if init == "orthogonal":
                torch.testing.assert_close(block @ block.T, torch.eye(8), atol=1e-5, rtol=0)
            elif init == "identity":
                assert torch.equal(block, torch.eye(8))
            else:
                assert block.abs().max() <= 1 / math.sqrt(8)
                assert block.std() > 0.5 / math.sqrt(3 * 8)
    with pytest.raises(ConfigError, match="orthogonal, uniform, identity"):
        cell_class(input_size=3, hidden_size=8, recurrent_init="zero")


def test_an_unknown_nonlinearity_is_refused() -> None:
    with pytest.raises(ConfigError, match="tanh or relu"):
        RNN(input_size=1, hidden_size=1, nonlinearity="sine")


# Which block of `bias_ih` keeps memory, and which writes it (with its sign).
BLOCKS = [
    (LSTM, 4, 1, 0),
    (PeepholeLSTM, 4, 1, 0),
    (LayerNormLSTM, 4, 1, 0),
    (GRU, 3, 1, None),
    (ResetBeforeGRU, 3, 1, None),
    (LayerNormGRU, 3, 1, None),
    (LiGRU, 2, 0, None),
]


@pytest.mark.parametrize(("cell_class", "num_blocks", "keeps", "writes"), BLOCKS)
def test_memory_starts_as_asked(
    cell_class: Any, num_blocks: int, keeps: int, writes: int | None
) -> None:
    cell = cell_class(input_size=3, hidden_size=64, forget_bias=2.5)
    blocks = cell.bias_ih.detach().chunk(num_blocks)
    for number, block in enumerate(blocks):
        assert torch.equal(block, torch.full((64,), 2.5 if number == keeps else 0.0))
    cell = cell_class(input_size=3, hidden_size=64, chrono_max_steps=100)
    blocks = cell.bias_ih.detach().chunk(num_blocks)
    spans = blocks[keeps].exp()
    assert 1 <= spans.min() < 20
    assert 80 < spans.max() <= 99
    if writes is not None:
        assert torch.equal(blocks[writes], -blocks[keeps])
    with pytest.raises(ConfigError, match="chrono_max_steps=2"):
        cell_class(input_size=3, hidden_size=4, chrono_max_steps=2)


def test_coupled_gates_forget_by_what_they_write() -> None:
    cell = CoupledLSTM(input_size=3, hidden_size=64, forget_bias=2.0)
    assert torch.equal(cell.bias_ih.detach()[:64], torch.full((64,), -2.0))
    cell = CoupledLSTM(input_size=3, hidden_size=64, chrono_max_steps=100)
    spans = cell.bias_ih.detach()[:64].neg().exp()
    assert 1 <= spans.min() < spans.max() <= 99


@pytest.mark.parametrize("cell_class", [LSTM, GRU, ResetBeforeGRU, PeepholeLSTM])
def test_dropped_weights_are_seen_through_a_mask(cell_class: Any) -> None:
    torch.manual_seed(0)
    cell = cell_class(input_size=3, hidden_size=16)
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    torch.manual_seed(1)
    noisy = cell.for_sequence(Noise(weight_drop=0.5), batch_size=4)
    thinned = noisy.weight_hh
    kept = thinned != 0
    assert 0.3 < kept.double().mean() < 0.7
    assert torch.equal(thinned[kept], 2 * cell.weight_hh[kept])
    state = cell.initial_state(torch.empty(4, 3), 4)
    state = tuple(torch.randn_like(part) for part in state)
    output, _ = noisy.step(noisy.project(torch.randn(4, 3)), state)
    output.sum().backward()
    assert list(dict(cell.named_parameters())) == [n for n in before if "mask" not in n]
    for name, value in cell.state_dict().items():
        assert torch.equal(value, before[name])
    grad = cell.weight_hh.grad
    assert grad is not None
    assert torch.equal(grad != 0, kept)
    assert cell.for_sequence(Noise(), batch_size=4) is cell
    assert torch.equal(
        cell.eval().for_sequence(Noise(weight_drop=0.5), 4).weight_hh, cell.weight_hh
    )
