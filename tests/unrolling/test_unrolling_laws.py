"""All unrollings give the same outputs, states and gradients; a row alone is a row in a batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqloom.cells import GRU, LSTM, Cell, State
from seqloom.errors import ConfigError
from seqloom.sequences import Padded
from seqloom.unrolling import Auto, Dynamic, Fused, Static, Unrolling

CELLS = [LSTM, GRU]
INPUT_SIZE, HIDDEN_SIZE = 3, 4


def make_cell(cell_class: type[Cell], seed: int = 0) -> Cell:
    torch.manual_seed(seed)
    return cell_class(input_size=INPUT_SIZE, hidden_size=HIDDEN_SIZE)  # type: ignore[call-arg]


def make_state(cell: Cell, batch_size: int) -> State:
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(batch_size, HIDDEN_SIZE, generator=generator).requires_grad_()
        for _ in range(cell.num_states)
    )


def numbers(unrolling: Unrolling, cell: Cell, values: Tensor, lengths: Tensor) -> list[Tensor]:
    """Outputs, final state, and the gradients of everything by a loss that reads all of them."""
    values = values.clone().requires_grad_()
    state = make_state(cell, len(lengths))
    outputs, final = unrolling(cell, Padded(values, lengths), state)
    loss = outputs.values.pow(2).sum() + sum(
        (part * (n + 2)).sin().sum() for n, part in enumerate(final)
    )
    sources = [values, *state, *cell.parameters()]
    grads = torch.autograd.grad(loss, sources, allow_unused=True)
    grads = [
        g if g is not None else torch.zeros_like(s) for g, s in zip(grads, sources, strict=True)
    ]
    return [outputs.values.detach(), *(part.detach() for part in final), *grads]


def assert_same(left: list[Tensor], right: list[Tensor]) -> None:
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


def reference(cell: Cell, values: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
    """Row by row, step by step: what every unrolling must equal."""
    outputs = torch.zeros(*values.shape[:2], HIDDEN_SIZE)
    finals = [part.clone() for part in make_state(cell, len(lengths))]
    for row, length in enumerate(lengths.tolist()):
        state = tuple(part[row : row + 1] for part in finals)
        for step in range(length):
            output, state = cell.step(cell.project(values[row : row + 1, step]), state)
            outputs[row, step] = output[0]
        for part, last in zip(finals, state, strict=True):
            part[row] = last[0]
    return outputs, tuple(finals)


@pytest.mark.parametrize("cell_class", CELLS)
@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5), extra=st.integers(0, 2))
def test_every_unrolling_gives_the_same_numbers(
    cell_class: type[Cell], lengths: list[int], extra: int
) -> None:
    cell = make_cell(cell_class)
    steps = torch.tensor(lengths)
    values = torch.randn(len(lengths), max(lengths) + extra, INPUT_SIZE)
    dynamic = numbers(Dynamic(), cell, values, steps)
    outputs, final = reference(cell, values, steps)
    assert_same([outputs.detach(), *(part.detach() for part in final)], dynamic[: 1 + len(final)])
    for other in (Static(num_steps=9), Fused(), Auto()):
        assert_same(dynamic, numbers(other, cell, values, steps))


@pytest.mark.parametrize("cell_class", CELLS)
@pytest.mark.parametrize("unrolling", [Dynamic(), Static(num_steps=8), Fused()])
def test_padding_is_never_read(cell_class: type[Cell], unrolling: Unrolling) -> None:
    cell = make_cell(cell_class)
    lengths = torch.tensor([5, 0, 2, 1])
    values = torch.randn(4, 5, INPUT_SIZE)
    spoilt = torch.where(Padded(values, lengths).mask().unsqueeze(2), values, 1e3)
    clean = numbers(unrolling, cell, values, lengths)
    dirty = numbers(unrolling, cell, spoilt, lengths)
    assert_same(clean, dirty)


@pytest.mark.parametrize("cell_class", CELLS)
def test_a_row_is_the_same_alone_and_in_a_batch(cell_class: type[Cell]) -> None:
    cell = make_cell(cell_class)
    lengths = torch.tensor([7, 3, 5])
    values = torch.randn(3, 7, INPUT_SIZE)
    for unrolling in (Dynamic(), Static(num_steps=7), Fused()):
        outputs, final = unrolling(cell, Padded(values, lengths), cell.initial_state(values, 3))
        for row, length in enumerate(lengths.tolist()):
            alone = Padded(values[row : row + 1, :length], lengths[row : row + 1])
            out, last = unrolling(cell, alone, cell.initial_state(values, 1))
            torch.testing.assert_close(
                outputs.values[row, :length], out.values[0], rtol=1e-5, atol=1e-6
            )
            for part, whole in zip(last, final, strict=True):
                torch.testing.assert_close(whole[row], part[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cell_class", "torch_class"), [(LSTM, torch.nn.LSTM), (GRU, torch.nn.GRU)]
)
def test_weights_of_torch_load_and_give_its_answers(
    cell_class: type[Cell], torch_class: type
) -> None:
    cell = make_cell(cell_class)
    module = torch_class(INPUT_SIZE, HIDDEN_SIZE, batch_first=True)
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in module.state_dict().items()})
    inputs = Padded(torch.randn(3, 6, INPUT_SIZE), torch.tensor([6, 2, 4]))
    expected, final = module(
        pack_padded_sequence(inputs.values, inputs.lengths, batch_first=True, enforce_sorted=False)
    )
    expected_values, _ = pad_packed_sequence(expected, batch_first=True, total_length=6)
    outputs, state = Dynamic()(cell, inputs, cell.initial_state(inputs.values, 3))
    torch.testing.assert_close(outputs.values, expected_values)
    final = final if isinstance(final, tuple) else (final,)
    for part, theirs in zip(state, final, strict=True):
        torch.testing.assert_close(part, theirs[0])


def test_static_refuses_longer_input_and_fused_a_cell_without_a_kernel() -> None:
    class Plain(Cell):
        num_states = 1

        def project(self, inputs: Tensor) -> Tensor:
            return inputs

        def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
            return state[0], state

    inputs = Padded(torch.zeros(1, 4, HIDDEN_SIZE), torch.tensor([4]))
    plain = Plain(HIDDEN_SIZE, HIDDEN_SIZE)
    with pytest.raises(ConfigError, match="num_steps=4"):
        Static(num_steps=3)(plain, inputs, plain.initial_state(inputs.values, 1))
    with pytest.raises(ConfigError, match="dynamic"):
        Fused()(plain, inputs, plain.initial_state(inputs.values, 1))
    Auto()(plain, inputs, plain.initial_state(inputs.values, 1))


def test_rows_that_have_ended_cost_nothing() -> None:
    rows_seen = []

    class Counting(LSTM):
        def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
            rows_seen.append(len(projected))
            return super().step(projected, state)

    cell = Counting(input_size=INPUT_SIZE, hidden_size=HIDDEN_SIZE)
    inputs = Padded(torch.randn(4, 9, INPUT_SIZE), torch.tensor([1, 6, 0, 3]))
    Dynamic()(cell, inputs, cell.initial_state(inputs.values, 4))
    assert rows_seen == [3, 2, 2, 1, 1, 1]
