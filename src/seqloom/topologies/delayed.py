"""`DelayedSequenceToSequence`: plain delayed translation, the baseline without division of work.

One recurrent network reads the source and writes the target `delay` steps later; at step t it reads
the sum of two embeddings, of source token t and of its own last output, each zero where there is
none. With `delay` None the output begins after the source's end (Sutskever et al. 2014 without a
second network). No encoder, no decoder, no attention; the price is that one state must hold all.
Runs under the learner and the searches of the encoder-decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqloom.cells import State
from seqloom.errors import ConfigError
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs import OutputRecipe
from seqloom.layers.recurrent import (
    CellRecipe,
    RecurrentStack,
    StackOptions,
    stack_of_layers,
)
from seqloom.sequences import BOS_ID, Padded
from seqloom.topologies.sequence_encoder import select_states
from seqloom.unrolling import Unrolling

TIES = ("none", "output", "all")


@dataclass(frozen=True)
class DelayedState:
    """N rows that have read what comes before their first output, or more.

    Attributes:
        layers: the states of the layers.
        rest: [N, X, E], embeddings of the source steps not yet read, zero after a source's end;
            X = 0 where none is left.
    """

    layers: list[State]
    rest: Tensor


class DelayedSequenceToSequence(nn.Module):
    """Source ids to target scores, by one stack of layers. A `Decodable`.

    Args:
        source_size, target_vocab_size: V of each side.
        reads_ids: the source is ids; it must be.
        shared_vocabulary: both sides use the same ids.
        delay: steps between the first source token and the first output; None: the source's own
            length.
        embedding_size: E of both sides.
        hidden_size: H.
        num_layers: L.
        dropout: probability on embeddings, between layers, on outputs. What comes before the first
            output has masks of its own.
        locked_dropout: one dropout mask a sequence instead of one a step.
        tie: weights shared: `none`; `output`: the output layer with the target embedding; `all`:
            the source embedding too.
        stack, cell, unrolling: the recurrent layers.
        output: recipe of the output layer.
    """

    def __init__(
        self,
        *,
        source_size: int,
        reads_ids: bool,
        target_vocab_size: int,
        shared_vocabulary: bool,
        delay: int | None,
        embedding_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        locked_dropout: bool,
        tie: str,
        stack: StackOptions,
        cell: CellRecipe,
        unrolling: Unrolling,
        output: OutputRecipe,
    ) -> None:
        super().__init__()
        assert reads_ids
        _check(delay, tie, shared_vocabulary)
        self.delay = delay
        self.source_embedding = TokenEmbedding(vocab_size=source_size, size=embedding_size)
        self.target_embedding = self.source_embedding
        if tie != "all":
            self.target_embedding = TokenEmbedding(
                vocab_size=target_vocab_size, size=embedding_size
            )
        self.dropout = SequenceDropout(probability=dropout, locked=locked_dropout)
        self.stack = stack_of_layers(
            embedding_size,
            num_layers,
            cell=cell,
            unrolling=unrolling,
            output_size=hidden_size,
            dropout=self.dropout,
            options=stack,
        )
        readout_size = self.stack.output_size if tie == "none" else embedding_size
        self.readout = nn.Linear(self.stack.output_size, readout_size)
        self.output = output(
            input_size=readout_size,
            output_size=target_vocab_size,
            embedding=None if tie == "none" else self.target_embedding,
        )

    def start(self, source: Padded) -> DelayedState:
        """Reads ids [B, S] up to the step before the first output."""
        embedded = source.with_values(self.dropout(self.source_embedding(source.values))).zeroed()
        initial = self.stack.initial_states(embedded.values, source.batch_size)
        if self.delay is None:
            _, layers = self.stack(embedded, initial)
            return DelayedState(layers, embedded.values[:, :0])
        missing = max(self.delay - source.max_length, 0)
        values = nn.functional.pad(embedded.values, (0, 0, 0, missing))
        lengths = torch.full_like(source.lengths, self.delay)
        _, layers = self.stack(Padded(values[:, : self.delay], lengths), initial)
        return DelayedState(layers, values[:, self.delay :])

    def step(self, tokens: Tensor, state: DelayedState) -> tuple[Tensor, Tensor, DelayedState]:
        """Tokens [N] -> logits [N, V], no attention [N, 0], the state after them."""
        embedded = self.dropout(self.target_embedding(tokens))
        readout, state = self._step(embedded, state, self.stack)
        return self.output.logits(readout), embedded.new_zeros(len(tokens), 0), state

    def select(self, state: DelayedState, rows: Tensor) -> DelayedState:
        return DelayedState(select_states(state.layers, rows), state.rest[rows])

    def forward(
        self, source: Padded, target: Padded, sampling: float = 0.0
    ) -> tuple[Padded, Tensor]:
        """Reads ids [B, S] and, as far as they are to be predicted, ids [B, T], which are read as
        in `EncoderDecoder.forward`.

        Returns readouts [B, T, R] and no attention [B, T, 0].
        """
        state = self.start(source)
        begin = target.values.new_full((target.batch_size, 1), BOS_ID)
        tokens = torch.cat([begin, target.values[:, :-1]], dim=1)
        if sampling > 0:
            readouts = self._run_sampled(tokens, state, sampling)
        else:
            embedded = self.dropout(self.target_embedding(tokens))
            rest = state.rest[:, : target.max_length]
            rest = nn.functional.pad(rest, (0, 0, 0, target.max_length - rest.shape[1]))
            outputs, _ = self.stack(target.with_values(embedded + rest), state.layers)
            readouts = self._read_out(outputs.values)
        return target.with_values(readouts), readouts.new_zeros(*readouts.shape[:2], 0)

    def _run_sampled(self, tokens: Tensor, state: DelayedState, sampling: float) -> Tensor:
        """Step by step, a coin a token between the right one [B, T] and the model's own."""
        readouts = []
        stack = self.stack.for_sequence(len(tokens))
        coins = torch.rand(tokens.shape, device=tokens.device) < sampling
        own = tokens[:, 0]
        for step, right in enumerate(tokens.unbind(1)):
            read = right if step == 0 else torch.where(coins[:, step], own, right)
            embedded = self.dropout(self.target_embedding(read))
            readout, state = self._step(embedded, state, stack)
            with torch.no_grad():
                own = self.output.logits(readout).argmax(dim=-1)
            readouts.append(readout)
        return torch.stack(readouts, dim=1)

    def _step(
        self, embedded: Tensor, state: DelayedState, stack: RecurrentStack
    ) -> tuple[Tensor, DelayedState]:
        """Embedded tokens [N, E] -> readout [N, R] and the state after them."""
        if state.rest.shape[1]:
            embedded = embedded + state.rest[:, 0]
        outputs, layers = stack.step(embedded, state.layers)
        return self._read_out(outputs), DelayedState(layers, state.rest[:, 1:])

    def _read_out(self, outputs: Tensor) -> Tensor:
        return self.dropout(torch.tanh(self.readout(self.dropout(outputs))))


def _check(delay: int | None, tie: str, shared_vocabulary: bool) -> None:
    if delay is not None and delay < 0:
        raise ConfigError(f"model.delay={delay}", "is negative", "set 0 or more, or null")
    if tie not in TIES:
        raise ConfigError(f"model.tie={tie}", "unknown", f"use one of {', '.join(TIES)}")
    if tie == "all" and not shared_vocabulary:
        raise ConfigError(
            "model.tie=all",
            "the two sides have vocabularies of their own",
            "set tokenizer.shared=true or model.tie=output",
        )
