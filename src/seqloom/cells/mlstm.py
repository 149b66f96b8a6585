"""mLSTM (Beck et al. 2024, "xLSTM", section 2.3): a matrix memory a head, written by key and value
and read by query; all gates depend on the input alone.

    q = W_q x_t + b_q,  k = (W_k x_t + b_k) / sqrt(d),  v = W_v x_t + b_v      [d] a head
    i = w_i x_t + b_i,  f = log sigmoid(w_f x_t + b_f),  o = sigmoid(W_o x_t + b_o)
    m_t = max(f + m_{t-1}, i),  i' = exp(i - m_t),  f' = exp(f + m_{t-1} - m_t)
    C_t = f' C_{t-1} + i' v k^T,  n_t = f' n_{t-1} + i' k
    h_t = o * (C_t q) / max(|n_t q|, exp(-m_t))

A scan cuts time into chunks: inside one it is attention whose weights decay, and only where two
meet does a memory exist as a matrix; the memories of all chunks are one linear scan. The block
around the cell (convolution, norms) is left to layers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells.base import ScanCell, State
from seqloom.cells.linear_recurrence import linear_scan
from seqloom.cells.products import linear
from seqloom.cells.stabilization import check_heads, zone_out
from seqloom.sequences import Padded

# Steps of a chunk: its attention is then about as large as its memory.
_CHUNK_STEPS = 64
# exp(-m) is finite above it, and below it the output is nothing either way.
_MIN_STABILIZER = -80.0


class _Parts(NamedTuple):
    """Projected inputs: query, key, value [..., heads, d], log gates [..., heads], output gate
    [..., H]."""

    query: Tensor
    key: Tensor
    value: Tensor
    write: Tensor
    keep: Tensor
    output: Tensor


class MLSTM(ScanCell):
    """State (C, n, m): [N, heads * d * d], [N, heads * d], [N, heads], with d = H / heads; d rows
    of C are values, columns keys.

    Args:
        input_size: I.
        hidden_size: H.
        num_heads: memories; divides H.
        forget_bias_min: first bias of the forget gate of the first head.
        forget_bias_max: of the last head; between them evenly.

    Raises:
        ConfigError: heads that do not divide H, or bounds in the wrong order.
    """

    gives_state = False
    recurrent_weights = ()

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        num_heads: int = 4,
        forget_bias_min: float = 3.0,
        forget_bias_max: float = 6.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_heads(hidden_size, num_heads, forget_bias_min, forget_bias_max)
        self.num_heads, self.head_size = num_heads, hidden_size // num_heads
        self.state_sizes = (hidden_size * self.head_size, hidden_size, num_heads)
        self._sizes = [hidden_size] * 4 + [num_heads] * 2
        self.weight_ih = nn.Parameter(torch.empty(sum(self._sizes), input_size))
        self.bias_ih = nn.Parameter(torch.zeros(sum(self._sizes)))
        for block in self.weight_ih.split(self._sizes):
            nn.init.xavier_uniform_(block)
        *_, forget = self.bias_ih.detach().split(self._sizes)
        forget.copy_(torch.linspace(forget_bias_min, forget_bias_max, num_heads))

    def project(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        parts = self._parts(projected.to(state[0].dtype))
        matrix = state[0].unflatten(1, (self.num_heads, self.head_size, self.head_size))
        normalizer, stabilizer = state[1].unflatten(1, (self.num_heads, self.head_size)), state[2]
        kept = parts.keep + stabilizer
        stabilizer = torch.maximum(kept, parts.write)
        keep = torch.exp(kept - stabilizer).unsqueeze(2)
        key = torch.exp(parts.write - stabilizer).unsqueeze(2) * parts.key
        matrix = keep.unsqueeze(3) * matrix + parts.value.unsqueeze(3) * key.unsqueeze(2)
        normalizer = keep * normalizer + key
        read = (matrix * parts.query.unsqueeze(2)).sum(dim=3)
        size = (normalizer * parts.query).sum(dim=2)
        output = parts.output * _normalized(read, size, stabilizer).flatten(1)
        return output, (matrix.flatten(1), normalizer.flatten(1), stabilizer)

    def advance(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        output, new = self.step(projected, state)
        if not self.noise.has_zoneout:
            return output, new
        return output, zone_out(self.noise.keep_masks(state, self.training), state, new)

    def scan(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        projected = self.project(inputs.values).to(state[0].dtype)
        num_steps = inputs.max_length
        chunk_steps = min(_CHUNK_STEPS, num_steps)
        padded = inputs.with_values(F.pad(projected, [0, 0, 0, -num_steps % chunk_steps]))
        parts = self._parts(padded.values)
        if not padded.is_full:  # padding keeps all and writes nothing
            padding = ~padded.mask().unsqueeze(2)
            parts = parts._replace(
                keep=parts.keep.masked_fill(padding, 0),
                write=parts.write.masked_fill(padding, -math.inf),
            )
        with torch.autocast(projected.device.type, enabled=False):
            read, final = self._scan_chunks(parts, state, chunk_steps)
        return (parts.output * read)[:, :num_steps], final

    def _scan_chunks(self, parts: _Parts, state: State, chunk_steps: int) -> tuple[Tensor, State]:
        """What is read of the memories, [B, T, H], and the final state; T is a multiple of
        `chunk_steps`."""
        query, key, value, write, keep = (
            part.unflatten(1, (-1, chunk_steps)).movedim(3, 1) for part in parts[:5]
        )  # [B, heads, chunks, steps, d] and [B, heads, chunks, steps]
        reach = keep.cumsum(dim=-1)  # log of what is kept of the memory before the chunk
        entry = write - reach
        peak = entry.cummax(dim=-1).values
        before, after = _stabilizers(state[2], reach[..., -1], peak[..., -1])
        stabilizer = reach + torch.maximum(before.unsqueeze(3), peak)
        weight = torch.exp(reach[..., -1:] + entry - after.unsqueeze(3)).unsqueeze(4)
        # The normaliser is one more row of the memory, whose value is 1 at every step.
        written = torch.cat([value * weight, weight], dim=-1).transpose(3, 4) @ key
        initial = torch.cat(
            [
                state[0].unflatten(1, (self.num_heads, self.head_size, -1)),
                state[1].unflatten(1, (self.num_heads, 1, -1)),
            ],
            dim=2,
        )
        decay = torch.exp(reach[..., -1] + before - after)
        memories = linear_scan(
            decay.flatten(0, 1).unsqueeze(2),
            written.flatten(3).flatten(0, 1),
            initial.flatten(2).flatten(0, 1),
        ).reshape(written.shape)
        memory = torch.cat([initial.unsqueeze(2), memories[:, :, :-1]], dim=2)
        carried = torch.exp(reach + before.unsqueeze(3) - stabilizer).unsqueeze(4)
        read = carried * (query @ memory.transpose(3, 4))
        near = (reach - stabilizer).unsqueeze(4) + entry.unsqueeze(3)
        future = torch.ones(chunk_steps, chunk_steps, dtype=torch.bool, device=near.device).triu(1)
        scores = (query @ key.transpose(3, 4)) * near.masked_fill(future, -math.inf).exp()
        read = read + torch.cat([scores @ value, scores.sum(dim=4, keepdim=True)], dim=-1)
        outputs = _normalized(read[..., :-1], read[..., -1], stabilizer)
        last = memories[:, :, -1]
        final = (last[:, :, :-1].flatten(1), last[:, :, -1].flatten(1), after[:, :, -1])
        return outputs.movedim(1, 3).flatten(3).flatten(1, 2), final

    def _parts(self, projected: Tensor) -> _Parts:
        query, key, value, output, write, forget = projected.split(self._sizes, dim=-1)
        heads = (self.num_heads, self.head_size)
        return _Parts(
            query.unflatten(-1, heads),
            key.unflatten(-1, heads) / math.sqrt(self.head_size),
            value.unflatten(-1, heads),
            write,
            F.logsigmoid(forget),
            output.sigmoid(),
        )


def _normalized(read: Tensor, size: Tensor, stabilizer: Tensor) -> Tensor:
    """C q / max(|n q|, exp(-m)): read [..., d], size and stabilizer [...]."""
    least = torch.exp(-stabilizer.clamp(min=_MIN_STABILIZER))
    return read / torch.maximum(size.abs(), least).unsqueeze(-1)


def _stabilizers(initial: Tensor, reach: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
    """The stabiliser before and after each chunk, [B, heads, chunks], from the first one [B,
    heads], what each chunk keeps and its highest entry [B, heads, chunks]."""
    stabilizers = [initial]
    for kept, entry in zip(reach.unbind(2), peak.unbind(2), strict=True):
        stabilizers.append(kept + torch.maximum(stabilizers[-1], entry))
    return torch.stack(stabilizers[:-1], dim=2), torch.stack(stabilizers[1:], dim=2)
