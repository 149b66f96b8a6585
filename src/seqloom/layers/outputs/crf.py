"""Linear-chain conditional random field (Lafferty, McCallum and Pereira 2001): tags that depend on
their neighbours.

    score(x, y) = start[y_1] + sum_t emission_t[y_t] + sum_t transition[y_{t-1}, y_t] + end[y_T]
    log p(y | x) = score(x, y) - log sum over all y' of exp score(x, y')

The sum over all sequences is a scan over time in log space, in float32; the best sequence is
Viterbi's. Price: a step of V x V after the other. Refuses label smoothing and a shared embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs.base import SequenceOutput, TokenLoss, refuse_smoothing, refuse_tie
from seqloom.sequences import Padded


class CRF(SequenceOutput):
    """One of V tags a step.

    Args:
        input_size: D.
        output_size: V.
        embedding: must be None.
    """

    def __init__(
        self, *, input_size: int, output_size: int, embedding: TokenEmbedding | None = None
    ) -> None:
        super().__init__()
        refuse_tie(embedding, "tags have no embedding")
        self.emission = nn.Linear(input_size, output_size)
        self.start = nn.Parameter(torch.zeros(output_size))
        self.end = nn.Parameter(torch.zeros(output_size))
        self.transition = nn.Parameter(torch.zeros(output_size, output_size))

    def loss(self, hidden: Padded, targets: Padded, *, smoothing: float = 0.0) -> TokenLoss:
        """Nats, counted by steps. Targets have the lengths of the readouts; a row without steps is
        no loss."""
        refuse_smoothing(smoothing, "a sequence of tags is not one label")
        assert torch.equal(hidden.lengths, targets.lengths)
        emissions = self._emissions(hidden)
        rows = self.log_partition(emissions) - self.score(emissions, targets)
        nll = rows.sum()
        return TokenLoss(nll, nll.detach(), targets.num_elements)

    def score(self, emissions: Padded, tags: Padded) -> Tensor:
        """[B]: of the sequences `tags` [B, T], given emissions [B, T, V]."""
        mask, ids = tags.mask(), tags.values.masked_fill(~tags.mask(), 0)
        emitted = emissions.values.gather(2, ids.unsqueeze(2)).squeeze(2).masked_fill(~mask, 0)
        moved = self.transition[ids[:, :-1], ids[:, 1:]].masked_fill(~mask[:, 1:], 0)
        total = emitted.sum(dim=1) + moved.sum(dim=1)
        if tags.max_length == 0:
            return total
        ends = self.start[ids[:, 0]] + self.end[tags.with_values(ids).last(ids[:, 0])]
        return total + ends.masked_fill(~mask[:, 0], 0)

    def log_partition(self, emissions: Padded) -> Tensor:
        """[B]: the log of the sum over all sequences, given emissions [B, T, V]; 0 for a row
        without steps."""
        if emissions.max_length == 0:
            return emissions.values.sum(dim=(1, 2))
        mask = emissions.mask().unsqueeze(2)
        first, *others = emissions.values.unbind(1)
        total = self.start + first
        for step, emission in enumerate(others, start=1):
            new = (total.unsqueeze(2) + self.transition).logsumexp(dim=1) + emission
            total = torch.where(mask[:, step], new, total)
        return (total + self.end).logsumexp(dim=1).masked_fill(~mask[:, 0, 0], 0)

    @torch.no_grad()
    def predict(self, hidden: Padded) -> Padded:
        """The likeliest sequences of tags (Viterbi 1967), of the readouts' lengths."""
        emissions = self._emissions(hidden)
        if emissions.max_length == 0:
            return hidden.with_values(emissions.values.new_zeros(len(emissions.values), 0).long())
        mask = emissions.mask()
        first, *others = emissions.values.unbind(1)
        best, origins = self.start + first, []
        stay = torch.arange(best.shape[1], device=best.device).expand_as(best)
        for step, emission in enumerate(others, start=1):
            values, origin = (best.unsqueeze(2) + self.transition).max(dim=1)
            real = mask[:, step].unsqueeze(1)
            best = torch.where(real, values + emission, best)
            origins.append(torch.where(real, origin, stay))
        tag = (best + self.end).argmax(dim=1)
        tags = [tag]
        for origin in reversed(origins):
            tag = origin.gather(1, tag.unsqueeze(1)).squeeze(1)
            tags.append(tag)
        return hidden.with_values(torch.stack(tags[::-1], dim=1)).zeroed()

    def _emissions(self, hidden: Padded) -> Padded:
        return hidden.with_values(self.emission(hidden.values).float())
