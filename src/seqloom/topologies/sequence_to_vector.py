"""`SequenceToVector`: one output for a whole sequence; and two larger shapes made of it.

    SequenceToVector      a sequence, pooled over time: classes, numbers, or the vector itself
    SequencePairToVector  two sequences through the same weights, compared (Conneau et al. 2017)
    HierarchicalToVector  a sequence of sequences: vectors of the inner ones are the steps of the
                          outer one (Yang et al. 2016)

The price of one vector: what the pooling drops is gone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.outputs import OutputRecipe
from seqloom.layers.pooling import Pooling
from seqloom.layers.recurrent import CellRecipe, StackOptions
from seqloom.sequences import Padded
from seqloom.topologies.sequence_encoder import SequenceEncoder
from seqloom.unrolling import Unrolling


class SequenceVector(nn.Module):
    """A sequence to its vector [B, output_size].

    Args:
        encoder: reads the sequence.
        pooling: how its outputs become one vector: last, mean, max or attention.
    """

    def __init__(self, *, encoder: SequenceEncoder, pooling: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = Pooling(kind=pooling, size=encoder.output_size)
        self.output_size = encoder.output_size

    def forward(self, source: Padded) -> Tensor:
        """Ids [B, T] or features [B, T, F] -> [B, output_size]; zeros, or a constant, for a row
        without steps."""
        outputs, _ = self.encoder(source)
        return self.pooling(outputs, self._last(outputs))

    def _last(self, outputs: Padded) -> Tensor:
        """[B, output_size]: where each direction has read the whole row; not taken from the states,
        which are not the outputs of every cell."""
        values = outputs.values
        zeros = values.new_zeros(outputs.batch_size, self.output_size)
        last = outputs.last(zeros)
        if not self.encoder.ends_both_ways or outputs.max_length == 0:
            return last
        half = self.output_size // 2
        return torch.cat([last[:, :half], values[:, 0, half:]], dim=-1)


class SequenceToVector(nn.Module):
    """Ids or features to one readout an example, which `output` turns into scores or a loss.

    Args:
        source_size: V of source ids, or F of source features.
        reads_ids: the source is ids.
        target_size: classes, or F of target features.
        embedding_size: E; None reads features as they are.
        pooling: last, mean, max or attention, see `Pooling`.
        hidden_size, num_layers, bidirectional, dropout, locked_dropout, stack, cell, unrolling: see
            `SequenceEncoder`.
        output: recipe of the output layer.
    """

    def __init__(
        self,
        *,
        source_size: int,
        reads_ids: bool,
        target_size: int,
        embedding_size: int | None,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        pooling: str,
        dropout: float,
        locked_dropout: bool,
        stack: StackOptions,
        cell: CellRecipe,
        unrolling: Unrolling,
        output: OutputRecipe,
    ) -> None:
        super().__init__()
        encoder = SequenceEncoder(
            source_size=source_size,
            reads_ids=reads_ids,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            locked_dropout=locked_dropout,
            stack=stack,
            cell=cell,
            unrolling=unrolling,
        )
        self.vector = SequenceVector(encoder=encoder, pooling=pooling)
        self.output = output(
            input_size=self.vector.output_size, output_size=target_size, embedding=None
        )

    def forward(self, source: Padded) -> Tensor:
        """Ids [B, T] or features [B, T, F] -> readouts [B, R]."""
        return self.vector(source)

    def embed(self, source: Padded) -> Tensor:
        """The sequence's own vector, of length 1: [B, R]."""
        return F.normalize(self.vector(source).float(), dim=-1)


class SequencePairToVector(nn.Module):
    """Two sequences to one readout: the vectors u and v of both, read by the same weights, as
    tanh(W [u; v; |u - v|; u * v]).

    Args:
        vector: reads one sequence.
        hidden_size: features of the readout.
        target_size: classes, or F of target features.
        dropout: probability, on the readout.
        output: recipe of the output layer.
    """

    def __init__(
        self,
        *,
        vector: SequenceVector,
        hidden_size: int,
        target_size: int,
        dropout: float,
        output: OutputRecipe,
    ) -> None:
        super().__init__()
        self.vector = vector
        self.readout = nn.Linear(4 * vector.output_size, hidden_size)
        self.dropout = SequenceDropout(probability=dropout, locked=False)
        self.output = output(input_size=hidden_size, output_size=target_size, embedding=None)

    def forward(self, left: Padded, right: Padded) -> Tensor:
        """Two batches of as many rows -> readouts [B, hidden_size]."""
        u, v = self.vector(left), self.vector(right)
        features = torch.cat([u, v, (u - v).abs(), u * v], dim=-1)
        return self.dropout(torch.tanh(self.readout(features)))


class HierarchicalToVector(nn.Module):
    """Sequences of sequences to one readout: a document's sentences, each a vector, are the steps
    of a second recurrent network.

    Args:
        inner: reads one inner sequence.
        outer: reads their vectors (features of `inner.output_size`).
        target_size: classes, or F of target features.
        output: recipe of the output layer.
    """

    def __init__(
        self,
        *,
        inner: SequenceVector,
        outer: SequenceVector,
        target_size: int,
        output: OutputRecipe,
    ) -> None:
        super().__init__()
        self.inner, self.outer = inner, outer
        self.output = output(input_size=outer.output_size, output_size=target_size, embedding=None)

    def forward(self, inner: Padded, lengths: Tensor) -> Tensor:
        """All inner sequences [M, T] of a batch, and how many of them, one after the other, belong
        to each example ([B] int64 on the CPU, M in all) -> readouts [B, R]."""
        vectors = self.inner(inner)
        rows = vectors.split(lengths.tolist())
        return self.outer(Padded.from_list(rows))
