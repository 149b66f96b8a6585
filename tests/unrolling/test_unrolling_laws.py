"""All unrollings and memory policies give the same outputs, states and gradients; a row alone is a
row in a batch. Every cell that the package has is tested, by itself."""

import inspect
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seqloom.cells
import seqloom.unrolling.swap
from seqloom.cells import GRU, LSTM, Cell, PeepholeLSTM, State
from seqloom.cells.noise import Noise
from seqloom.errors import ConfigError
from seqloom.layers.recurrent import RecurrentLayer
from seqloom.sequences import Padded
from seqloom.unrolling import Auto, Dynamic, Fused, Scan, Static, Unrolling
from seqloom.unrolling.base import possible

CELLS: list[Any] = [
    value
    for value in vars(seqloom.cells).values()
    if inspect.isclass(value) and issubclass(value, Cell) and not inspect.isabstract(value)
]
INPUT_SIZE, HIDDEN_SIZE, MAX_STEPS = 6, 8, 9
MEMORIES = ("keep", "checkpoint", "swap")
every_cell = pytest.mark.parametrize("cell_class", CELLS)


@pytest.fixture(autouse=True, scope="module")
def swap_everything() -> Iterator[None]:
    """Tensors of tests are small, and small tensors stay where they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seqloom.unrolling.swap, "_MIN_BYTES", 1)
        yield


def make_cell(cell_class: Any, dtype: torch.dtype = torch.float64) -> Cell:
    torch.manual_seed(0)
    cell: Cell = cell_class(input_size=INPUT_SIZE, hidden_size=HIDDEN_SIZE)
    with torch.no_grad():
        for parameter in cell.parameters():  # zeros would hide what is wrong
            parameter.add_(0.1 * torch.randn_like(parameter))
    return cell.to(dtype)


def make_inputs(cell: Cell, lengths: Tensor, num_steps: int) -> Tensor:
    image = (3, 2) if type(cell).__name__.startswith("Conv") else ()
    shape = (len(lengths), num_steps, INPUT_SIZE, *image)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape, generator=generator).to(next(cell.parameters()).dtype)


def make_state(cell: Cell, values: Tensor) -> State:
    """A state that steps can lead to: the initial one, moved a little upwards."""
    generator = torch.Generator().manual_seed(2)
    initial = cell.initial_state(values, len(values))
    return tuple(
        (part + torch.rand(part.shape, generator=generator)).to(part.dtype).requires_grad_()
        for part in initial
    )


def make_unrolling(name: str, memory: str = "keep", num_segments: int | None = None) -> Unrolling:
    if name == "static":
        return Static(num_steps=MAX_STEPS, memory=memory, num_segments=num_segments)
    kinds: dict[str, Any] = {"dynamic": Dynamic, "fused": Fused, "scan": Scan, "auto": Auto}
    unrolling: Unrolling = kinds[name](memory=memory, num_segments=num_segments)
    return unrolling


def finite(part: Tensor) -> Tensor:
    """A stabiliser starts at minus infinity."""
    return part.nan_to_num(neginf=0.0)


def numbers(unrolling: Unrolling, cell: Cell, values: Tensor, lengths: Tensor) -> list[Tensor]:
    """Outputs, final state, and the gradients of everything by a loss that reads all of them."""
    values = values.clone().requires_grad_()
    state = make_state(cell, values)
    outputs, final = unrolling(cell, Padded(values, lengths), state)
    weight = torch.linspace(-1, 1, outputs.values.numel(), dtype=values.dtype)
    loss = (outputs.values.sin().flatten() * weight).sum()
    loss = loss + sum((finite(part) * (n + 2)).sin().sum() for n, part in enumerate(final))
    sources = [values, *state, *cell.parameters()]
    grads = torch.autograd.grad(loss, sources, allow_unused=True)
    given_grads = [
        torch.zeros_like(source) if grad is None else grad
        for grad, source in zip(grads, sources, strict=True)
    ]
    return [outputs.values.detach(), *(part.detach() for part in final), *given_grads]


def assert_same(left: list[Tensor], right: list[Tensor], rtol: float = 1e-8) -> None:
    """Equal, in relation to the largest element of each tensor."""
    for one, other in zip(left, right, strict=True):
        finite_part = one.nan_to_num(posinf=0, neginf=0).abs()
        size = max(1.0, finite_part.max().item()) if one.numel() else 1.0
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol * size)


class RowByRow:
    """Row by row, step by step: what every unrolling must equal."""

    def __call__(self, cell: Cell, inputs: Padded, state: State) -> tuple[Padded, State]:
        rows, finals = [], []
        silence = state[0].new_zeros(1, cell.output_size, *state[0].shape[2:])
        for number, length in enumerate(inputs.lengths.tolist()):
            row = tuple(part[number : number + 1] for part in state)
            outputs = []
            for step in range(length):
                projected = cell.project(inputs.values[number : number + 1, step])
                output, row = cell.step(projected, row)
                outputs.append(output)
            outputs.extend([silence] * (inputs.max_length - length))
            rows.append(torch.stack(outputs, dim=1))
            finals.append(row)
        final = tuple(torch.cat(parts) for parts in zip(*finals, strict=True))
        return inputs.with_values(torch.cat(rows)), final


lengths_of_rows = st.lists(st.integers(0, 6), min_size=1, max_size=4)


@every_cell
@settings(max_examples=8, deadline=None)
@given(
    lengths=lengths_of_rows,
    extra=st.integers(0, 2),
    num_segments=st.one_of(st.none(), st.integers(1, 9)),
)
def test_every_unrolling_and_memory_policy_gives_the_same_numbers(
    cell_class: Any, lengths: list[int], extra: int, num_segments: int | None
) -> None:
    cell, steps = make_cell(cell_class), torch.tensor(lengths)
    values = make_inputs(cell, steps, max(1, max(lengths) + extra))
    expected = numbers(RowByRow(), cell, values, steps)
    for name in [*possible(cell), "auto"]:
        for memory in MEMORIES:
            unrolling = make_unrolling(name, memory, num_segments if memory != "keep" else None)
            assert_same(expected, numbers(unrolling, cell, values, steps))


@every_cell
def test_single_precision_gives_the_same_numbers(cell_class: Any) -> None:
    cell = make_cell(cell_class, torch.float32)
    lengths = torch.tensor([5, 0, 7, 1])
    values = make_inputs(cell, lengths, 8)
    expected = numbers(RowByRow(), cell, values, lengths)
    for name in possible(cell):
        for memory in MEMORIES:
            found = numbers(make_unrolling(name, memory), cell, values, lengths)
            assert_same(expected, found, rtol=1e-5)


@every_cell
@pytest.mark.parametrize(("batch_size", "num_steps"), [(0, 0), (0, 3), (2, 0), (1, 1), (2, 1)])
def test_the_smallest_batches(cell_class: Any, batch_size: int, num_steps: int) -> None:
    cell = make_cell(cell_class)
    lengths = torch.full((batch_size,), num_steps)
    values = make_inputs(cell, lengths, num_steps)
    for name in [*possible(cell), "auto"]:
        for memory in MEMORIES:
            state = make_state(cell, values)
            outputs, final = make_unrolling(name, memory)(cell, Padded(values, lengths), state)
            image = values.shape[3:]
            assert outputs.values.shape == (batch_size, num_steps, cell.output_size, *image)
            assert [part.shape for part in final] == [part.shape for part in state]
            if num_steps == 0:
                assert_same(list(state), list(final))


@every_cell
def test_padding_is_never_read(cell_class: Any) -> None:
    cell, lengths = make_cell(cell_class), torch.tensor([5, 0, 2, 1])
    values = make_inputs(cell, lengths, 5)
    mask = Padded(values, lengths).mask().reshape(4, 5, *[1] * (values.ndim - 2))
    spoilt = torch.where(mask, values, 1e3)
    for name in possible(cell):
        for memory in ("keep", "swap"):
            unrolling = make_unrolling(name, memory)
            clean = numbers(unrolling, cell, values, lengths)
            assert_same(clean, numbers(unrolling, cell, spoilt, lengths))


@every_cell
def test_a_row_is_the_same_alone_and_in_a_batch(cell_class: Any) -> None:
    cell, lengths = make_cell(cell_class), torch.tensor([7, 3, 5])
    values = make_inputs(cell, lengths, 7)
    state = make_state(cell, values)
    for name in possible(cell):
        unrolling = make_unrolling(name)
        outputs, final = unrolling(cell, Padded(values, lengths), state)
        for row, length in enumerate(lengths.tolist()):
            alone = Padded(values[row : row + 1, :length], lengths[row : row + 1])
            out, last = unrolling(cell, alone, tuple(part[row : row + 1] for part in state))
            assert_same([outputs.values[row, :length]], [out.values[0]])
            assert_same([part[row] for part in final], [part[0] for part in last])


@every_cell
@pytest.mark.parametrize("memory", MEMORIES)
def test_two_directions_are_two_runs(cell_class: Any, memory: str) -> None:
    for name in possible(make_cell(cell_class)):
        unrolling = make_unrolling(name, memory)
        layer = RecurrentLayer(
            cell=cell_class,
            unrolling=unrolling,
            input_size=INPUT_SIZE,
            output_size=2 * HIDDEN_SIZE,
            bidirectional=True,
        ).double()
        one, other = layer.cells
        assert isinstance(one, Cell)
        assert isinstance(other, Cell)
        lengths = torch.tensor([4, 0, 6, 1])
        inputs = Padded(make_inputs(one, lengths, 6), lengths)
        outputs, final = layer(inputs, layer.initial_state(inputs.values, 4))
        ahead, last = unrolling(one, inputs, one.initial_state(inputs.values, 4))
        flipped = inputs.reversed()
        back, first = unrolling(other, flipped, other.initial_state(inputs.values, 4))
        both = [ahead.values, back.reversed().values]
        assert_same([outputs.values], [torch.cat(both, dim=2)])
        pairs = zip(last, first, strict=True)
        assert_same(list(final), [torch.cat(pair, dim=1) for pair in pairs])


@every_cell
def test_noise_of_a_whole_sequence_is_the_same_in_every_unrolling(cell_class: Any) -> None:
    """Recurrent dropout and DropConnect are drawn once, and lengths that are not sorted must not
    give a row another one's."""
    noise = Noise(recurrent_dropout=0.4, weight_drop=0.3)
    cell = make_cell(cell_class)
    if not cell.recurrent_weights:
        with pytest.raises(ConfigError, match="no recurrent matrices"):
            cell.for_sequence(noise, 4)
        return
    torch.manual_seed(3)
    cell = cell.for_sequence(noise, 4)
    lengths = torch.tensor([2, 5, 0, 6])
    values = make_inputs(cell, lengths, 6)
    expected = numbers(make_unrolling("static"), cell, values, lengths)
    for name in [*possible(cell), "auto"]:
        for memory in MEMORIES:
            found = numbers(make_unrolling(name, memory), cell, values, lengths)
            assert_same(expected, found)


