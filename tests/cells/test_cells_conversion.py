"""Weights to and from torch and TensorFlow: exact round trips, and equal answers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seqloom.cells import GRU, LSTM, RNN, Cell, LiGRU, PeepholeLSTM, ProjectedLSTM, ResetBeforeGRU
from seqloom.cells.conversion import from_tensorflow, from_torch, to_tensorflow, to_torch
from seqloom.errors import DataError

INPUTS, HIDDEN, PROJECTED = 3, 4, 2
TORCH: dict[str, tuple[type[Cell], type[nn.RNNBase], dict[str, Any], dict[str, Any]]] = {
    "rnn": (RNN, nn.RNN, {}, {}),
    "irnn": (RNN, nn.RNN, {"nonlinearity": "relu"}, {"nonlinearity": "relu"}),
    "lstm": (LSTM, nn.LSTM, {}, {}),
    "projected": (ProjectedLSTM, nn.LSTM, {"projection_size": PROJECTED}, {"proj_size": PROJECTED}),
    "gru": (GRU, nn.GRU, {}, {}),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch.nn says so once
@pytest.mark.parametrize("name", TORCH)
def test_torch_gives_the_same_answers_and_takes_its_weights_back(name: str) -> None:
    torch.manual_seed(0)
    cell_class, module_class, own, theirs = TORCH[name]
    module: Any = module_class(
        INPUTS, HIDDEN, num_layers=1, bidirectional=True, batch_first=True, **theirs
    )
    values = torch.randn(2, 5, INPUTS)
    expected, _ = module(values)
    halves = expected.chunk(2, dim=-1)
    back: Any = module_class(
        INPUTS, HIDDEN, num_layers=1, bidirectional=True, batch_first=True, **theirs
    )
    for reverse, half in zip((False, True), halves, strict=True):
        cell: Any = cell_class(input_size=INPUTS, hidden_size=HIDDEN, **own)
        from_torch(cell, module, reverse=reverse)
        state = cell.initial_state(values, 2)
        steps = reversed(range(5)) if reverse else range(5)
        for step in steps:
            output, state = cell.step(cell.project(values[:, step]), state)
            torch.testing.assert_close(output, half[:, step])
        to_torch(cell, back, reverse=reverse)
    for key, value in module.state_dict().items():
        assert torch.equal(back.state_dict()[key], value)


def test_torchs_upper_layers() -> None:
    module = nn.GRU(INPUTS, HIDDEN, num_layers=2)
    cell = GRU(input_size=HIDDEN, hidden_size=HIDDEN)
    from_torch(cell, module, layer=1)
    assert torch.equal(cell.weight_ih, module.weight_ih_l1)


@pytest.mark.parametrize(
    ("cell", "module", "layer"),
    [
        (GRU(input_size=INPUTS, hidden_size=HIDDEN), nn.LSTM(INPUTS, HIDDEN), 0),
        (GRU(input_size=INPUTS, hidden_size=HIDDEN), nn.GRU(INPUTS, HIDDEN + 1), 0),
        (GRU(input_size=INPUTS, hidden_size=HIDDEN), nn.GRU(INPUTS, HIDDEN), 1),
        (GRU(input_size=INPUTS, hidden_size=HIDDEN), nn.GRU(INPUTS, HIDDEN, bias=False), 0),
        (
            RNN(input_size=INPUTS, hidden_size=HIDDEN),
            nn.RNN(INPUTS, HIDDEN, nonlinearity="relu"),
            0,
        ),
        (LiGRU(input_size=INPUTS, hidden_size=HIDDEN), nn.GRU(INPUTS, HIDDEN), 0),
        (PeepholeLSTM(input_size=INPUTS, hidden_size=HIDDEN), nn.LSTM(INPUTS, HIDDEN), 0),
    ],
)
def test_torchs_other_cells_are_refused(cell: Cell, module: nn.RNNBase, layer: int) -> None:
    for convert in (from_torch, to_torch):
        with pytest.raises(DataError):
            convert(cell, module, layer=layer)


TENSORFLOW: list[Any] = [
    RNN(input_size=INPUTS, hidden_size=HIDDEN),
    LSTM(input_size=INPUTS, hidden_size=HIDDEN),
    PeepholeLSTM(input_size=INPUTS, hidden_size=HIDDEN),
    ProjectedLSTM(input_size=INPUTS, hidden_size=HIDDEN, projection_size=PROJECTED),
    ResetBeforeGRU(input_size=INPUTS, hidden_size=HIDDEN),
]


@pytest.mark.parametrize("cell", TENSORFLOW, ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("forget_bias", [1.0, 0.3])
def test_tensorflow_takes_its_variables_back(cell: Cell, forget_bias: float) -> None:
    generator = np.random.default_rng(0)
    variables = {
        name: generator.standard_normal(array.shape).astype(np.float32)
        for name, array in to_tensorflow(cell).items()
    }
    from_tensorflow(cell, variables, forget_bias=forget_bias)
    back = to_tensorflow(cell, forget_bias=forget_bias)
    assert back.keys() == variables.keys()
    for name, array in variables.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_writing_variables_leaves_the_cell_alone() -> None:
    cell = LSTM(input_size=INPUTS, hidden_size=HIDDEN)
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    to_tensorflow(cell)["kernel"][:] = 7
    for name, value in cell.state_dict().items():
        assert torch.equal(value, before[name])


def test_other_variables_are_refused() -> None:
    cell = LSTM(input_size=INPUTS, hidden_size=HIDDEN)
    variables = to_tensorflow(cell)
    for wrong in (
        {},
        {"kernel": variables["kernel"]},
        variables | {"w_i_diag": np.zeros(HIDDEN, np.float32)},
        variables | {"kernel": variables["kernel"].T},
    ):
        with pytest.raises(DataError, match="variables"):
            from_tensorflow(cell, wrong)
    for foreign in (
        GRU(input_size=INPUTS, hidden_size=HIDDEN),
        LiGRU(input_size=INPUTS, hidden_size=HIDDEN),
    ):
        with pytest.raises(DataError, match="no cell of TensorFlow"):
            to_tensorflow(foreign)
