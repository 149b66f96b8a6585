"""`SequenceToSequence`: one output for each step of the source.

Tagging, copying, filtering, and language models: where the source's next id is the target, the
model goes on from a prompt, one step at a time (a `Decodable`). A state may be carried in and out,
so that a long stream can be read window by window. A model that reads both ways has no next step,
and refuses one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from seqloom.cells import State
from seqloom.errors import ConfigError
from seqloom.layers.outputs import OutputRecipe
from seqloom.layers.recurrent import CellRecipe, StackOptions
from seqloom.sequences import Padded
from seqloom.topologies.sequence_encoder import SequenceEncoder, select_states
from seqloom.unrolling import Unrolling


@dataclass(frozen=True)
class PromptState:
    """N rows that go on from their prompts.

    Attributes:
        layers: the states of the layers.
        pending: [N, R], the readout after the prompt, before the first step; else None.
    """

    layers: list[State]
    pending: Tensor | None


class SequenceToSequence(nn.Module):
    """Ids or features to one readout a step, which `output` turns into scores or a loss.

    Args:
        source_size: V of source ids, or F of source features.
        reads_ids: the source is ids.
        target_size: V of target ids, or F of target features.
        shared_vocabulary: source and target are ids of one vocabulary.
        embedding_size: E; None reads features as they are.
        hidden_size, num_layers, bidirectional, dropout, locked_dropout, stack, cell, unrolling: see
            `SequenceEncoder`.
        tie: weights shared: `none`, or `output`: the output layer with the embedding.
        output: recipe of the output layer.
    """

    def __init__(
        self,
        *,
        source_size: int,
        reads_ids: bool,
        target_size: int,
        shared_vocabulary: bool,
        embedding_size: int | None,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        locked_dropout: bool,
        tie: str,
        stack: StackOptions,
        cell: CellRecipe,
        unrolling: Unrolling,
        output: OutputRecipe,
    ) -> None:
        super().__init__()
        check_tie(tie, can_share=reads_ids and shared_vocabulary)
        self.encoder = SequenceEncoder(
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
        embedding = self.encoder.embedding if tie == "output" else None
        readout_size = self.encoder.output_size
        self.readout: nn.Module = nn.Identity()
        if embedding is not None and embedding_size not in (None, readout_size):
            self.readout = nn.Linear(readout_size, embedding_size)
            readout_size = embedding_size
        self.output = output(input_size=readout_size, output_size=target_size, embedding=embedding)

    def forward(
        self, source: Padded, states: Sequence[State] | None = None
    ) -> tuple[Padded, list[State]]:
        """Ids [B, T] or features [B, T, F], and a state a layer (None: fresh ones) -> readouts [B,
        T, R] and final states."""
        outputs, finals = self.encoder(source, states)
        return outputs.with_values(self.readout(outputs.values)), finals

    def start(self, source: Padded) -> PromptState:
        """Reads prompts [B, T]; a row without any step has read nothing, and its first scores are
        those of a readout of zeros."""
        if self.encoder.bidirectional:
            raise ConfigError(
                "model.bidirectional=true",
                "a model that reads both ways cannot write the next step",
                "train with model.bidirectional=false",
            )
        readouts, finals = self(source)
        pending = readouts.last(readouts.values.new_zeros(source.batch_size, self._readout_size()))
        return PromptState(finals, pending)

    def step(self, tokens: Tensor, state: PromptState) -> tuple[Tensor, Tensor, PromptState]:
        """Tokens [N] -> logits [N, V], no attention [N, 0], the state after them.

        The first step reads nothing: its begin symbol stands for the prompt's end.
        """
        readout, layers = state.pending, state.layers
        if readout is None:
            outputs, layers = self.encoder.step(tokens, layers)
            readout = self.readout(outputs)
        return (
            self.output.logits(readout),
            readout.new_zeros(len(tokens), 0),
            PromptState(layers, None),
        )

    def select(self, state: PromptState, rows: Tensor) -> PromptState:
        pending = None if state.pending is None else state.pending[rows]
        return PromptState(select_states(state.layers, rows), pending)

    def _readout_size(self) -> int:
        if isinstance(self.readout, nn.Linear):
            return self.readout.out_features
        return self.encoder.output_size


def check_tie(tie: str, *, can_share: bool) -> None:
    """Raises ConfigError for an unknown tie, or one of an embedding that does not fit."""
    if tie not in ("none", "output"):
        raise ConfigError(f"model.tie={tie}", "unknown", "use none or output")
    if tie == "output" and not can_share:
        raise ConfigError(
            "model.tie=output",
            "what this model reads and what it writes are not ids of one vocabulary",
            "use model.tie=none",
        )
