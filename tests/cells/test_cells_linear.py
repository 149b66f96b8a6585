"""Cells with a linear recurrence or exponential gates compute their papers' equations, in every
form: by the step, by the scan, and written out here."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells import (
    LRU,
    MLSTM,
    QRNN,
    SLSTM,
    SRU,
    Cell,
    IndRNN,
    MinGRU,
    MinLSTM,
    ScanCell,
    linear_recurrence,
)
from seqloom.cells.linear_recurrence import linear_scan
from seqloom.cells.noise import Noise
from seqloom.errors import ConfigError
from seqloom.sequences import Padded
from seqloom.unrolling import Dynamic, Scan, Static, Unrolling

Recipe = Callable[..., Cell]


def named(recipe: type[Cell], **options: object) -> object:
    label = "-".join([recipe.__name__, *(f"{key}={value}" for key, value in options.items())])
    return pytest.param(lambda **sizes: recipe(**sizes, **options), id=label)


LINEAR = [
    named(MinGRU),
    named(MinLSTM),
    named(LRU),
    named(LRU, gated=False),
    named(QRNN, window=1),
    named(QRNN, window=2),
    named(SRU),
    named(MLSTM, num_heads=1),
    named(MLSTM, num_heads=2),
]
OTHER = [
    named(SRU, peephole=True),
    named(IndRNN),
    named(IndRNN, nonlinearity="tanh"),
    named(SLSTM, num_heads=1),
    named(SLSTM, num_heads=2),
]
every_cell = pytest.mark.parametrize("recipe", [*LINEAR, *OTHER])
linear_cells = pytest.mark.parametrize("recipe", LINEAR)


def make(recipe: Recipe, input_size: int = 4, hidden_size: int = 4) -> Cell:
    """A cell in float64 whose parameters all differ from their starts."""
    torch.manual_seed(0)
    cell = recipe(input_size=input_size, hidden_size=hidden_size).double()
    for parameter in cell.parameters():
        parameter.detach().add_(0.1 * torch.randn_like(parameter))
    return cell


def some_state(cell: Cell, batch_size: int) -> list[Tensor]:
    """A state that the cell has come to."""
    values = torch.randn(batch_size, 3, cell.input_size, dtype=torch.float64)
    state = cell.initial_state(values, batch_size)
    for step in range(3):
        _, state = cell.step(cell.project(values[:, step]), state)
    return [part.detach().requires_grad_() for part in state]


def numbers(unrolling: Unrolling, cell: Cell, values: Tensor, lengths: list[int]) -> list[Tensor]:
    """Outputs, final state, and all gradients of a loss that reads both."""
    torch.manual_seed(1)
    state = some_state(cell, len(lengths))
    values = values.clone().requires_grad_()
    outputs, final = unrolling(cell, Padded(values, torch.tensor(lengths)), tuple(state))
    loss = outputs.values.sin().sum()
    for number, part in enumerate(final):
        loss = loss + (part * (number + 2)).cos().sum()
    sources = [values, *state, *cell.parameters()]
    grads = torch.autograd.grad(loss, sources, materialize_grads=True, allow_unused=True)
    return [outputs.values.detach(), *(part.detach() for part in final), *grads]


def run(cell: Cell, values: Tensor) -> Tensor:
    """Outputs of a loop over `step` from the initial state."""
    state, outputs = cell.initial_state(values, len(values)), []
    for step in range(values.shape[1]):
        output, state = cell.step(cell.project(values[:, step]), state)
        outputs.append(output)
    return torch.stack(outputs, dim=1)


# linear_scan


@pytest.fixture(params=[0, 10**9], ids=["loop", "tree"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kernels, whatever the width of a step."""
    monkeypatch.setattr(linear_recurrence, "_WIDE_STEP", request.param)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 0, 3), (2, 7, 3), (1, 8, 2), (0, 3, 2)])
