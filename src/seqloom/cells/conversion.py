"""Weights of `torch.nn`'s and of TensorFlow's recurrent layers, in ours and back.

Ours have torch's names and layout, so torch's are copied. TensorFlow's cells (`tf.nn.rnn_cell`, the
names of their variables without the scope) keep one kernel [I + H, gates * H] that reads the input
and the state side by side, the LSTM's gates in the order i, g, f, o, and add `forget_bias` to the
forget gate inside the cell. It is kept in `bias_hh`, and what is written back is summed in float64,
so TensorFlow -> ours -> TensorFlow is exact; the other way round only the sum of the biases is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqloom.cells.base import Cell
from seqloom.cells.gru import GRU
from seqloom.cells.lstm import LSTM
from seqloom.cells.peephole_lstm import PeepholeLSTM
from seqloom.cells.projected_lstm import ProjectedLSTM
from seqloom.cells.reset_before_gru import ResetBeforeGRU
from seqloom.cells.rnn import RNN
from seqloom.errors import DataError

Arrays = Mapping[str, NDArray[np.float32]]

_PEEPHOLES = ("w_i_diag", "w_f_diag", "w_o_diag")


@torch.no_grad()
def from_torch(cell: Cell, module: nn.RNNBase, *, layer: int = 0, reverse: bool = False) -> None:
    """Copies the weights of one layer and direction of `nn.RNN`, `nn.LSTM` or `nn.GRU` into `cell`.

    Raises:
        DataError: the layer has other parameters than the cell, or of other shapes.
    """
    for own, theirs in _torch_pairs(cell, module, layer, reverse):
        own.copy_(theirs)


@torch.no_grad()
def to_torch(cell: Cell, module: nn.RNNBase, *, layer: int = 0, reverse: bool = False) -> None:
    """The other way round: copies the weights of `cell` into one layer and direction.

    Raises:
        DataError: as `from_torch`.
    """
    for own, theirs in _torch_pairs(cell, module, layer, reverse):
        theirs.copy_(own)


def _torch_pairs(
    cell: Cell, module: nn.RNNBase, layer: int, reverse: bool
) -> list[tuple[Tensor, Tensor]]:
    suffix = f"_l{layer}{'_reverse' if reverse else ''}"
    theirs = {
        name.removesuffix(suffix): parameter
        for name, parameter in module.named_parameters()
        if name.endswith(suffix)
    }
    own = dict(cell.named_parameters())
    shapes = [{name: tuple(t.shape) for name, t in side.items()} for side in (own, theirs)]
    fits = isinstance(cell, RNN | LSTM | ProjectedLSTM | GRU) and shapes[0] == shapes[1]
    if not fits or (isinstance(cell, RNN) and cell.nonlinearity != module.nonlinearity):
        raise DataError(
            f"{type(module).__name__} layer {layer}",
            f"has the parameters {shapes[1]}, {type(cell).__name__} has {shapes[0]}",
            "give the cell that the module has, in its sizes",
        )
    return [(own[name], theirs[name]) for name in own]


@torch.no_grad()
def from_tensorflow(cell: Cell, variables: Arrays, *, forget_bias: float = 1.0) -> None:
    """Copies the variables of `BasicRNNCell` (`RNN`), `LSTMCell` (`LSTM`, `PeepholeLSTM`,
    `ProjectedLSTM`) or `GRUCell` (`ResetBeforeGRU`) into `cell`.

    Args:
        cell: of the class named above.
        variables: `kernel`, `bias`, `w_i_diag`, `projection/kernel`, `gates/kernel` and so on.
        forget_bias: what TensorFlow's LSTM was given under this name.

    Raises:
        DataError: TensorFlow has no such cell, a variable is missing or one too many, or a shape is
            not that of the cell.
    """
    wanted = {name: array.shape for name, array in to_tensorflow(cell).items()}
    found = {name: array.shape for name, array in variables.items()}
    if wanted != found:
        raise DataError(
            f"variables {found}",
            f"are not those of {type(cell).__name__}",
            f"give {wanted}",
        )
    theirs = {name: torch.tensor(array) for name, array in variables.items()}
    own = dict(cell.named_parameters())
    if isinstance(cell, ResetBeforeGRU):
        kernel = torch.cat([theirs["gates/kernel"], theirs["candidate/kernel"]], dim=1)
        bias = torch.cat([theirs["gates/bias"], theirs["candidate/bias"]])
    else:
        kernel, bias = theirs["kernel"], theirs["bias"]
        own["bias_hh"].zero_()
    if isinstance(cell, LSTM | PeepholeLSTM | ProjectedLSTM):
        kernel, bias = _swap_gates(kernel), _swap_gates(bias)
        own["bias_hh"].chunk(4)[1].fill_(forget_bias)
    own["weight_ih"].copy_(kernel[: cell.input_size].T)
    own["weight_hh"].copy_(kernel[cell.input_size :].T)
    own["bias_ih"].copy_(bias)
    if isinstance(cell, PeepholeLSTM):
        own["weight_ch"].copy_(torch.cat([theirs[name] for name in _PEEPHOLES]))
    if isinstance(cell, ProjectedLSTM):
        own["weight_hr"].copy_(theirs["projection/kernel"].T)


@torch.no_grad()
def to_tensorflow(cell: Cell, *, forget_bias: float = 1.0) -> dict[str, NDArray[np.float32]]:
    """The variables of TensorFlow's cell, as `from_tensorflow` takes them.

    Raises:
        DataError: TensorFlow has no such cell.
    """
    _require_tensorflow(cell)
    own = {name: parameter.double().cpu() for name, parameter in cell.named_parameters()}
    kernel = torch.cat([own["weight_ih"], own["weight_hh"]], dim=1).T
    if isinstance(cell, ResetBeforeGRU):
        sizes, bias = [2 * cell.hidden_size, cell.hidden_size], own["bias_ih"]
        gates, candidate = kernel.split(sizes, dim=1)
        tensors = {"gates/kernel": gates, "candidate/kernel": candidate}
        tensors["gates/bias"], tensors["candidate/bias"] = bias.split(sizes)
    else:
        bias = own["bias_ih"] + own["bias_hh"]
        tensors = {"kernel": kernel, "bias": bias}
    if isinstance(cell, LSTM | PeepholeLSTM | ProjectedLSTM):
        bias.chunk(4)[1].sub_(float(np.float32(forget_bias)))  # as `bias_hh` has it
        tensors = {"kernel": _swap_gates(kernel), "bias": _swap_gates(bias)}
    if isinstance(cell, PeepholeLSTM):
        tensors |= zip(_PEEPHOLES, own["weight_ch"].chunk(3), strict=True)
    if isinstance(cell, ProjectedLSTM):
        tensors["projection/kernel"] = own["weight_hr"].T
    return {name: tensor.float().contiguous().numpy() for name, tensor in tensors.items()}


def _require_tensorflow(cell: Cell) -> None:
    known = isinstance(cell, RNN | LSTM | PeepholeLSTM | ProjectedLSTM | ResetBeforeGRU)
    if not known or (isinstance(cell, RNN) and cell.nonlinearity != "tanh"):
        raise DataError(
            type(cell).__name__,
            "is no cell of TensorFlow's in this form",
            "use RNN (tanh), LSTM, PeepholeLSTM, ProjectedLSTM or ResetBeforeGRU",
        )


def _swap_gates(weight: Tensor) -> Tensor:
    """Between TensorFlow's i, g, f, o and torch's i, f, g, o on the last axis; its own inverse."""
    first, second, third, fourth = weight.chunk(4, dim=-1)
    return torch.cat([first, third, second, fourth], dim=-1)
