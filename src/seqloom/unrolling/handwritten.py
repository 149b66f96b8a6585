"""The loop over a `GatedCell` with its derivative written by hand: no graph of single operations.

Real steps are packed: the rows of step 0, then those of step 1, and so on, so nothing is computed
or kept for padding. Forward there is a product and a call of `gate` a step; backward a call of
`gate_backward` and a product; the gradient of the recurrent matrix is one product over all steps.
Price: what a step keeps is copied into tensors for all steps (a few, whatever the length: memory
policies move them as a whole), and there is no second derivative.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqloom.cells.base import GatedCell, State
from seqloom.cells.products import Product, weight_gradient
from seqloom.sequences import Padded
from seqloom.unrolling.base import no_outputs


def run_handwritten(cell: GatedCell, inputs: Padded, state: State) -> tuple[Tensor, State]:
    """Rows sorted by length, longest first -> outputs [B, T, output_size], zero beyond a length,
    and the state after each row's last real step; both in the dtype of the state."""
    num_rows = int((inputs.lengths > 0).sum())
    if num_rows == 0:
        return no_outputs(cell, inputs, state), state
    packed = pack_padded_sequence(
        inputs.values[:num_rows], inputs.lengths[:num_rows], batch_first=True
    )
    arguments = [
        cell.project(packed.data),
        cell.weight_hh,
        cell.bias_hh,
        *(part[:num_rows] for part in state),
        *(getattr(cell, name) for name in cell.gate_parameters),
    ]
    needed = any(tensor.requires_grad for tensor in arguments if tensor is not None)
    keeps = needed and torch.is_grad_enabled()
    outputs, *final = _Loop.apply(cell, packed.batch_sizes.tolist(), keeps, *arguments)
    padded, _ = pad_packed_sequence(
        PackedSequence(outputs, packed.batch_sizes),
        batch_first=True,
        total_length=inputs.max_length,
    )
    num_empty = inputs.batch_size - num_rows
    if num_empty == 0:
        return padded, tuple(final)
    joined = zip(final, state, strict=True)
    return (
        F.pad(padded, [0, 0, 0, 0, 0, num_empty]),
        tuple(torch.cat([last, part[num_rows:]]) for last, part in joined),
    )


class _Rows:
    """Tensors of every step, the rows of all steps one below the other: [M, ...]."""

    def __init__(self, num_elements: int, tensors: Sequence[Tensor] = ()) -> None:
        self.num_elements, self.tensors = num_elements, list(tensors)

    def put(self, rows: slice, values: Sequence[Tensor]) -> None:
        if not self.tensors:
            shapes = [(self.num_elements, *value.shape[1:]) for value in values]
            self.tensors = [
                value.new_empty(shape) for value, shape in zip(values, shapes, strict=True)
            ]
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor[rows] = value

    def at(self, rows: slice) -> tuple[Tensor, ...]:
        return tuple(tensor[rows] for tensor in self.tensors)


def _steps(counts: list[int]) -> Iterator[tuple[int, slice]]:
    """How many rows each step has, and where they lie."""
    start = 0
    for count in counts:
        yield count, slice(start, start + count)
        start += count


class _Loop(torch.autograd.Function):
    """All steps of packed rows.

    Arguments: the cell, how many rows each step has, whether a gradient will be asked for, packed
    projected inputs [M, G], `weight_hh`, `bias_hh`, the parts of the state, the cell's
    `gate_parameters`. Gives packed outputs [M, H] and the parts of the final state.
    """

    @staticmethod
    def forward(
        ctx: Any,
        cell: GatedCell,
        counts: list[int],
        keeps: bool,
        projected: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        device, state = projected.device.type, tensors[: len(cell.state_sizes)]
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else weight.dtype
        cast, cast_bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        with torch.autocast(device, enabled=False):
            outputs, final, kept = _forward(
                cell, counts, keeps, projected, Product(cast, cast_bias), state
            )
        if keeps:
            ctx.cell, ctx.counts, ctx.num_kept = cell, counts, len(kept)
            ctx.dtypes = [projected.dtype, weight.dtype, None if bias is None else bias.dtype]
            ctx.save_for_backward(cast, outputs, *kept, *tensors)
        return outputs, *final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, *grad_final: Tensor) -> tuple[Any, ...]:
        cell, counts = ctx.cell, ctx.counts
        weight, outputs, *others = ctx.saved_tensors
        kept, initial = _Rows(len(outputs), others[: ctx.num_kept]), others[ctx.num_kept]
        projected_dtype, weight_dtype, bias_dtype = ctx.dtypes
        with torch.autocast(outputs.device.type, enabled=False):
            hidden = _hidden_read(counts, initial, outputs)
            gradients = _Rows(len(outputs))
            by_state, by_further = _backward(
                cell, counts, Product(weight.T), hidden, kept, gradients, grad_outputs, grad_final
            )
            # Of the two products' gradients, by the input's and by the state's.
            by_projected, by_recurrent = gradients.tensors[0], gradients.tensors[-1]
            by_recurrent = by_recurrent.to(weight.dtype)
            by_weight = by_bias = None
            if ctx.needs_input_grad[4]:
                read = torch.cat([cell.read(part) for part in hidden]).to(weight.dtype)
                by_weight = weight_gradient(by_recurrent, read).to(weight_dtype)
            if ctx.needs_input_grad[5]:
                by_bias = by_recurrent.sum(dim=0, dtype=bias_dtype)
        by_projected = by_projected.to(projected_dtype)
        return None, None, None, by_projected, by_weight, by_bias, *by_state, *by_further


