"""TensorFlow's `dynamic_rnn`, `static_rnn` and `bidirectional_dynamic_rnn`: answers, final states,
and gradients of sum(outputs ** 2) by inputs and weights."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seqloom.cells import LSTM, RNN, Cell, PeepholeLSTM, ProjectedLSTM, ResetBeforeGRU, State
from seqloom.cells.conversion import from_tensorflow, to_tensorflow
from seqloom.sequences import Padded
from seqloom.unrolling import Dynamic, Fused, Static, Unrolling

THREE = [f"rnn/multi_rnn_cell/cell_{number}/lstm_cell" for number in range(3)]
# File, our cell, and the scopes of its layers.
FILES: list[tuple[str, type[Cell], list[str]]] = [
    ("basic_rnn", RNN, ["rnn/basic_rnn_cell"]),
    ("gru", ResetBeforeGRU, ["rnn/gru_cell"]),
    ("lstm", LSTM, ["rnn/lstm_cell"]),
    ("lstm_static", LSTM, ["rnn/lstm_cell"]),
    ("lstm_three_layers", LSTM, THREE),
    ("lstm_peephole", PeepholeLSTM, ["rnn/lstm_cell"]),
    ("lstm_projection", ProjectedLSTM, ["rnn/lstm_cell"]),
]
# TensorFlow adds it inside the cell and the files do not hold it; one was made without (the numbers
# of its second step say so: the first reads no memory).
FORGET_BIASES = {"lstm_projection": 0.0}
UNROLLINGS: dict[str, Unrolling] = {
    "dynamic": Dynamic(),
    "static": Static(num_steps=6),
    "fused": Fused(),
}
FUSED = {RNN, LSTM, ProjectedLSTM}
CASES = [
    pytest.param(unrolling, *file, id=f"{file[0]}-{unrolling}")
    for file in FILES
    for unrolling in UNROLLINGS
    if unrolling != "fused" or file[1] in FUSED
]


def load(shared_data: Path, name: str) -> Any:
    return np.load(
        shared_data.parent / "golden" / "tensorflow_rnn" / f"{name}.npz", allow_pickle=False
    )


def variables(golden: Any, kind: str, scope: str) -> dict[str, NDArray[np.float32]]:
    """`weight` or `grad` of a scope, by the variables' names in it."""
    prefix = f"{kind}:{scope}/"
    return {key.removeprefix(prefix): golden[key] for key in golden if key.startswith(prefix)}


def golden_cell(
    golden: Any, cell_class: type[Cell], scope: str, input_size: int, forget_bias: float = 1.0
) -> Cell:
    weights = variables(golden, "weight", scope)
    sizes = {"input_size": input_size, "hidden_size": golden["outputs"].shape[2]}
    if cell_class is ResetBeforeGRU:
        sizes["hidden_size"] = weights["candidate/bias"].shape[0]
    if cell_class is ProjectedLSTM:
        hidden_size, projection_size = weights["projection/kernel"].shape
        sizes |= {"hidden_size": hidden_size, "projection_size": projection_size}
    cell = cell_class(**sizes)  # type: ignore[arg-type]
    from_tensorflow(cell, weights, forget_bias=forget_bias)
    return cell


def same(ours: torch.Tensor, theirs: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-5, atol=1e-5)


def same_gradients(cell: Cell, golden: Any, scope: str) -> None:
    """The gradients, in TensorFlow's layout: a cell that holds them in place of its weights."""
    grads = copy.deepcopy(cell)
    with torch.no_grad():
        for name, parameter in grads.named_parameters():
            grad = cell.get_parameter(name).grad
            assert grad is not None
            parameter.copy_(torch.zeros_like(grad) if name == "bias_hh" else grad)
    ours, theirs = to_tensorflow(grads, forget_bias=0.0), variables(golden, "grad", scope)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


def final_arrays(golden: Any, number: int, num_layers: int) -> list[NDArray[np.float32]]:
    prefix = f"final_state:{number}." if num_layers > 1 else "final_state:"
    return [golden[f"{prefix}{part}"] for part in "hc" if f"{prefix}{part}" in golden]


@pytest.mark.parametrize(("unrolling", "name", "cell_class", "scopes"), CASES)
def test_tensorflow_answers(
    shared_data: Path, unrolling: str, name: str, cell_class: type[Cell], scopes: list[str]
) -> None:
    golden = load(shared_data, name)
    inputs = torch.tensor(golden["inputs"], requires_grad=True)
    layer = Padded(inputs, torch.tensor(golden["lengths"]).long())
    cells: list[Cell] = []
    finals: list[State] = []
    for scope in scopes:
        input_size, forget_bias = layer.values.shape[2], FORGET_BIASES.get(name, 1.0)
        cell = golden_cell(golden, cell_class, scope, input_size, forget_bias)
        initial = cell.initial_state(inputs, layer.batch_size)
        layer, final = UNROLLINGS[unrolling](cell, layer, initial)
        cells.append(cell)
        finals.append(final)

    same(layer.values, golden["outputs"])
    for number, final in enumerate(finals):
        theirs = final_arrays(golden, number, len(scopes))
        assert len(theirs) == len(final)
        for part, array in zip(final, theirs, strict=True):
            same(part, array)
    layer.values.pow(2).sum().backward()
    assert inputs.grad is not None
    same(inputs.grad, golden["grad_inputs"])
    for cell, scope in zip(cells, scopes, strict=True):
        same_gradients(cell, golden, scope)


@pytest.mark.parametrize("unrolling", ["dynamic", "static"])
def test_tensorflow_answers_in_both_directions(shared_data: Path, unrolling: str) -> None:
    golden = load(shared_data, "gru_bidirectional")
    inputs = torch.tensor(golden["inputs"], requires_grad=True)
    padded = Padded(inputs, torch.tensor(golden["lengths"]).long())
    scopes = [f"bidirectional_rnn/{direction}/gru_cell" for direction in ("fw", "bw")]
    cells = [golden_cell(golden, ResetBeforeGRU, scope, inputs.shape[2]) for scope in scopes]
    run = UNROLLINGS[unrolling]
    forward, last = run(cells[0], padded, cells[0].initial_state(inputs, padded.batch_size))
    backward, first = run(
        cells[1], padded.reversed(), cells[1].initial_state(inputs, padded.batch_size)
    )
    outputs = torch.cat([forward.values, backward.reversed().values], dim=2)

    same(outputs, golden["outputs"])
    same(last[0], golden["final_state:0"])
    same(first[0], golden["final_state:1"])
    outputs.pow(2).sum().backward()
    assert inputs.grad is not None
    same(inputs.grad, golden["grad_inputs"])
    for cell, scope in zip(cells, scopes, strict=True):
        same_gradients(cell, golden, scope)


def test_every_golden_file_is_reproduced(shared_data: Path) -> None:
    folder = shared_data.parent / "golden" / "tensorflow_rnn"
    names = {file.stem for file in folder.glob("*.npz")}
    assert names == {name for name, _, _ in FILES} | {"gru_bidirectional"}
    lengths = load(shared_data, "lstm")["lengths"]
    assert 0 in lengths  # the law of empty rows is among what is compared
