"""Connectionist temporal classification (Graves et al. 2006): a sequence of ids for a longer one of
readouts, without knowing which step is whose.

    p(y | x) = sum of prod_t p(a_t | x) over all paths a that become y

A path has one id or a blank a step; repeats, then blanks, are taken out. The sum is torch's own
`ctc_loss`. Refuses targets for which there is no path, by name, and label smoothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from seqloom.errors import ConfigError, DataError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs.base import SequenceOutput, TokenLoss, refuse_smoothing
from seqloom.layers.outputs.cross_entropy import scores_layer, scores_scale
from seqloom.sequences import PAD_ID, Padded


class CTC(SequenceOutput):
    """Sequences of ids.

    Args:
        input_size: D.
        output_size: V, the ids that targets are made of.
        embedding: shares its weight [V, D]; None for a weight of its own.
        blank_id: id of the blank. The id of padding, by default, which no target holds; None: one
            more, behind all others, for targets that use all ids.
    """

    def __init__(
        self,
        *,
        input_size: int,
        output_size: int,
        embedding: TokenEmbedding | None = None,
        blank_id: int | None = PAD_ID,
    ) -> None:
        super().__init__()
        if blank_id is not None and not 0 <= blank_id < output_size:
            raise ConfigError(
                f"output.blank_id={blank_id}",
                f"is none of {output_size} ids",
                f"set 0..{output_size - 1}, or null for an id of its own",
            )
        self.blank_id = output_size if blank_id is None else blank_id
        self.projection = scores_layer(input_size, output_size + (blank_id is None))
        self.scale = scores_scale(input_size)
        if embedding is not None:
            if blank_id is None:
                raise ConfigError(
                    "output.blank_id=null",
                    "the blank has no embedding to share",
                    "use model.tie=none or a blank_id",
                )
            self.projection.weight = embedding.weight

    def log_probs(self, hidden: Padded) -> Padded:
        """Readouts [B, T, D] -> [B, T, V] in float32, of ids and the blank at each step."""
        scores = self.projection(hidden.values * self.scale)
        return hidden.with_values(scores.float().log_softmax(dim=-1))

    def loss(self, hidden: Padded, targets: Padded, *, smoothing: float = 0.0) -> TokenLoss:
        """Nats, counted by target ids. A row without steps and without ids is no loss.

        Raises:
            DataError: a row with fewer steps than its ids need, or with a blank among its ids.
        """
        refuse_smoothing(smoothing, "a path has no single right id")
        self._check(hidden, targets)
        log_probs = self.log_probs(hidden).values
        rows = (hidden.lengths > 0).nonzero().squeeze(1)
        if len(rows) == 0:
            nothing = log_probs[:0].sum()
            return TokenLoss(nothing, nothing.detach(), 0)
        there = rows.to(log_probs.device)
        nll = F.ctc_loss(
            log_probs[there].transpose(0, 1),
            targets.values[there],
            hidden.lengths[rows],
            targets.lengths[rows],
            blank=self.blank_id,
            reduction="sum",
        )
        return TokenLoss(nll, nll.detach(), targets.num_elements)

    def predict(self, hidden: Padded) -> Padded:
        """The ids of the likeliest path: best path decoding."""
        path = self.log_probs(hidden).values.argmax(dim=-1)
        before = F.pad(path[:, :-1], (1, 0), value=-1)
        kept = (path != before) & (path != self.blank_id) & hidden.mask()
        lengths = kept.sum(dim=1)
        ids = path.new_zeros(len(path), int(lengths.max()) if len(path) else 0)
        rows, steps = kept.nonzero(as_tuple=True)
        ids[rows, kept.cumsum(dim=1)[rows, steps] - 1] = path[rows, steps]
        return Padded(ids, lengths.cpu())

    def _check(self, hidden: Padded, targets: Padded) -> None:
        ids, mask = targets.values, targets.mask()
        # Equal neighbours need a blank between them.
        repeated = ((ids[:, 1:] == ids[:, :-1]) & mask[:, 1:]).sum(dim=1)
        needed = targets.lengths + repeated.cpu()
        _refuse_rows(needed > hidden.lengths, hidden.lengths, needed)
        if bool(((ids == self.blank_id) & mask).any()):
            raise DataError(
                f"id {self.blank_id} in a target",
                "is the blank, which stands for no id",
                "set output.blank_id=null",
            )


def _refuse_rows(wrong: Tensor, num_steps: Tensor, needed: Tensor) -> None:
    if not bool(wrong.any()):
        return
    row = int(torch.nonzero(wrong)[0])
    raise DataError(
        f"row {row} of the batch",
        f"has {int(num_steps[row])} steps, its target needs {int(needed[row])}",
        "leave such examples out, or read more steps",
    )
