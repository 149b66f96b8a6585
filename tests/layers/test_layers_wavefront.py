"""A wavefront computes what layer by layer does, for every cell, unrolling and option; its units
come in the order of a wavefront."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from seqloom.cells import GRU, LSTM, RNN, MinGRU, ProjectedLSTM, State
from seqloom.cells.conv_gru import ConvGRU
from seqloom.errors import ConfigError
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.recurrent import LayerByLayer, RecurrentStack, StackOptions, stack_of_layers
from seqloom.layers.wavefront import Unit, Wavefront, ticks
from seqloom.sequences import Padded
from seqloom.unrolling import Auto, Dynamic, Fused, Scan, Static

PLAIN = StackOptions()
PROJECTED = partial(ProjectedLSTM, projection_size=2)


def stack_of(options: StackOptions = PLAIN, *, dropout: float = 0, **more: Any) -> RecurrentStack:
    arguments: dict[str, Any] = {"cell": LSTM, "unrolling": Auto(), "output_size": 4, **more}
    drop = SequenceDropout(probability=dropout, locked=arguments.pop("locked", True))
    torch.manual_seed(0)
    return stack_of_layers(4, 3, dropout=drop, options=options, **arguments)


def rows_of(*lengths: int, size: Sequence[int] = (4,)) -> Padded:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(len(lengths), max(lengths), *size, generator=generator)
    return Padded(values, torch.tensor(lengths))


def results(
    stack: RecurrentStack, inputs: Padded, states: list[State], side: Tensor | None = None
) -> list[Tensor]:
    """Outputs, finals, and the gradients of inputs and parameters by a sum that tells all apart."""
    values = inputs.values.clone().requires_grad_()
    stack.zero_grad()
    torch.manual_seed(3)
    outputs, finals = stack(inputs.with_values(values), states, side)
    found = [outputs.values, *(part for state in finals for part in state)]
    total = sum((each * torch.arange(1.0, each.numel() + 1).view_as(each)).sum() for each in found)
    assert isinstance(total, Tensor)
    (total / 100).backward()
    assert values.grad is not None
    grads = [parameter.grad for parameter in stack.parameters()]
    return [*found, values.grad, *(grad for grad in grads if grad is not None)]


def assert_same(
    stack: RecurrentStack, schedule: Wavefront, inputs: Padded, side: Tensor | None = None
) -> None:
    states = [
        tuple(part + 0.1 for part in state)
        for state in stack.initial_states(inputs.values, inputs.batch_size)
    ]
    if stack.reads_maps:
        states = stack.initial_states(inputs.values, inputs.batch_size)
    stack.schedule = LayerByLayer()
    expected = results(stack, inputs, states, side)
    stack.schedule = schedule
    found = results(stack, inputs, states, side)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "unrolling"),
    [
        (LSTM, Fused()),
        (GRU, Fused()),
        (RNN, Auto()),
        (MinGRU, Scan()),
        (PROJECTED, Auto()),
        (LSTM, Dynamic()),
        (LSTM, Static(num_steps=7)),
        (GRU, Dynamic(memory="checkpoint")),
        (LSTM, Dynamic(memory="swap", num_segments=2)),
        (LSTM, Fused(memory="checkpoint")),
    ],
)
@pytest.mark.parametrize("schedule", [Wavefront(3), Wavefront(2, 2), Wavefront(1, 3)])
def test_a_wavefront_is_layer_by_layer(cell: Any, unrolling: Any, schedule: Wavefront) -> None:
    stack = stack_of(cell=cell, unrolling=unrolling)
    assert_same(stack, schedule, rows_of(7, 0, 2, 5))


OPTIONS = [
    StackOptions(connection="residual"),
    StackOptions(connection="highway", layer_norm=True),
    StackOptions(connection="residual", residual_from=1, layer_norm=True),
    StackOptions(bidirectional_layers="first", connection="residual"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("side_size", [0, 3])
def test_a_wavefront_keeps_connections_and_side_input(
    options: StackOptions, side_size: int
) -> None:
    both_ways = options.bidirectional_layers == "first"
    stack = stack_of(options, side_size=side_size, bidirectional=both_ways, num_below=0)
    side = torch.randn(4, 6, side_size) if side_size else None
    assert_same(stack, Wavefront(4, 2), rows_of(6, 3, 0, 5), side)


@pytest.mark.parametrize("lengths", [(1,), (2, 1), (0, 0, 3), (5, 5)])
def test_more_slices_than_steps_or_rows_are_legal(lengths: tuple[int, ...]) -> None:
    assert_same(stack_of(), Wavefront(16, 8), rows_of(*lengths))


def test_no_steps_and_no_rows_are_legal() -> None:
    stack = stack_of()
    stack.schedule = Wavefront(3, 2)
    for shape, lengths in (((2, 0, 4), [0, 0]), ((0, 3, 4), [])):
        inputs = Padded(torch.zeros(shape), torch.tensor(lengths, dtype=torch.int64))
        outputs, finals = stack(inputs, stack.initial_states(inputs.values, shape[0]))
        assert outputs.values.shape == shape
        assert [part.shape for part in finals[0]] == [(shape[0], 4)] * 2


def test_a_wavefront_over_maps() -> None:
    stack = stack_of(cell=partial(ConvGRU, kernel_size=3), unrolling=Dynamic())
    assert_same(stack, Wavefront(2, 2), rows_of(5, 2, size=(4, 3, 3)))


def test_locked_dropout_has_one_mask_a_layer() -> None:
    """The same draws in the same order as layer by layer, so the same numbers."""
    assert_same(stack_of(dropout=0.5), Wavefront(3), rows_of(6, 4, 2))


def test_masks_inside_the_recurrence_are_those_of_the_whole_sequence() -> None:
    """The same draws in the same order as layer by layer, rows being cut after they are drawn."""
    options = StackOptions(recurrent_dropout=0.5, weight_drop=0.5)
    assert_same(stack_of(options), Wavefront(3, 2), rows_of(7, 0, 2, 5))


def test_a_dropout_for_slices_keeps_its_first_mask_and_leaves_the_own_one_alone() -> None:
    dropout = SequenceDropout(probability=0.5, locked=True)
    sliced, ones = dropout.for_slices(), torch.ones(4, 2, 32)
    first = sliced(ones)
    assert torch.equal(sliced(torch.ones(4, 5, 32)), first[:, :1].expand(4, 5, 32))
    assert not torch.equal(dropout(ones), dropout(ones))
    assert torch.equal(sliced.eval()(ones), ones)


@pytest.mark.parametrize("options", [PLAIN, StackOptions(zoneout=0.3)], ids=["plain", "zoneout"])
def test_independent_noise_is_the_same_under_the_same_seed(options: StackOptions) -> None:
    stack = stack_of(options, dropout=0.5, locked=False)
    stack.schedule = Wavefront(3, 2)
    inputs = rows_of(6, 4)
    first, second = (results(stack, inputs, stack.initial_states(inputs.values, 2)) for _ in "ab")
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_units_come_in_the_order_of_a_wavefront() -> None:
    seen: list[tuple[int, Unit]] = []
    stack = stack_of()
    stack.schedule = Wavefront(4, 2, observe=lambda tick, unit: seen.append((tick, unit)))
    inputs = rows_of(8, 8, 3)
    stack(inputs, stack.initial_states(inputs.values, 3))
    assert seen == list(ticks(range(3), 4, 2))
    assert len({unit for _, unit in seen}) == len(seen) == 3 * 4 * 2
    when = {unit: tick for tick, unit in seen}
    by_tick = defaultdict(list)
    for tick, unit in seen:
        by_tick[tick].append(unit.place)
        if unit.place:
            assert when[Unit(unit.place - 1, unit.chunk, unit.micro_batch)] == tick - 1
        if unit.chunk:
            assert when[Unit(unit.place, unit.chunk - 1, unit.micro_batch)] == tick - 2
    assert len(by_tick) == 4 * 2 + 3 - 1
    assert all(len(set(places)) == len(places) for places in by_tick.values())


def test_layers_that_read_both_ways_run_before(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    options = StackOptions(bidirectional_layers="first")
    stack = stack_of(options, bidirectional=True)
    stack.schedule = Wavefront(2, observe=lambda _, unit: seen.append(unit.place))
    inputs = rows_of(4, 2)
    stack(inputs, stack.initial_states(inputs.values, 2))
    assert seen == [1, 2, 1, 2]
    stack = stack_of(bidirectional=True)
    stack.schedule = Wavefront(2, observe=lambda _, unit: seen.append(unit.place))
    with caplog.at_level("INFO"):
        for _ in range(2):
            stack(inputs, stack.initial_states(inputs.values, 2))
    assert len(seen) == 4
    told = [record.message for record in caplog.records if "wavefront" in record.name]
    assert told == ["wavefront: all layers of a stack read both ways, so none can overlap"]


def test_slices_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.num_chunks=0: is no number of slices"):
        Wavefront(0)
    with pytest.raises(ConfigError, match=r"strategy\.num_micro_batches=-1: is no number of sl"):
        Wavefront(1, -1)
