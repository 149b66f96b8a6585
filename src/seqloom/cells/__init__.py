"""Recurrent cells: a file a family, each one time step of mathematics."""

from seqloom.cells.base import Cell as Cell
from seqloom.cells.base import FusedCell as FusedCell
from seqloom.cells.base import GatedCell as GatedCell
from seqloom.cells.base import ScanCell as ScanCell
from seqloom.cells.base import State as State
from seqloom.cells.coupled_lstm import CoupledLSTM as CoupledLSTM
from seqloom.cells.gru import GRU as GRU
from seqloom.cells.layer_norm_gru import LayerNormGRU as LayerNormGRU
from seqloom.cells.layer_norm_lstm import LayerNormLSTM as LayerNormLSTM
from seqloom.cells.li_gru import LiGRU as LiGRU
from seqloom.cells.lstm import LSTM as LSTM
from seqloom.cells.min_gru import MinGRU as MinGRU
from seqloom.cells.peephole_lstm import PeepholeLSTM as PeepholeLSTM
from seqloom.cells.projected_lstm import ProjectedLSTM as ProjectedLSTM
from seqloom.cells.reset_before_gru import ResetBeforeGRU as ResetBeforeGRU
from seqloom.cells.rnn import RNN as RNN
