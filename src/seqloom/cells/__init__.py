"""Recurrent cells: a file a family, each one time step of mathematics."""

from seqloom.cells.base import Cell as Cell
from seqloom.cells.base import FusedCell as FusedCell
from seqloom.cells.base import GatedCell as GatedCell
from seqloom.cells.base import ScanCell as ScanCell
from seqloom.cells.base import State as State
from seqloom.cells.conv_gru import ConvGRU as ConvGRU
from seqloom.cells.conv_lstm import ConvLSTM as ConvLSTM
from seqloom.cells.coupled_lstm import CoupledLSTM as CoupledLSTM
from seqloom.cells.gru import GRU as GRU
from seqloom.cells.indrnn import IndRNN as IndRNN
from seqloom.cells.layer_norm_gru import LayerNormGRU as LayerNormGRU
from seqloom.cells.layer_norm_lstm import LayerNormLSTM as LayerNormLSTM
from seqloom.cells.li_gru import LiGRU as LiGRU
from seqloom.cells.linear_recurrence import LinearCell as LinearCell
from seqloom.cells.lru import LRU as LRU
from seqloom.cells.lstm import LSTM as LSTM
from seqloom.cells.min_gru import MinGRU as MinGRU
from seqloom.cells.min_lstm import MinLSTM as MinLSTM
from seqloom.cells.mlstm import MLSTM as MLSTM
from seqloom.cells.peephole_lstm import PeepholeLSTM as PeepholeLSTM
from seqloom.cells.projected_lstm import ProjectedLSTM as ProjectedLSTM
from seqloom.cells.qrnn import QRNN as QRNN
from seqloom.cells.reset_before_gru import ResetBeforeGRU as ResetBeforeGRU
from seqloom.cells.rnn import RNN as RNN
from seqloom.cells.slstm import SLSTM as SLSTM
from seqloom.cells.sru import SRU as SRU
