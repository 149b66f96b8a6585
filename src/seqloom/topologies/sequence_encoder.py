"""`SequenceEncoder`: ids or features, read by a stack of recurrent layers; where topologies begin.

Ids are embedded; features go through a linear layer to `embedding_size`, or as they are where it is
None. Dropout lies on what was embedded and on the outputs, never on raw features: a number that is
part of the question must not vanish. Refuses ids without an embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqloom.cells import State
from seqloom.errors import ConfigError
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.recurrent import CellRecipe, StackOptions, stack_of_layers
from seqloom.sequences import Padded
from seqloom.unrolling import Unrolling


class SequenceEncoder(nn.Module):
    """Sequences to sequences of features.

    Args:
        source_size: V of ids, F of features.
        reads_ids: the source is ids.
        embedding_size: E; None reads features as they are.
        hidden_size: H, features of an output (both directions together).
        num_layers: L.
        bidirectional: layers read both ways, H / 2 each.
        dropout: probability on embeddings, between layers, on outputs.
        locked_dropout: one dropout mask a sequence instead of one a step.
        stack: what lies between and around the layers.
        cell, unrolling: the recurrent layers.

    Attributes:
        embedding: of ids, whose weight an output layer may share; None for features.
        output_size: features of an output; `hidden_size` unless the cell says otherwise.
        ends_both_ways: outputs are those of two directions, the forward one first.
    """

    def __init__(
        self,
        *,
        source_size: int,
        reads_ids: bool,
        embedding_size: int | None,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        locked_dropout: bool,
        stack: StackOptions,
        cell: CellRecipe,
        unrolling: Unrolling,
    ) -> None:
        super().__init__()
        if reads_ids and embedding_size is None:
            raise ConfigError(
                "model.embedding_size=null", "ids must be embedded", "set a number of features"
            )
        if bidirectional and hidden_size % 2:
            raise ConfigError(
                f"model.hidden_size={hidden_size}",
                "two directions share it",
                "set an even number or model.bidirectional=false",
            )
        self.bidirectional = bidirectional
        self.embedding: TokenEmbedding | None = None
        self.projection: nn.Linear | None = None
        if embedding_size is not None and reads_ids:
            self.embedding = TokenEmbedding(vocab_size=source_size, size=embedding_size)
        elif embedding_size is not None:
            self.projection = nn.Linear(source_size, embedding_size)
        self.dropout = SequenceDropout(probability=dropout, locked=locked_dropout)
        self.stack = stack_of_layers(
            embedding_size or source_size,
            num_layers,
            cell=cell,
            unrolling=unrolling,
            output_size=hidden_size,
            dropout=self.dropout,
            options=stack,
            bidirectional=bidirectional,
        )
        self.output_size = self.stack.output_size
        only_first = stack.bidirectional_layers == "first" and num_layers > 1
        self.ends_both_ways = bidirectional and not only_first

    def forward(
        self, source: Padded, states: Sequence[State] | None = None
    ) -> tuple[Padded, list[State]]:
        """Ids [B, T] or features [B, T, F], and a state a layer (None: the cells' own first ones)
        -> outputs [B, T, output_size], zero on padding, and final states."""
        read = self.read(source.values)
        if states is None:
            states = self.stack.initial_states(read, source.batch_size)
        outputs, finals = self.stack(source.with_values(read), states)
        return outputs.with_values(self.dropout(outputs.values)), finals

    def step(self, values: Tensor, states: Sequence[State]) -> tuple[Tensor, list[State]]:
        """One step of ids [N] or features [N, F] -> outputs [N, output_size] and new states."""
        outputs, states = self.stack.step(self.read(values), states)
        return self.dropout(outputs), states

    def initial_states(self, source: Padded) -> list[State]:
        """What `forward` starts from by itself."""
        like = torch.empty(0, device=source.values.device)
        return self.stack.initial_states(like, source.batch_size)

    def read(self, values: Tensor) -> Tensor:
        """What the first layer reads."""
        if self.embedding is not None:
            return self.dropout(self.embedding(values))
        return values if self.projection is None else self.dropout(self.projection(values))


def select_states(states: Sequence[State], rows: Tensor) -> list[State]:
    """The states of rows [M] (repeats allowed), in that order."""
    return [tuple(part[rows] for part in state) for state in states]