def _forward(
    cell: GatedCell,
    counts: list[int],
    keeps: bool,
    projected: Tensor,
    product: Product,
    state: State,
) -> tuple[Tensor, State, list[Tensor]]:
    """Packed outputs, the final state, and where `keeps` what the backward pass reads of each step:
    the parts of the state after the first, what `gate` saved, and zoneout's masks."""
    outputs = state[0].new_empty(len(projected), cell.output_size)
    kept = _Rows(len(projected))
    ended: list[State] = []  # the final states of rows that have ended, the shortest rows first
    for count, rows in _steps(counts):
        if count < len(state[0]):
            ended.append(tuple(part[count:] for part in state))
            state = tuple(part[:count] for part in state)
        recurrent = product(cell.read(state[0]))
        new, saved = cell.gate(projected[rows], recurrent, state)
        masks: list[Tensor] = []
        if cell.noise.has_zoneout:
            masks = cell.noise.keep_masks(state, cell.training)
            masks = [m.expand_as(part) for m, part in zip(masks, state, strict=True)]
            new = tuple(map(torch.lerp, new, state, masks))
        if keeps:
            kept.put(rows, [*state[1:], *saved, *masks])
        outputs[rows] = new[0]
        state = new
    parts = zip(state, *reversed(ended), strict=True)
    return outputs, tuple(torch.cat(part) for part in parts), kept.tensors


def _hidden_read(counts: list[int], initial: Tensor, outputs: Tensor) -> list[Tensor]:
    """The hidden state that each step read."""
    hidden, before = [], initial
    for count, rows in _steps(counts):
        hidden.append(before[:count])
        before = outputs[rows]
    return hidden


def _backward(
    cell: GatedCell,
    counts: list[int],
    product: Product,
    hidden: list[Tensor],
    kept: _Rows,
    gradients: _Rows,
    grad_outputs: Tensor,
    grad_final: State,
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients by the initial state and by the cell's further parameters; into `gradients` go
    those by the projected inputs and, where they are others, by the recurrent product."""
    num_parts, zoneout = len(grad_final), cell.noise.has_zoneout
    by_state = [part.clone() for part in grad_final]
    by_further: list[Tensor] = []
    for read, (count, rows) in reversed(list(zip(hidden, _steps(counts), strict=True))):
        saved = kept.at(rows)
        state = (read, *saved[: num_parts - 1])
        grad_new = [part[:count] for part in by_state]
        grad_new[0] = grad_new[0] + grad_outputs[rows]
        passed: list[Tensor] = []
        if zoneout:
            passed = list(map(torch.mul, grad_new, saved[-num_parts:]))
            grad_new = list(map(torch.sub, grad_new, passed))
        saved = saved[num_parts - 1 : -num_parts if zoneout else None]
        by_projected, by_recurrent, old, further = cell.gate_backward(saved, state, tuple(grad_new))
        both = by_recurrent is not by_projected
        gradients.put(rows, [by_projected, by_recurrent] if both else [by_projected])
        through = product(by_recurrent).to(old[0].dtype)
        total = [old[0] + cell.read(through), *old[1:]]
        if zoneout:
            total = list(map(torch.add, total, passed))
        for part, value in zip(by_state, total, strict=True):
            part[:count] = value
        by_further = list(map(torch.add, by_further, further)) if by_further else list(further)
    return by_state, by_further
