"""`EncoderDecoder`: a recurrent encoder of ids or features, attention, a recurrent decoder of ids.

The decoder is two stacks with attention between them: the lower one asks (its output is the
query), the upper one receives the context beside its inputs. The wirings differ only in what lies
where:

    late            all layers are lower ones; the context meets the output layer alone
                    (Luong et al. 2015)
    first_layer     the first layer asks, the others receive the context (GNMT, Wu et al. 2016)
    input_feeding   as late, and the last readout is fed to the next step beside the word
                    (Luong et al. 2015)

In `late` and `first_layer` no step waits for the context of the one before, so under teacher
forcing each layer runs over all steps at once; `input_feeding` is a loop in Python. `forward`
(training) and `step` (search) are the same mathematics, and a test holds them together.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from seqloom.cells import State
from seqloom.errors import ConfigError
from seqloom.layers.attention import Attention
from seqloom.layers.bridge import Bridge
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs import OutputRecipe
from seqloom.layers.recurrent import CellRecipe, StackOptions, stack_of_layers
from seqloom.layers.shared_memory import SharedMemory
from seqloom.sequences import Padded
from seqloom.unrolling import Unrolling

WIRINGS = ("late", "first_layer", "input_feeding")
TIES = ("none", "output", "all")


class AttentionRecipe(Protocol):
    """What `attention=` gives: an attention that still lacks its sizes."""

    def __call__(self, *, query_size: int, memory_size: int) -> Attention: ...


@dataclass(frozen=True)
class DecoderState:
    """What one step hands to the next: N rows.

    Attributes:
        lower, upper: the states of the decoder's layers, parts [N, H].
        feed: [N, R], the readout before this step; None unless it is fed.
        memory: what attention reads; None without attention.
    """

    lower: list[State]
    upper: list[State]
    feed: Tensor | None
    memory: SharedMemory | None

    def select(self, rows: Tensor) -> DecoderState:
        """Rows [M] (indices into N, repeats allowed), in that order."""
        return DecoderState(
            _select(self.lower, rows),
            _select(self.upper, rows),
            None if self.feed is None else self.feed[rows],
            None if self.memory is None else self.memory.select(rows),
        )


class EncoderDecoder(nn.Module):
    """A source to target scores. A `Decodable`.

    Args:
        source_size: V of source ids, F of source features.
        reads_ids: the source is ids, which are embedded; features go through a linear layer.
        target_vocab_size: V of the target.
        shared_vocabulary: both sides use the same ids.
        embedding_size: E of both sides.
        hidden_size: H, features of an encoder output (both directions together) and of a decoder
            output.
        num_encoder_layers, num_decoder_layers: L of each side.
        bidirectional: every encoder layer reads both ways, H / 2 each.
        dropout: probability on embeddings, between layers, and on the readout.
        locked_dropout: one dropout mask a sequence instead of one a step.
        tie: weights shared: `none`; `output`: the output layer with the target embedding; `all`:
            the source embedding too.
        bridge: how the decoder starts, see `Bridge`.
        wiring: see above.
        stack: what lies between and inside the layers; the decoder's are numbered from the lowest
            to the highest.
        cell, unrolling: the recurrent layers.
        attention: recipe, or None for a context that is the decoder's first state alone.
        output: recipe of the output layer, of ids.
        bos_id: id that the decoder reads first.
    """

    def __init__(
        self,
        *,
        source_size: int,
        reads_ids: bool,
        target_vocab_size: int,
        shared_vocabulary: bool,
        embedding_size: int,
        hidden_size: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        bidirectional: bool,
        dropout: float,
        locked_dropout: bool,
        tie: str,
        bridge: str,
        wiring: str,
        stack: StackOptions,
        cell: CellRecipe,
        unrolling: Unrolling,
        attention: AttentionRecipe | None,
        output: OutputRecipe,
        bos_id: int = 1,
    ) -> None:
        super().__init__()
        _check(wiring, tie, shared_vocabulary, bidirectional, hidden_size, attention, bridge)
        self.bos_id = bos_id
        self.feeds_readout = wiring == "input_feeding"
        self.source_embedding: TokenEmbedding | nn.Linear
        if reads_ids:
            self.source_embedding = TokenEmbedding(vocab_size=source_size, size=embedding_size)
        else:
            self.source_embedding = nn.Linear(source_size, embedding_size)
        if tie == "all" and isinstance(self.source_embedding, TokenEmbedding):
            self.target_embedding = self.source_embedding
        else:
            self.target_embedding = TokenEmbedding(
                vocab_size=target_vocab_size, size=embedding_size
            )
        self.dropout = SequenceDropout(probability=dropout, locked=locked_dropout)

        layers = partial(
            stack_of_layers,
            cell=cell,
            unrolling=unrolling,
            output_size=hidden_size,
            dropout=self.dropout,
            options=stack,
        )
        num_lower = 1 if wiring == "first_layer" else num_decoder_layers
        num_upper = num_decoder_layers - num_lower
        readout_size = hidden_size if tie == "none" else embedding_size
        word_size = embedding_size + (readout_size if self.feeds_readout else 0)
        self.encoder = layers(embedding_size, num_encoder_layers, bidirectional=bidirectional)
        self.lower = layers(word_size, num_lower)
        query_size = self.lower.output_size
        self.attention, context_size = None, 0
        if attention is not None:
            self.attention = attention(query_size=query_size, memory_size=self.encoder.output_size)
            context_size = self.attention.context_size
        self.upper = layers(query_size, num_upper, side_size=context_size, num_below=num_lower)
        self.bridge = Bridge(
            kind=bridge,
            encoder_sizes=self.encoder.state_sizes,
            decoder_sizes=[*self.lower.state_sizes, *self.upper.state_sizes],
        )
        self.readout = nn.Linear(query_size + context_size, readout_size)
        self.output = output(
            input_size=readout_size,
            output_size=target_vocab_size,
            embedding=None if tie == "none" else self.target_embedding,
        )

    def start(self, source: Padded) -> DecoderState:
        """Encodes ids [B, S] or features [B, S, F]: the state before the first target token."""
        embedded = self.dropout(self.source_embedding(source.values))
        initial = self.encoder.initial_states(embedded, source.batch_size)
        outputs, finals = self.encoder(source.with_values(embedded), initial)
        outputs = outputs.with_values(self.dropout(outputs.values))
        own = [
            state
            for stack in (self.lower, self.upper)
            for state in stack.initial_states(embedded, source.batch_size)
        ]
        states = self.bridge(finals, own)
        num_lower = len(self.lower.layers)
        feed = None
        if self.feeds_readout:
            feed = embedded.new_zeros(source.batch_size, self.readout.out_features)
        memory = None if self.attention is None else SharedMemory(self.attention.prepare(outputs))
        return DecoderState(states[:num_lower], states[num_lower:], feed, memory)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, Tensor, DecoderState]:
        """Tokens [N] -> logits [N, V], attention [N, S] (S = 0 without), the state after them."""
        embedded = self.dropout(self.target_embedding(tokens))
        readout, weights, state = self._step(embedded, state)
        return self.output.logits(self.dropout(readout)), weights, state

    def select(self, state: DecoderState, rows: Tensor) -> DecoderState:
        return state.select(rows)

    def forward(
        self, source: Padded, target: Padded, sampling: float = 0.0
    ) -> tuple[Padded, Tensor]:
        """Reads ids [B, S] or features [B, S, F] and, as far as they are to be predicted, ids
        [B, T].

        The decoder reads the begin symbol and then the right token before each step (teacher
        forcing), or, with probability `sampling`, its own likeliest one (scheduled sampling,
        Bengio et al. 2015), step by step.
        Returns readouts [B, T, R], which `output` turns into logits or a loss, and attention [B,
        T, S].
        """
        state = self.start(source)
        begin = target.values.new_full((target.batch_size, 1), self.bos_id)
        tokens = torch.cat([begin, target.values[:, :-1]], dim=1)
        if sampling > 0:
            readouts, weights = self._run_sampled(tokens, state, sampling)
        elif self.feeds_readout:
            readouts, weights = self._run_steps(tokens, state)
        else:
            readouts, weights = self._run_at_once(target.with_values(tokens), state)
        return target.with_values(self.dropout(readouts)), weights

    def _run_at_once(self, tokens: Padded, state: DecoderState) -> tuple[Tensor, Tensor]:
        """Every layer over all steps: the context of a step is not read by the query of the
        next."""
        embedded = tokens.with_values(self.dropout(self.target_embedding(tokens.values)))
        queries, _ = self.lower(embedded, state.lower)
        contexts, weights = self._attend(queries.values, state.memory)
        outputs, _ = self.upper(queries, state.upper, side=contexts)
        return self._read_out(outputs.values, contexts), weights

    def _run_steps(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, Tensor]:
        """Step by step over given tokens [B, T]."""
        readouts, weights = [], []
        model = self._for_sequence(len(tokens))
        for embedded in self.dropout(self.target_embedding(tokens)).unbind(1):
            readout, weight, state = model._step(embedded, state)
            readouts.append(readout)
            weights.append(weight)
        return torch.stack(readouts, dim=1), torch.stack(weights, dim=1)

    def _run_sampled(
        self, tokens: Tensor, state: DecoderState, sampling: float
    ) -> tuple[Tensor, Tensor]:
        """Step by step, a coin a token between the right one [B, T] and the model's own."""
        readouts, weights = [], []
        coins = torch.rand(tokens.shape, device=tokens.device) < sampling
        own = tokens[:, 0]
        model = self._for_sequence(len(tokens))
        for step, right in enumerate(tokens.unbind(1)):
            read = right if step == 0 else torch.where(coins[:, step], own, right)
            embedded = self.dropout(self.target_embedding(read))
            readout, weight, state = model._step(embedded, state)
            with torch.no_grad():
                own = self.output.logits(readout).argmax(dim=-1)
            readouts.append(readout)
            weights.append(weight)
        return torch.stack(readouts, dim=1), torch.stack(weights, dim=1)

    def _for_sequence(self, batch_size: int) -> EncoderDecoder:
        """This model with the noise inside its decoder drawn once for all steps of a batch."""
        model = copy.copy(self)
        lower, upper = (stack.for_sequence(batch_size) for stack in (self.lower, self.upper))
        model._modules = {**self._modules, "lower": lower, "upper": upper}
        return model

    def _step(self, embedded: Tensor, state: DecoderState) -> tuple[Tensor, Tensor, DecoderState]:
        """Embedded tokens [N, E] -> readout [N, R], attention [N, S], the state after them."""
        if state.feed is not None:
            embedded = torch.cat([embedded, state.feed.to(embedded.dtype)], dim=-1)
        query, lower = self.lower.step(embedded, state.lower)
        if self.attention is None or state.memory is None:
            context, weights = _nothing(query)
        else:
            context, weights = state.memory.attend(self.attention, query)
        output, upper = self.upper.step(query, state.upper, side=context)
        readout = self._read_out(output, context)
        feed = None if state.feed is None else readout
        return readout, weights, DecoderState(lower, upper, feed, state.memory)

    def _attend(self, queries: Tensor, memory: SharedMemory | None) -> tuple[Tensor, Tensor]:
        """Queries [B, T, H] -> contexts [B, T, C] and weights [B, T, S]."""
        if self.attention is None or memory is None:
            return _nothing(queries)
        return self.attention(queries, memory.memory)

    def _read_out(self, outputs: Tensor, contexts: Tensor) -> Tensor:
        return torch.tanh(self.readout(torch.cat([outputs, contexts.to(outputs.dtype)], dim=-1)))


