"""TensorFlow's `dynamic_rnn` and `static_rnn`: answers, and gradients of sum(outputs ** 2)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seqloom.cells import LSTM
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.recurrent import RecurrentLayer, RecurrentStack
from seqloom.sequences import Padded
from seqloom.unrolling import Dynamic, Fused, Static, Unrolling

FORGET_BIAS = 1.0  # TensorFlow adds it inside the cell


def torch_gates(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """TensorFlow's gate order i, g, f, o on the last axis -> torch's i, f, g, o."""
    i, g, f, o = np.split(weight, 4, axis=-1)
    return np.concatenate([i, f, g, o], axis=-1)


def load_weights(cell: LSTM, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    kernel, bias, size = torch_gates(kernel).T, torch_gates(bias), cell.hidden_size
    with torch.no_grad():
        cell.weight_ih.copy_(torch.tensor(kernel[:, : cell.input_size]))
        cell.weight_hh.copy_(torch.tensor(kernel[:, cell.input_size :]))
        cell.bias_ih.copy_(torch.tensor(bias))
        cell.bias_ih[size : 2 * size] += FORGET_BIAS


def golden_stack(golden: Any, prefixes: list[str], unrolling: Unrolling) -> RecurrentStack:
    input_size, hidden_size = golden["inputs"].shape[2], golden["outputs"].shape[2]
    layers = []
    for number, prefix in enumerate(prefixes):
        layer = RecurrentLayer(
            cell=LSTM,
            unrolling=unrolling,
            input_size=hidden_size if number else input_size,
            output_size=hidden_size,
        )
        cell = layer.cells[0]
        assert isinstance(cell, LSTM)
        load_weights(cell, golden[f"weight:{prefix}/kernel"], golden[f"weight:{prefix}/bias"])
        layers.append(layer)
    dropout = SequenceDropout(probability=0.0, locked=False)
    return RecurrentStack(layers=layers, dropout=dropout, residual=False)


THREE = [f"rnn/multi_rnn_cell/cell_{number}/lstm_cell" for number in range(3)]


@pytest.mark.parametrize("unrolling", [Dynamic(), Static(num_steps=6), Fused()])
@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("lstm", ["rnn/lstm_cell"]),
        ("lstm_static", ["rnn/lstm_cell"]),
        ("lstm_three_layers", THREE),
    ],
)
def test_tensorflow_answers(
    shared_data: Path, unrolling: Unrolling, name: str, prefixes: list[str]
) -> None:
    folder = shared_data.parent / "golden" / "tensorflow_rnn"
    golden = np.load(folder / f"{name}.npz", allow_pickle=False)
    stack = golden_stack(golden, prefixes, unrolling)
    inputs = torch.tensor(golden["inputs"], requires_grad=True)
    lengths = torch.tensor(golden["lengths"]).long()
    outputs, finals = stack(Padded(inputs, lengths), stack.initial_states(inputs, len(lengths)))

    def same(ours: torch.Tensor, theirs: NDArray[np.float32]) -> None:
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-5, atol=1e-5)

    same(outputs.values, golden["outputs"])
    for number, (hidden, memory) in enumerate(finals):
        key = f"final_state:{number}." if len(prefixes) > 1 else "final_state:"
        same(hidden, golden[f"{key}h"])
        same(memory, golden[f"{key}c"])
    outputs.values.pow(2).sum().backward()
    assert inputs.grad is not None
    same(inputs.grad, golden["grad_inputs"])
    for layer, prefix in zip(stack.layers, prefixes, strict=True):
        assert isinstance(layer, RecurrentLayer)
        cell = layer.cells[0]
        assert isinstance(cell, LSTM)
        assert cell.weight_ih.grad is not None
        assert cell.weight_hh.grad is not None
        assert cell.bias_ih.grad is not None
        kernel = torch.cat([cell.weight_ih.grad, cell.weight_hh.grad], dim=1).T
        theirs = golden[f"grad:{prefix}/kernel"]
        same(kernel, torch_gates(theirs))
        same(cell.bias_ih.grad, torch_gates(golden[f"grad:{prefix}/bias"]))