@every_cell
@pytest.mark.parametrize("name", ["dynamic", "static"])
def test_zoneout_draws_the_same_under_every_memory_policy(cell_class: Any, name: str) -> None:
    """What is computed again must not be drawn again."""
    cell = make_cell(cell_class).for_sequence(Noise(zoneout=0.3, zoneout_memory=0.2), 3)
    lengths = torch.tensor([2, 8, 5])
    values = make_inputs(cell, lengths, 9)
    results = []
    for memory in MEMORIES:
        torch.manual_seed(4)
        results.append(numbers(make_unrolling(name, memory), cell, values, lengths))
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("memory", MEMORIES)
def test_compiled_steps_give_the_same_numbers(
    memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Here the last segment is shorter, and the strides of what is saved matter."""
    cell, lengths = make_cell(GRU), torch.tensor([2, 5, 0, 7])
    values = make_inputs(cell, lengths, 7)
    expected = numbers(Dynamic(), cell, values, lengths)
    compiled = Static(num_steps=7, compile=True, memory=memory)
    with caplog.at_level(logging.INFO):
        assert_same(expected, numbers(compiled, cell, values, lengths))
        assert_same(expected, numbers(compiled, cell, values, lengths))
    told = [text for text in caplog.messages if "the first call" in text]
    assert len(told) == 1


@pytest.mark.parametrize(
    ("cell_class", "torch_class"), [(LSTM, torch.nn.LSTM), (GRU, torch.nn.GRU)]
)
def test_weights_of_torch_load_and_give_its_answers(cell_class: Any, torch_class: Any) -> None:
    cell = make_cell(cell_class, torch.float32)
    module = torch_class(INPUT_SIZE, HIDDEN_SIZE, batch_first=True)
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in module.state_dict().items()})
    lengths = torch.tensor([6, 2, 4])
    inputs = Padded(make_inputs(cell, lengths, 6), lengths)
    expected, final = module(
        pack_padded_sequence(inputs.values, inputs.lengths, batch_first=True, enforce_sorted=False)
    )
    expected_values, _ = pad_packed_sequence(expected, batch_first=True, total_length=6)
    outputs, state = Dynamic()(cell, inputs, cell.initial_state(inputs.values, 3))
    torch.testing.assert_close(outputs.values, expected_values)
    final = final if isinstance(final, tuple) else (final,)
    for part, theirs in zip(state, final, strict=True):
        torch.testing.assert_close(part, theirs[0])


class Plain(Cell):
    """Neither a kernel, nor linear, nor gated; it counts its steps' rows."""

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.state_sizes = (hidden_size,)
        self.rows_seen: list[int] = []

    def project(self, inputs: Tensor) -> Tensor:
        return inputs

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        self.rows_seen.append(len(projected))
        hidden = (projected + state[0].sin()) / 2
        return hidden, (hidden,)


def make_plain(lengths: list[int]) -> tuple[Plain, Padded, State]:
    cell = Plain(input_size=INPUT_SIZE, hidden_size=INPUT_SIZE)
    values = torch.randn(len(lengths), max(lengths), INPUT_SIZE, requires_grad=True)
    return cell, Padded(values, torch.tensor(lengths)), cell.initial_state(values, len(lengths))


def test_rows_that_have_ended_cost_nothing() -> None:
    cell, inputs, state = make_plain([1, 6, 0, 3])
    Dynamic()(cell, inputs, state)
    assert cell.rows_seen == [3, 2, 2, 1, 1, 1]


def test_checkpoint_computes_twice_and_swap_once() -> None:
    for memory, times in (("keep", 1), ("checkpoint", 2), ("swap", 1)):
        cell, inputs, state = make_plain([6, 6])
        outputs, _ = Dynamic(memory=memory)(cell, inputs, state)
        outputs.values.sum().backward()
        # The checkpoint stops computing again where it has what it needs.
        assert 6 * times - 3 <= len(cell.rows_seen) <= 6 * times


def test_static_refuses_longer_input() -> None:
    cell, inputs, state = make_plain([4])
    with pytest.raises(ConfigError, match="num_steps=4"):
        Static(num_steps=3)(cell, inputs, state)
    with pytest.raises(ConfigError, match="at least 1"):
        Static(num_steps=0)


def test_what_a_cell_forbids_is_an_error_that_lists_the_rest() -> None:
    cell, inputs, state = make_plain([4])
    with pytest.raises(ConfigError, match="unrolling=dynamic, static or auto"):
        Fused()(cell, inputs, state)
    with pytest.raises(ConfigError, match="unrolling=dynamic, static or auto"):
        Scan()(cell, inputs, state)
    noisy = make_cell(LSTM, torch.float32).for_sequence(Noise(zoneout=0.1), 1)
    lstm_state = noisy.initial_state(inputs.values, 1)
    with pytest.raises(ConfigError, match=r"noise.*unrolling=dynamic, static or auto"):
        Fused()(noisy, inputs, lstm_state)
    thinned = make_cell(LSTM, torch.float32).for_sequence(Noise(weight_drop=0.1), 1)
    Fused()(thinned, inputs, lstm_state)
    with pytest.raises(ConfigError, match="unrolling=fused, dynamic, static or auto"):
        Scan()(thinned, inputs, lstm_state)


def test_auto_says_once_what_it_runs_and_why(caplog: pytest.LogCaptureFixture) -> None:
    auto = Auto()
    _, inputs, _ = make_plain([4])
    lstm = make_cell(LSTM, torch.float32)
    cells = [lstm, make_cell(PeepholeLSTM, torch.float32), lstm.for_sequence(Noise(zoneout=0.1), 1)]
    with caplog.at_level(logging.INFO):
        for cell in [*cells, *cells]:
            auto(cell, inputs, cell.initial_state(inputs.values, 1))
    assert [text.removeprefix("unrolling=auto runs ") for text in caplog.messages] == [
        "LSTM as fused: it has a vendor's kernel",
        "PeepholeLSTM as dynamic: it is not linear and has no vendor's kernel",
        "LSTM as dynamic: noise acts inside its steps",
    ]
