"""`VectorToSequence`: what is given as a whole is told step by step (a name in the style of a
language, a caption of a picture).

The source is a sequence of vectors, in the simplest case of one: the embedding of a class, or
features. It reaches the writing network in one of four ways (`conditioning`):

    state       its mean makes the first state (Vinyals et al. 2015, "Show and Tell")
    every_step  its mean is read beside every token
    both        both of these
    attention   its vectors are regions that every step looks at, its mean makes the first state (Xu
                et al. 2015, "Show, Attend and Tell")
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqloom.cells import State
from seqloom.errors import ConfigError
from seqloom.layers.bridge import Bridge
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs import OutputRecipe
from seqloom.layers.recurrent import CellRecipe, StackOptions, stack_of_layers
from seqloom.layers.shared_memory import SharedMemory
from seqloom.sequences import BOS_ID, Padded
from seqloom.topologies.encoder_decoder import AttentionRecipe
from seqloom.topologies.sequence_encoder import select_states
from seqloom.topologies.sequence_to_sequence import check_tie
from seqloom.unrolling import Unrolling

CONDITIONINGS = ("state", "every_step", "both", "attention")


@dataclass(frozen=True)
class WriterState:
    """N rows, each a partial output.

    Attributes:
        layers: the states of the layers.
        condition: [N, C], what is read beside every token; C = 0 where nothing is.
        memory: what attention reads; None without attention.
    """

    layers: list[State]
    condition: Tensor
    memory: SharedMemory | None


class VectorToSequence(nn.Module):
    """A vector, or several, to ids. A `Decodable`.

    Args:
        source_size: V of source ids (classes), or F of source features.
        reads_ids: the source is ids.
        target_size: V of target ids.
        embedding_size: E of target ids.
        hidden_size: H, features of an output and of what the source becomes.
        num_layers: L.
        conditioning: see above.
        dropout: probability on embeddings, between layers, on the readout.
        locked_dropout: one dropout mask a sequence instead of one a step.
        tie: `none`, or `output`: the output layer with the target embedding.
        stack, cell, unrolling: the recurrent layers.
        attention: recipe, for `conditioning` attention; None otherwise.
        output: recipe of the output layer.
    """

    def __init__(
        self,
        *,
        source_size: int,
        reads_ids: bool,
        target_size: int,
        embedding_size: int,
        hidden_size: int,
        num_layers: int,
        conditioning: str,
        dropout: float,
        locked_dropout: bool,
        tie: str,
        stack: StackOptions,
        cell: CellRecipe,
        unrolling: Unrolling,
        attention: AttentionRecipe | None,
        output: OutputRecipe,
    ) -> None:
        super().__init__()
        _check(conditioning, attention)
        check_tie(tie, can_share=True)
        self.reads_ids, self.conditioning = reads_ids, conditioning
        self.condition = (
            TokenEmbedding(vocab_size=source_size, size=hidden_size)
            if reads_ids
            else nn.Linear(source_size, hidden_size)
        )
        self.embedding = TokenEmbedding(vocab_size=target_size, size=embedding_size)
        self.dropout = SequenceDropout(probability=dropout, locked=locked_dropout)
        self.side_size = hidden_size if conditioning in ("every_step", "both") else 0
        self.stack = stack_of_layers(
            embedding_size + self.side_size,
            num_layers,
            cell=cell,
            unrolling=unrolling,
            output_size=hidden_size,
            dropout=self.dropout,
            options=stack,
        )
        self.bridge = None
        if conditioning != "every_step":
            self.bridge = Bridge(
                kind="projected",
                encoder_sizes=[(hidden_size,)],
                decoder_sizes=self.stack.state_sizes,
            )
        outputs_size = self.stack.output_size
        self.attention, context_size = None, 0
        if attention is not None:
            self.attention = attention(query_size=outputs_size, memory_size=hidden_size)
            context_size = self.attention.context_size
        readout_size = embedding_size if tie == "output" else hidden_size
        self.readout = nn.Linear(outputs_size + context_size, readout_size)
        self.output = output(
            input_size=readout_size,
            output_size=target_size,
            embedding=self.embedding if tie == "output" else None,
        )

    def start(self, source: Padded) -> WriterState:
        """Reads ids [B, R] or features [B, R, F] of R vectors each: the state before the first
        token. A row without vectors is given zeros."""
        vectors = source.with_values(self.dropout(self.condition(source.values))).zeroed()
        counts = source.lengths.clamp(min=1).to(vectors.values.device).unsqueeze(1)
        mean = vectors.values.sum(dim=1) / counts
        layers = self.stack.initial_states(mean, source.batch_size)
        if self.bridge is not None:
            layers = self.bridge([(mean,)], layers)
        condition = mean if self.side_size else mean[:, :0]
        memory = None if self.attention is None else SharedMemory(self.attention.prepare(vectors))
        return WriterState(layers, condition, memory)

    def step(self, tokens: Tensor, state: WriterState) -> tuple[Tensor, Tensor, WriterState]:
        """Tokens [N] -> logits [N, V], attention [N, R] (R = 0 without), the state after them."""
        embedded = self.dropout(self.embedding(tokens))
        condition = state.condition.to(embedded.dtype)
        outputs, layers = self.stack.step(torch.cat([embedded, condition], dim=-1), state.layers)
        context = weights = outputs.new_zeros(len(tokens), 0)
        if self.attention is not None and state.memory is not None:
            context, weights = state.memory.attend(self.attention, outputs)
        readout = self._read_out(outputs, context)
        return (
            self.output.logits(readout),
            weights,
            WriterState(layers, state.condition, state.memory),
        )

    def select(self, state: WriterState, rows: Tensor) -> WriterState:
        memory = None if state.memory is None else state.memory.select(rows)
        return WriterState(select_states(state.layers, rows), state.condition[rows], memory)

    def forward(self, source: Padded, target: Padded) -> tuple[Padded, Tensor]:
        """Reads the source, the begin symbol and then the right ids [B, T] before each step
        (teacher forcing).

        Returns readouts [B, T, D] and attention [B, T, R].
        """
        state = self.start(source)
        begin = target.values.new_full((target.batch_size, 1), BOS_ID)
        tokens = torch.cat([begin, target.values[:, :-1]], dim=1)
        embedded = self.dropout(self.embedding(tokens))
        condition = state.condition.to(embedded.dtype).unsqueeze(1)
        condition = condition.expand(-1, target.max_length, -1)
        read = target.with_values(torch.cat([embedded, condition], dim=-1))
        outputs, _ = self.stack(read, state.layers)
        contexts = weights = outputs.values.new_zeros(*outputs.values.shape[:2], 0)
        if self.attention is not None and state.memory is not None:
            contexts, weights = self.attention(outputs.values, state.memory.memory)
        return target.with_values(self._read_out(outputs.values, contexts)), weights

    def _read_out(self, outputs: Tensor, contexts: Tensor) -> Tensor:
        outputs = self.dropout(outputs)
        read = torch.cat([outputs, contexts.to(outputs.dtype)], dim=-1)
        return self.dropout(torch.tanh(self.readout(read)))


def _check(conditioning: str, attention: AttentionRecipe | None) -> None:
    if conditioning not in CONDITIONINGS:
        raise ConfigError(
            f"model.conditioning={conditioning}",
            "unknown",
            f"use one of {', '.join(CONDITIONINGS)}",
        )
    if (conditioning == "attention") != (attention is not None):
        raise ConfigError(
            f"model.conditioning={conditioning}",
            "attention and conditioning=attention need each other",
            "set both, or attention=none",
        )
