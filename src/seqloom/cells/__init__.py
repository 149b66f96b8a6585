"""Recurrent cells: a file a family, each one time step of mathematics."""

from seqloom.cells.base import Cell as Cell
from seqloom.cells.base import FusedCell as FusedCell
from seqloom.cells.base import State as State
from seqloom.cells.gru import GRU as GRU
from seqloom.cells.lstm import LSTM as LSTM