def _nothing(queries: Tensor) -> tuple[Tensor, Tensor]:
    """Context and weights of no attention: no features."""
    empty = queries.new_zeros(*queries.shape[:-1], 0)
    return empty, empty


def _select(states: Sequence[State], rows: Tensor) -> list[State]:
    return [tuple(part[rows] for part in state) for state in states]


def _check(
    wiring: str,
    tie: str,
    shared_vocabulary: bool,
    bidirectional: bool,
    hidden_size: int,
    attention: AttentionRecipe | None,
    bridge: str,
) -> None:
    if wiring not in WIRINGS:
        raise ConfigError(f"model.wiring={wiring}", "unknown", f"use one of {', '.join(WIRINGS)}")
    if tie not in TIES:
        raise ConfigError(f"model.tie={tie}", "unknown", f"use one of {', '.join(TIES)}")
    if tie == "all" and not shared_vocabulary:
        raise ConfigError(
            "model.tie=all",
            "the two sides have vocabularies of their own",
            "set tokenizer.shared=true or model.tie=output",
        )
    if bidirectional and hidden_size % 2:
        raise ConfigError(
            f"model.hidden_size={hidden_size}",
            "two directions share it",
            "set an even number or model.bidirectional=false",
        )
    if attention is None and bridge == "zero":
        raise ConfigError(
            "model.bridge=zero",
            "without attention the decoder would know nothing of the source",
            "use model.bridge=projected or an attention",
        )