@pytest.mark.parametrize("kind", ["own", "step", "constant"])
def test_linear_scan_is_the_loop_and_has_its_derivative(
    dtype: torch.dtype, shape: tuple[int, int, int], kind: str
) -> None:
    torch.manual_seed(0)
    batch_size, num_steps, size = shape
    of = {"own": shape, "step": (batch_size, num_steps, 1), "constant": (size,)}[kind]
    decay = torch.randn(of, dtype=dtype, requires_grad=True)
    driven = torch.randn(shape, dtype=dtype, requires_grad=True)
    initial = torch.randn(batch_size, size, dtype=dtype, requires_grad=True)
    states = linear_scan(decay, driven, initial)
    assert states.shape == shape
    state = initial
    for step in range(num_steps):
        state = (decay if kind == "constant" else decay[:, step]) * state + driven[:, step]
        torch.testing.assert_close(states[:, step], state)
    if states.numel():
        assert torch.autograd.gradcheck(linear_scan, (decay, driven, initial))


# Every form of a cell


@linear_cells
@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("lengths", [[11, 0, 5], [1], [3, 3], [9, 2]])
def test_the_scan_is_the_loop(
    recipe: Recipe, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tiles and chunks of a few steps, so that several of them meet.
    monkeypatch.setattr(linear_recurrence, "_TILE_ELEMENTS", 4 * 4 * len(lengths))
    monkeypatch.setattr("seqloom.cells.mlstm._CHUNK_STEPS", 4)
    cell = make(recipe)
    assert isinstance(cell, ScanCell)
    assert cell.is_linear
    values = torch.randn(len(lengths), max(lengths), 4, dtype=torch.float64)
    loop = numbers(Dynamic(), cell, values, lengths)
    for one, other in zip(loop, numbers(Scan(), cell, values, lengths), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-10)


@every_cell
def test_both_loops_agree_and_padding_is_never_read(recipe: Recipe) -> None:
    cell, lengths = make(recipe), [5, 0, 2]
    values = torch.randn(3, 5, 4, dtype=torch.float64)
    spoilt = torch.where(Padded(values, torch.tensor(lengths)).mask().unsqueeze(2), values, 99.0)
    unrollings: list[Unrolling] = [Static(num_steps=7)]
    if isinstance(cell, ScanCell) and cell.is_linear:
        unrollings.append(Scan())
    loop = numbers(Dynamic(), cell, values, lengths)
    for unrolling in unrollings:
        for one, other in zip(loop, numbers(unrolling, cell, spoilt, lengths), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-10)


@every_cell
@pytest.mark.parametrize("sizes", [(3, 4), (4, 6), (1, 2)])
def test_sizes_and_dtypes_are_those_promised(recipe: Recipe, sizes: tuple[int, int]) -> None:
    cell = recipe(input_size=sizes[0], hidden_size=sizes[1])
    values = torch.randn(2, 5, sizes[0])
    state = cell.initial_state(values, 2)
    assert [tuple(part.shape) for part in state] == [(2, size) for size in cell.state_sizes]
    output, new = cell.step(cell.project(values[:, 0]), state)
    assert output.shape == (2, cell.output_size)
    assert [part.shape for part in new] == [part.shape for part in state]
    assert torch.equal(output, new[0]) == cell.gives_state
    for name in cell.recurrent_weights:
        assert isinstance(getattr(cell, name), nn.Parameter)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        projected = cell.project(values[:, 0])
        outputs, final = Dynamic()(cell, Padded(values, torch.tensor([5, 3])), state)
        if isinstance(cell, ScanCell) and cell.is_linear:
            scanned, last = Scan()(cell, Padded(values, torch.tensor([5, 3])), state)
            torch.testing.assert_close(scanned.values, outputs.values, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(last, final, rtol=1e-3, atol=1e-4)
    assert projected.dtype == torch.bfloat16
    assert {part.dtype for part in (outputs.values, *final)} == {torch.float32}


@every_cell
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_long_sequences_stay_finite(recipe: Recipe, scale: float) -> None:
    torch.manual_seed(0)
    cell = recipe(input_size=4, hidden_size=4)
    num_steps = 4096 if isinstance(cell, ScanCell) and cell.is_linear else 512
    unrolling: Unrolling = Scan() if num_steps == 4096 else Dynamic()
    values = (scale * torch.randn(2, num_steps, 4)).requires_grad_()
    state = cell.initial_state(values, 2)
    outputs, final = unrolling(cell, Padded(values, torch.tensor([num_steps, 9])), state)
    loss = outputs.values.sum() + sum(part.sum() for part in final)
    grads = torch.autograd.grad(loss, [values, *cell.parameters()], allow_unused=True)
    for tensor in (outputs.values, *final, *(grad for grad in grads if grad is not None)):
        assert bool(tensor.isfinite().all())


def test_long_scans_equal_the_loop_in_float32() -> None:
    values = torch.randn(1, 3000, 4)
    for recipe in (MinGRU, LRU, MLSTM):
        torch.manual_seed(0)
        cell = recipe(input_size=4, hidden_size=8)
        inputs, state = Padded(values, torch.tensor([3000])), cell.initial_state(values, 1)
        with torch.no_grad():
            one, other = Dynamic()(cell, inputs, state), Scan()(cell, inputs, state)
        torch.testing.assert_close(other[0].values, one[0].values, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(other[1], one[1], rtol=1e-4, atol=1e-5)


# The papers' equations, written out


@torch.no_grad()
def test_min_gru_and_min_lstm() -> None:
    values = torch.randn(2, 6, 4, dtype=torch.float64)
    gru, lstm = make(MinGRU), make(MinLSTM)
    write, candidate = F.linear(values, gru.weight_ih, gru.bias_ih).split(4, dim=2)
    state = torch.zeros(2, 4, dtype=torch.float64)
    outputs = run(gru, values)
    for step in range(6):
        gate = 1 / (1 + torch.exp(-write[:, step]))
        state = (1 - gate) * state + gate * candidate[:, step]
        torch.testing.assert_close(outputs[:, step], state)
    keep, write, candidate = F.linear(values, lstm.weight_ih, lstm.bias_ih).split(4, dim=2)
    keep, write = keep.sigmoid(), write.sigmoid()
    state, outputs = torch.zeros(2, 4, dtype=torch.float64), run(lstm, values)
    for step in range(6):
        total = keep[:, step] + write[:, step]
        state = (keep[:, step] * state + write[:, step] * candidate[:, step]) / total
        torch.testing.assert_close(outputs[:, step], state)


def test_min_lstm_is_finite_where_both_gates_are_shut() -> None:
    cell = MinLSTM(input_size=1, hidden_size=1)
    projected = torch.tensor([[-400.0, -400.0, 3.0]], requires_grad=True)
    output, _ = cell.step(projected, (torch.tensor([[1.0]]),))
    torch.testing.assert_close(output, torch.tensor([[2.0]]))
    (grad,) = torch.autograd.grad(output.sum(), projected)
    assert bool(grad.isfinite().all())


@torch.no_grad()
def test_lru_is_the_sum_of_its_powers() -> None:
    cell = make(lambda **sizes: LRU(**sizes, gated=False), input_size=3)
    values = torch.randn(2, 6, 3, dtype=torch.float64)
    decay = torch.exp(torch.complex(-cell.nu_log.exp(), cell.theta_log.exp()))
    drive = torch.complex(*cell.weight_in.unbind(1)) * cell.gamma_log.exp().unsqueeze(1)
    read = torch.view_as_complex(cell.weight_out).conj()
    outputs = run(cell, values)
    for step in range(6):
        state = sum(
            decay ** (step - past) * (values[:, past].to(drive.dtype) @ drive.T)
            for past in range(step + 1)
        )
        expected = (state @ read.T).real + values[:, step] @ cell.weight_skip.T
        torch.testing.assert_close(outputs[:, step], expected)


@torch.no_grad()
def test_lru_starts_on_its_ring_and_is_normalised_there() -> None:
    torch.manual_seed(0)
    cell = LRU(input_size=2000, hidden_size=2000, r_min=0.5, r_max=0.9, max_phase=1.0)
    radius, phase = torch.exp(-cell.nu_log.exp()), cell.theta_log.exp()
    assert 0.5 <= float(radius.min()) < 0.51
    assert 0.89 < float(radius.max()) <= 0.9
    assert 0.99 < float(phase.max()) <= 1.0
    # Evenly over the area: half of it lies beyond this radius.
    middle = math.sqrt((0.5**2 + 0.9**2) / 2)
    assert float((radius > middle).float().mean()) == pytest.approx(0.5, abs=0.04)
    torch.testing.assert_close(cell.gamma_log.exp() ** 2, 1 - radius**2)


@torch.no_grad()
@pytest.mark.parametrize("window", [1, 2])
def test_qrnn_is_a_convolution_and_pooling(window: int) -> None:
    cell = make(lambda **sizes: QRNN(**sizes, window=window), input_size=3)
    values = torch.randn(2, 6, 3, dtype=torch.float64)
    # The first block of rows reads this step, the last tap of a convolution.
    kernel = torch.stack(cell.weight_ih.split(12)[::-1], dim=2)
    padded = F.pad(values.transpose(1, 2), [window - 1, 0])
    pre = F.conv1d(padded, kernel, cell.bias_ih).transpose(1, 2)
    candidate, keep, output = pre.split(4, dim=2)
    state, outputs = torch.zeros(2, 4, dtype=torch.float64), run(cell, values)
    for step in range(6):
        gate = keep[:, step].sigmoid()
        state = gate * state + (1 - gate) * candidate[:, step].tanh()
        torch.testing.assert_close(outputs[:, step], output[:, step].sigmoid() * state)


@torch.no_grad()
@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("input_size", [3, 4])
def test_sru(peephole: bool, input_size: int) -> None:
    recipe = lambda **sizes: SRU(**sizes, peephole=peephole, highway_bias=-1.0)  # noqa: E731
    cell = make(recipe, input_size=input_size)
    assert cell.is_linear != peephole
    values = torch.randn(2, 6, input_size, dtype=torch.float64)
    blocks = cell.weight_ih.split(4)
    carried = values if input_size == 4 else values @ blocks[3].T
    carried = carried * math.sqrt(1 + 2 * math.exp(-1))
    seen = cell.weight_peephole if peephole else torch.zeros(2, 4, dtype=torch.float64)
    state, outputs = torch.zeros(2, 4, dtype=torch.float64), run(cell, values)
    for step in range(6):
        x = values[:, step]
        keep = (x @ blocks[0].T + seen[0] * state + cell.bias_ih[:4]).sigmoid()
        gate = (x @ blocks[1].T + seen[1] * state + cell.bias_ih[4:]).sigmoid()
        state = keep * state + (1 - keep) * (x @ blocks[2].T)
        expected = gate * state + (1 - gate) * carried[:, step]
        torch.testing.assert_close(outputs[:, step], expected)


@torch.no_grad()
def test_indrnn() -> None:
    cell = make(IndRNN)
    values = torch.randn(2, 6, 4, dtype=torch.float64)
    state, outputs = torch.zeros(2, 4, dtype=torch.float64), run(cell, values)
    for step in range(6):
        pre = values[:, step] @ cell.weight_ih.T + cell.bias_ih
        state = (pre + cell.weight_hh * state).clamp(min=0)
        torch.testing.assert_close(outputs[:, step], state)


@torch.no_grad()
@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_slstm_without_its_stabilizer(num_heads: int) -> None:
    cell = make(lambda **sizes: SLSTM(**sizes, num_heads=num_heads))
    values = torch.randn(2, 6, 4, dtype=torch.float64)
    heads = [head.chunk(4) for head in cell.weight_hh]
    recurrent = [torch.block_diag(*(head[gate] for head in heads)) for gate in range(4)]
    hidden = memory = normalizer = torch.zeros(2, 4, dtype=torch.float64)
    outputs = run(cell, values)
    for step in range(6):
        pre = F.linear(values[:, step], cell.weight_ih, cell.bias_ih).chunk(4, dim=1)
        z, i, f, o = (x + hidden @ matrix.T for x, matrix in zip(pre, recurrent, strict=True))
        memory = f.sigmoid() * memory + i.exp() * z.tanh()
        normalizer = f.sigmoid() * normalizer + i.exp()
        hidden = o.sigmoid() * memory / normalizer
        torch.testing.assert_close(outputs[:, step], hidden)


@torch.no_grad()
def test_mlstm_without_its_stabilizer() -> None:
    cell = make(lambda **sizes: MLSTM(**sizes, num_heads=2), hidden_size=6)
    values = torch.randn(2, 6, 4, dtype=torch.float64)
    outputs = run(cell, values)
    matrices = torch.zeros(2, 2, 3, 3, dtype=torch.float64)
    normalizers = torch.zeros(2, 2, 3, dtype=torch.float64)
    for step in range(6):
        pre = F.linear(values[:, step], cell.weight_ih, cell.bias_ih)
        q, k, v, o, i, f = pre.split([6, 6, 6, 6, 2, 2], dim=1)
        q, k, v = (part.reshape(2, 2, 3) for part in (q, k / math.sqrt(3), v))
        write, keep = i.exp(), f.sigmoid()
        matrices = keep[..., None, None] * matrices + write[..., None, None] * torch.einsum(
            "nhv,nhk->nhvk", v, k
        )
        normalizers = keep[..., None] * normalizers + write[..., None] * k
        size = torch.einsum("nhk,nhk->nh", normalizers, q).abs().clamp(min=1)
        read = torch.einsum("nhvk,nhk->nhv", matrices, q) / size[..., None]
        torch.testing.assert_close(outputs[:, step], o.sigmoid() * read.reshape(2, 6))


# Zoneout of scaled memories


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("recipe", [SLSTM, MLSTM])
def test_zoneout_mixes_what_scaled_memories_stand_for(recipe: Recipe, training: bool) -> None:
    cell = make(recipe).train(training)
    noisy = cell.for_sequence(Noise(zoneout=0.5, zoneout_memory=0.5), 3)
    state = tuple(some_state(cell, 3))
    projected = cell.project(torch.randn(3, 4, dtype=torch.float64))
    torch.manual_seed(0)
    _, mixed = noisy.advance(projected, state)
    torch.manual_seed(0)
    masks = noisy.noise.keep_masks(state, training)
    _, new = cell.step(projected, state)
    for number in range(recipe is SLSTM, len(state) - 1):
        repeats = state[number].shape[1] // state[-1].shape[1]
        old, fresh, both = (
            part[number] * part[-1].exp().repeat_interleave(repeats, dim=1)
            for part in (state, new, mixed)
        )
        torch.testing.assert_close(both, masks[number] * old + (1 - masks[number]) * fresh)


# What is refused


@pytest.mark.parametrize(
    ("recipe", "options", "named"),
    [
        (LRU, {"r_min": 0.9, "r_max": 0.5}, "ring"),
        (LRU, {"max_phase": 0.0}, "max_phase"),
        (QRNN, {"window": 3}, "cell.window=3"),
        (MLSTM, {"num_heads": 3}, "cell.num_heads=3"),
        (SLSTM, {"num_heads": 0}, "cell.num_heads=0"),
        (SLSTM, {"forget_bias_min": 7.0}, "cell.forget_bias_min=7.0"),
        (IndRNN, {"nonlinearity": "gelu"}, "cell.nonlinearity=gelu"),
        (IndRNN, {"recurrent_min": 2.0}, "cell.recurrent_min=2.0"),
    ],
)
def test_wrong_options_are_named(recipe: Recipe, options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        recipe(input_size=4, hidden_size=4, **options)


def test_an_indrnn_stays_in_its_bound_and_can_come_back() -> None:
    cell = IndRNN(input_size=2, hidden_size=3, memory_steps=10)
    with torch.no_grad():
        cell.weight_hh.copy_(torch.tensor([5.0, -5.0, 0.5]))
    state = (torch.ones(1, 3),)
    _, (new,) = cell.step(torch.ones(1, 3), state)
    bound = 2**0.1
    torch.testing.assert_close(new, torch.tensor([[1 + bound, 0.0, 1.5]]))
    new.sum().backward()
    assert cell.weight_hh.grad is not None
    assert cell.weight_hh.grad[0] != 0


def test_an_lru_for_long_memory_starts_near_the_unit_circle() -> None:
    cell = LRU(input_size=2, hidden_size=50, memory_steps=100)
    radius = torch.exp(-cell.nu_log.exp())
    assert bool((radius >= math.exp(-1 / 100) - 1e-6).all())
    assert bool((radius < 1).all())
