"""`scan`: the numbers of the loop under every memory policy, and who is refused."""

import pytest
import torch
from torch import Tensor

from seqloom.cells import GRU, LRU, MLSTM, QRNN, SRU, Cell, MinGRU
from seqloom.cells.noise import Noise
from seqloom.errors import ConfigError
from seqloom.sequences import Padded
from seqloom.unrolling import Auto, Dynamic, Scan, Unrolling

CELLS = [MinGRU, QRNN, LRU, MLSTM]


def make(cell_class: type[Cell]) -> Cell:
    torch.manual_seed(0)
    return cell_class(input_size=3, hidden_size=4).double()  # type: ignore[call-arg]


def numbers(unrolling: Unrolling, cell: Cell, values: Tensor, lengths: list[int]) -> list[Tensor]:
    values = values.clone().requires_grad_()
    state = tuple(
        (part + 0.1).requires_grad_() for part in cell.initial_state(values, len(lengths))
    )
    outputs, final = unrolling(cell, Padded(values, torch.tensor(lengths)), state)
    assert [part.dtype for part in final] == [part.dtype for part in state]
    loss = outputs.values.pow(2).sum() + sum(part.sin().sum() for part in final)
    grads = torch.autograd.grad(loss, [values, *state, *cell.parameters()])
    return [outputs.values, *final, *grads]


@pytest.mark.parametrize("cell_class", CELLS)
@pytest.mark.parametrize(
    "scan",
    [
        Scan(),
        Scan(memory="checkpoint"),
        Scan(memory="checkpoint", num_segments=2),
        Scan(memory="swap", num_segments=3),
        Auto(),
    ],
    ids=["keep", "checkpoint", "two", "swap", "auto"],
)
def test_every_memory_policy_gives_the_numbers_of_the_loop(
    cell_class: type[Cell], scan: Unrolling
) -> None:
    cell = make(cell_class)
    values = torch.randn(3, 130, 3, dtype=torch.float64)
    lengths = [130, 0, 70]
    loop = numbers(Dynamic(), cell, values, lengths)
    for one, other in zip(loop, numbers(scan, cell, values, lengths), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("cell_class", CELLS)
@pytest.mark.parametrize(("batch_size", "num_steps"), [(0, 3), (2, 0), (2, 3)])
def test_where_no_step_is_real_the_state_is_kept(
    cell_class: type[Cell], batch_size: int, num_steps: int
) -> None:
    cell = make(cell_class)
    inputs = Padded(
        torch.randn(batch_size, num_steps, 3, dtype=torch.float64),
        torch.zeros(batch_size, dtype=torch.int64),
    )
    state = tuple(part + 0.3 for part in cell.initial_state(inputs.values, batch_size))
    outputs, final = Scan()(cell, inputs, state)
    assert torch.equal(outputs.values, inputs.values.new_zeros(batch_size, num_steps, 4))
    for one, other in zip(final, state, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("cell_class", CELLS)
def test_a_stream_in_pieces_is_the_whole(cell_class: type[Cell]) -> None:
    cell = make(cell_class)
    values, full = torch.randn(2, 9, 3, dtype=torch.float64), torch.tensor([9, 9])
    whole, last = Scan()(cell, Padded(values, full), cell.initial_state(values, 2))
    state, pieces = cell.initial_state(values, 2), []
    for piece in values.split([1, 5, 3], dim=1):
        lengths = torch.full((2,), piece.shape[1])
        outputs, state = Scan()(cell, Padded(piece, lengths), state)
        pieces.append(outputs.values)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole.values)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("frozen", ["nu_log", "weight_out", "weight_in"])
def test_frozen_parameters_get_no_gradient(frozen: str) -> None:
    cell = make(LRU)
    getattr(cell, frozen).requires_grad_(False)
    values = torch.randn(2, 5, 3, dtype=torch.float64)
    state = cell.initial_state(values, 2)
    outputs, _ = Scan()(cell, Padded(values, torch.tensor([5, 3])), state)
    outputs.values.sum().backward()
    for name, parameter in cell.named_parameters():
        assert (parameter.grad is None) == (name == frozen)


def test_who_is_refused_is_told_what_is_possible() -> None:
    inputs = Padded(torch.randn(1, 4, 3), torch.tensor([4]))
    peephole = SRU(input_size=3, hidden_size=4, peephole=True)
    noisy = MinGRU(input_size=3, hidden_size=4).for_sequence(Noise(zoneout=0.1), 1)
    wrong: list[tuple[Cell, str]] = [
        (GRU(input_size=3, hidden_size=4), "not linear.*fused, dynamic, static or auto"),
        (peephole, "by an option.*dynamic, static or auto"),
        (noisy, "noise inside.*dynamic, static or auto"),
    ]
    for cell, message in wrong:
        state = cell.initial_state(inputs.values, 1)
        with pytest.raises(ConfigError, match=f"(?s){message}"):
            Scan()(cell, inputs, state)
        Auto()(cell, inputs, state)
