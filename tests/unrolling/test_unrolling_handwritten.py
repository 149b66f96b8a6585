"""The handwritten loop against the loop through autograd: numbers, noise, precision, and what it
keeps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

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
    State,
)
from seqloom.cells.noise import Noise
from seqloom.sequences import Padded
from seqloom.unrolling.dynamic import run_prefixes
from seqloom.unrolling.handwritten import run_handwritten
from seqloom.unrolling.memory import Memory

CELLS: list[type[GatedCell]] = [
    RNN,
    LSTM,
    GRU,
    PeepholeLSTM,
    CoupledLSTM,
    LayerNormLSTM,
    LayerNormGRU,
    LiGRU,
]
NOISES = {
    "none": Noise(),
    "zoneout": Noise(zoneout=0.3, zoneout_memory=0.6),
    "hidden_zoneout": Noise(zoneout=0.5),
    "dropouts": Noise(recurrent_dropout=0.4, weight_drop=0.3),
    "all": Noise(recurrent_dropout=0.4, weight_drop=0.3, zoneout=0.2, zoneout_memory=0.2),
}
INPUT_SIZE, HIDDEN_SIZE = 3, 5
Run = Callable[[Any, Padded, State], tuple[Tensor, State]]
every_cell = pytest.mark.parametrize("cell_class", CELLS)


def make_cell(cell_class: Any, dtype: torch.dtype = torch.float64) -> GatedCell:
    torch.manual_seed(0)
    cell = cell_class(input_size=INPUT_SIZE, hidden_size=HIDDEN_SIZE)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell.to(dtype)  # type: ignore[no-any-return]


def make_state(cell: Cell, num_rows: int, dtype: torch.dtype) -> State:
    generator = torch.Generator().manual_seed(3)
    shapes = [(num_rows, size) for size in cell.state_sizes]
    return tuple(
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes
    )


def numbers(
    run: Run, cell: Cell, values: Tensor, lengths: list[int], noise: Noise
) -> dict[str, Tensor]:
    """Outputs, final state and the gradients of all by a loss that reads all."""
    values = values.clone().requires_grad_()
    dtype = torch.promote_types(next(cell.parameters()).dtype, torch.float32)
    state = make_state(cell, len(lengths), dtype)
    torch.manual_seed(7)
    noisy = cell.for_sequence(noise, len(lengths))
    outputs, final = run(noisy, Padded(values, torch.tensor(lengths)), state)
    loss = outputs.sin().sum()
    for number, part in enumerate(final):
        loss = loss + (part * (number + 2)).cos().sum()
    sources = {"inputs": values} | {f"state {n}": part for n, part in enumerate(state)}
    sources |= dict(cell.named_parameters())
    grads = torch.autograd.grad(
        loss, list(sources.values()), allow_unused=True, materialize_grads=True
    )
    finals = {f"final {n}": part.detach() for n, part in enumerate(final)}
    named = {f"grad of {name}": grad for name, grad in zip(sources, grads, strict=True)}
    return {"outputs": outputs.detach()} | finals | named


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            value,
            other[name],
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, n=name: f"{n}: {text}",
        )


@every_cell
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_loop_through_autograd(
    cell_class: type[GatedCell], noise: str, training: bool
) -> None:
    cell = make_cell(cell_class).train(training)
    lengths = [6, 4, 4, 1, 0]
    values = torch.randn(5, 7, INPUT_SIZE, dtype=torch.float64)
    ours = numbers(run_handwritten, cell, values, lengths, NOISES[noise])
    theirs = numbers(run_prefixes, cell, values, lengths, NOISES[noise])
    assert_same(ours, theirs, 1e-11)


@every_cell
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    extra=st.integers(0, 2),
    noise=st.sampled_from(list(NOISES)),
)
def test_any_lengths(
    cell_class: type[GatedCell], lengths: list[int], extra: int, noise: str
) -> None:
    cell = make_cell(cell_class)
    lengths = sorted(lengths, reverse=True)
    values = torch.randn(len(lengths), lengths[0] + extra, INPUT_SIZE, dtype=torch.float64)
    if lengths[0] == 0:
        outputs, final = run_handwritten(
            cell,
            Padded(values, torch.tensor(lengths)),
            make_state(cell, len(lengths), torch.float64),
        )
        assert not outputs.any()
        for part, first in zip(final, make_state(cell, len(lengths), torch.float64), strict=True):
            assert torch.equal(part, first)
        return
    ours = numbers(run_handwritten, cell, values, lengths, NOISES[noise])
    theirs = numbers(run_prefixes, cell, values, lengths, NOISES[noise])
    assert_same(ours, theirs, 1e-11)


@every_cell
@pytest.mark.parametrize("num_steps", [0, 3])
def test_no_rows(cell_class: type[GatedCell], num_steps: int) -> None:
    cell = make_cell(cell_class, torch.float32)
    values = torch.randn(0, num_steps, INPUT_SIZE)
    empty = Padded(values, torch.zeros(0, dtype=torch.int64))
    outputs, final = run_handwritten(cell, empty, cell.initial_state(values, 0))
    assert outputs.shape == (0, num_steps, HIDDEN_SIZE)
    assert [part.shape for part in final] == [(0, size) for size in cell.state_sizes]


@every_cell
def test_padding_is_never_read(cell_class: type[GatedCell]) -> None:
    cell = make_cell(cell_class)
    lengths = [5, 2, 1, 0]
    values = torch.randn(4, 5, INPUT_SIZE, dtype=torch.float64)
    mask = Padded(values, torch.tensor(lengths)).mask().unsqueeze(2)
    spoilt = torch.where(mask, values, torch.nan)
    clean = numbers(run_handwritten, cell, values, lengths, Noise())
    dirty = numbers(run_handwritten, cell, spoilt, lengths, Noise())
    assert_same(clean, dirty, 0.0)


@pytest.mark.parametrize("cell_class", [RNN, GRU, PeepholeLSTM, LayerNormGRU])
@pytest.mark.parametrize("noise", ["none", "all"])
def test_its_gradient_is_that_of_differences(cell_class: type[GatedCell], noise: str) -> None:
    cell = make_cell(cell_class)
    lengths = torch.tensor([3, 1])
    names = [name for name, _ in cell.named_parameters()]

    def run(values: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(5)
        own = dict(zip(names, tensors, strict=False))
        state = tensors[len(names) :]
        outputs, final = torch.func.functional_call(
            _Caller(cell, NOISES[noise]),
            {f"cell.{name}": value for name, value in own.items()},
            (Padded(values, lengths), state),
        )
        return outputs, *final

    values = torch.randn(2, 3, INPUT_SIZE, dtype=torch.float64, requires_grad=True)
    parameters = [parameter.detach().requires_grad_() for parameter in cell.parameters()]
    state = make_state(cell, 2, torch.float64)
    assert torch.autograd.gradcheck(run, (values, *parameters, *state), fast_mode=True)


class _Caller(torch.nn.Module):
    def __init__(self, cell: GatedCell, noise: Noise) -> None:
        super().__init__()
        self.cell, self.noise = cell, noise

    def forward(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        return run_handwritten(self.cell.for_sequence(self.noise, 2), inputs, state)


@every_cell
def test_autocast_is_for_products(cell_class: type[GatedCell]) -> None:
    cell = make_cell(cell_class, torch.float32)
    lengths, values = [6, 5, 5, 2, 0], torch.randn(5, 6, INPUT_SIZE)
    exact = numbers(run_handwritten, cell, values, lengths, NOISES["dropouts"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = numbers(run_handwritten, cell, values, lengths, NOISES["dropouts"])
        theirs = numbers(run_prefixes, cell, values, lengths, NOISES["dropouts"])
    for name, value in ours.items():
        assert value.dtype == torch.float32, name
        scale = exact[name].abs().max()
        assert (value - exact[name]).abs().max() <= 0.06 * scale, name
        assert (value - theirs[name]).abs().max() <= 0.04 * scale, name


@every_cell
@pytest.mark.parametrize("policy", ["checkpoint", "swap"])
@pytest.mark.parametrize("noise", ["none", "all"])
def test_memory_policies_change_no_number(
    cell_class: type[GatedCell], policy: str, noise: str
) -> None:
    cell = make_cell(cell_class, torch.float32)
    lengths, values = [40, 25, 9, 0], torch.randn(4, 40, INPUT_SIZE)

    def run(cell: Cell, inputs: Padded, state: State) -> tuple[Tensor, State]:
        return Memory(policy, 3).run(run_handwritten, cell, inputs, state)  # type: ignore[arg-type]

    kept = numbers(run_handwritten, cell, values, lengths, NOISES[noise])
    assert_same(kept, numbers(run, cell, values, lengths, NOISES[noise]), 1e-5)


def saved_bytes(run: Run, cell: Cell, inputs: Padded, state: State) -> tuple[int, int]:
    """How many tensors are kept for the backward pass, and the bytes of their storages."""
    storages: dict[int, int] = {}
    count = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal count
        count += 1
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(cell, inputs, state)
    return count, sum(storages.values())


@every_cell
def test_what_it_keeps_goes_through_autograds_hooks(cell_class: type[GatedCell]) -> None:
    cell = make_cell(cell_class, torch.float32)
    counts, kept = [], []
    for num_steps in (20, 40):
        values = torch.randn(2, num_steps, INPUT_SIZE)
        inputs = Padded(values, torch.full((2,), num_steps))
        count, num_bytes = saved_bytes(run_handwritten, cell, inputs, cell.initial_state(values, 2))
        counts.append(count)
        kept.append(num_bytes)
    assert counts[0] == counts[1]  # a few tensors, however long the sequence is
    one_state = 20 * 2 * HIDDEN_SIZE * 4
    assert kept[1] - kept[0] >= 2 * one_state


def test_nothing_is_kept_where_no_gradient_is_asked_for() -> None:
    cell = make_cell(LSTM, torch.float32)
    values = torch.randn(2, 4, INPUT_SIZE)
    inputs, state = Padded(values, torch.tensor([4, 2])), cell.initial_state(values, 2)
    with torch.no_grad():
        assert saved_bytes(run_handwritten, cell, inputs, state) == (0, 0)
        outputs, _ = run_handwritten(cell, inputs, state)
    assert outputs.grad_fn is None
    cell.requires_grad_(False)
    assert saved_bytes(run_handwritten, cell, inputs, state) == (0, 0)


def test_a_frozen_matrix_gets_no_gradient_and_the_rest_does() -> None:
    cell = make_cell(GRU)
    assert cell.bias_hh is not None
    cell.weight_hh.requires_grad_(False)
    cell.bias_hh.requires_grad_(False)
    values = torch.randn(2, 4, INPUT_SIZE, dtype=torch.float64)
    grads = []
    for run in (run_handwritten, run_prefixes):
        cell.zero_grad()
        inputs = Padded(values, torch.tensor([4, 2]))
        outputs, _ = run(cell, inputs, cell.initial_state(values, 2))
        outputs.square().sum().backward()
        assert cell.weight_hh.grad is None
        assert cell.bias_hh.grad is None
        grad = cell.get_parameter("weight_ih").grad
        assert grad is not None
        grads.append(grad.clone())
    torch.testing.assert_close(*grads)


def test_there_is_no_second_derivative() -> None:
    cell = make_cell(LSTM)
    values = torch.randn(2, 4, INPUT_SIZE, dtype=torch.float64, requires_grad=True)
    inputs = Padded(values, torch.tensor([4, 2]))
    outputs, _ = run_handwritten(cell, inputs, cell.initial_state(values, 2))
    (grad,) = torch.autograd.grad(outputs.square().sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()


def test_changing_a_weight_before_the_backward_pass_is_an_error() -> None:
    cell = make_cell(PeepholeLSTM)
    values = torch.randn(2, 4, INPUT_SIZE, dtype=torch.float64)
    inputs = Padded(values, torch.tensor([4, 2]))
    outputs, _ = run_handwritten(cell, inputs, cell.initial_state(values, 2))
    with torch.no_grad():
        cell.get_parameter("weight_ch").add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()
