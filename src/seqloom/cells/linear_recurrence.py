"""h_t = a_t * h_{t-1} + b_t for all steps at once, and `LinearCell`, for cells that are no more.

Two kernels: a tree over time of depth 2 log2(T), for a GPU and wherever a step is narrow, and on a
CPU, where one step of all rows is wide enough to be worth a call, a loop of one call a step. The
derivative is written by hand: the same recurrence, run backwards.

On a CPU memory traffic costs more than the mathematics, so a `LinearCell` goes through time in
tiles that stay in the cache: of a tile its coefficients and outputs exist only while it is
computed, forward and again backward; kept are the projected inputs and the states. Price: there is
no second derivative.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqloom.cells.base import ScanCell, State
from seqloom.sequences import Padded

# Elements of one step, from which on a CPU a call a step is faster than the tree.
_WIDE_STEP = 2048
# Elements of a tile: a few tensors of this size lie in a CPU's cache.
_TILE_ELEMENTS = 1 << 18


def linear_scan(decay: Tensor, driven: Tensor, initial: Tensor) -> Tensor:
    """States [B, T, S] of h_t = decay_t * h_{t-1} + driven_t, with h_{-1} = `initial`.

    Args:
        decay: [B, T, S], [B, T, 1] where a step's is the same for all elements, or [S] where an
            element's is the same at every step; real or complex.
        driven: [B, T, S], of the dtype of `decay`. B and T may be 0.
        initial: [B, S], likewise.
    """
    return _LinearScan.apply(decay, driven, initial)


class LinearCell(ScanCell):
    """A cell whose first part of the state follows h_t = a_t * h_{t-1} + b_t element by element,
    with coefficients that do not depend on the state.

    Where the coefficients are complex, [N, S], the part of the state is real, [N, 2 * S]: each
    element's real and imaginary part side by side.

    Attributes:
        scan_parameters: names of the parameters that `coefficients` and `emit` read.
    """

    recurrent_weights = ()
    scan_parameters: tuple[str, ...] = ()

    @abstractmethod
    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Projected inputs [..., G], in the dtype of the state -> a, [..., S] or [S] where it is
        the same at every step, and b [..., S]."""

    def emit(self, projected: Tensor, states: Tensor) -> Tensor:
        """Outputs [..., output_size], real, of the new states [..., S]. What is not the state
        itself needs `gives_state = False`."""
        return states

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        projected = projected.to(state[0].dtype)
        decay, driven = self.coefficients(projected)
        states = decay * _as_dtype_of(driven, state[0]) + driven
        return self.emit(projected, states), (_as_real(states),)

    def scan(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        return self.scan_projected(inputs.with_values(self.project(inputs.values)), state)

    def scan_projected(self, projected: Padded, state: State) -> tuple[Tensor, State]:
        """As `scan`, of projected inputs [B, T, G], T >= 1."""
        empty = projected.values.new_empty(0, projected.values.shape[2], dtype=state[0].dtype)
        with torch.no_grad():
            _, driven = self.coefficients(empty)
        parameters = [getattr(self, name) for name in self.scan_parameters]
        outputs, final = _TiledScan.apply(
            self,
            projected.lengths,
            projected.values,
            _as_dtype_of(driven, state[0]),
            *parameters,
        )
        return outputs, (_as_real(final),)


def _as_dtype_of(driven: Tensor, part: Tensor) -> Tensor:
    """The part of a state as coefficients see it."""
    if not driven.is_complex():
        return part
    return torch.view_as_complex(part.unflatten(1, (-1, 2)).contiguous())


def _as_real(states: Tensor) -> Tensor:
    return torch.view_as_real(states).flatten(-2) if states.is_complex() else states


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, driven: Tensor, initial: Tensor) -> Tensor:
        states = torch.empty_like(driven, memory_format=torch.contiguous_format)
        _run(decay, driven, initial, states)
        ctx.save_for_backward(decay, initial, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, initial, states = ctx.saved_tensors
        return _run_back(decay, initial, states, grad_states, torch.zeros_like(initial))


class _TiledScan(torch.autograd.Function):
    """A `LinearCell` over time, tile by tile.

    Arguments: the cell, lengths, projected inputs [B, T, G], the initial state [B, S] in the dtype
    of the coefficients, the cell's `scan_parameters`. Gives outputs [B, T, output_size] and the
    state after each row's last real step: padding holds it, by a = 1 and b = 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        cell: LinearCell,
        lengths: Tensor,
        projected: Tensor,
        initial: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        states = initial.new_empty(*projected.shape[:2], initial.shape[1])
        outputs, dtype = states, initial.dtype.to_real()
        if not cell.gives_state:
            outputs = projected.new_empty(*projected.shape[:2], cell.output_size, dtype=dtype)
        state = initial
        for tile in _tiles(states):
            read = projected[:, tile].to(dtype)
            decay, driven = _coefficients(cell, read, _real_steps(lengths, tile, read))
            _run(decay, driven, state, states[:, tile])
            state = states[:, tile.stop - 1]
            if not cell.gives_state:
                outputs[:, tile] = cell.emit(read, states[:, tile])
        ctx.cell, ctx.lengths = cell, lengths
        ctx.save_for_backward(projected, initial, states, *parameters)
        return outputs, state.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, carry: Tensor) -> tuple[Any, ...]:
        projected, initial, states, *parameters = ctx.saved_tensors
        leaves = [parameter.detach().requires_grad_() for parameter in parameters]
        cell = copy.copy(ctx.cell)
        named = dict(zip(cell.scan_parameters, leaves, strict=True))
        # The copy's own table, so that gradients end at its leaves.
        cell._parameters = {**cell._parameters, **named}
        by_projected = torch.empty_like(projected)
        by_parameters = [torch.zeros_like(leaf) for leaf in leaves]
        for tile in reversed(_tiles(states)):
            read = projected[:, tile].to(initial.dtype.to_real()).detach().requires_grad_()
            before = states[:, tile.start - 1] if tile.start else initial
            real = _real_steps(ctx.lengths, tile, read)
            (by_read, *by_leaves), carry = _tile_back(
                cell, [read, *leaves], real, before, states[:, tile], grad_outputs[:, tile], carry
            )
            by_projected[:, tile] = by_read
            for total, gradient in zip(by_parameters, by_leaves, strict=True):
                total.add_(gradient)
        return None, None, by_projected, carry, *by_parameters


def _tile_back(
    cell: LinearCell,
    sources: list[Tensor],
    real: Tensor | None,
    before: Tensor,
    states: Tensor,
    grad_outputs: Tensor,
    carry: Tensor,
) -> tuple[list[Tensor], Tensor]:
    """Gradients by the projected inputs of a tile and by the parameters (`sources`), and by the
    state `before` it; `carry` is the gradient by its last state from what comes after it."""
    direct, by_states = None, grad_outputs
    with torch.enable_grad():
        decay, driven = _coefficients(cell, sources[0], real)
        if not cell.gives_state:
            new = states.detach().requires_grad_()
            outputs = cell.emit(sources[0], new)
            by_states, *direct = torch.autograd.grad(
                outputs, [new, *sources], grad_outputs, materialize_grads=True
            )
    by_decay, by_driven, carry = _run_back(decay.detach(), before, states, by_states, carry)
    through = torch.autograd.grad(
        [decay, driven], sources, [by_decay, by_driven], materialize_grads=True
    )
    if direct is None:
        return list(through), carry
    return list(map(torch.add, direct, through)), carry


def _tiles(states: Tensor) -> list[slice]:
    """Spans of time, from the first step on; one on a device that has no large cache."""
    batch_size, num_steps, size = states.shape
    length = num_steps
    if states.device.type == "cpu":
        length = max(1, _TILE_ELEMENTS // (batch_size * size))
    starts = range(0, num_steps, length)
    return [slice(start, min(start + length, num_steps)) for start in starts]


def _real_steps(lengths: Tensor, tile: slice, like: Tensor) -> Tensor | None:
    """[B, K, 1], True where a step of the tile is real, on the device of `like`; None: all are."""
    if bool((lengths >= tile.stop).all()):
        return None
    steps = torch.arange(tile.start, tile.stop)
    return (steps < lengths.unsqueeze(1)).unsqueeze(2).to(like.device)


def _coefficients(cell: LinearCell, read: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
    """The cell's, with padding that holds the state."""
    decay, driven = cell.coefficients(read)
    if real is None:
        return decay, driven
    return torch.where(real, decay, 1), torch.where(real, driven, 0)


def _run(decay: Tensor, driven: Tensor, initial: Tensor, states: Tensor) -> None:
    """Writes the states [B, T, S]."""
    if states.numel() == 0:
        return
    if _is_wide(initial):
        _loop(_each_step(decay, states), driven.unbind(1), initial, states.unbind(1))
        return
    states.copy_(driven)
    states[:, 0].addcmul_(_at(decay, 0), initial)
    _tree(decay, states)


def _run_back(
    decay: Tensor, initial: Tensor, states: Tensor, grad_states: Tensor, carry: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by decay, driven and the initial state; `carry` [B, S] is the last state's from
    whatever comes after it.

    g_t = grad_t + conj(a_{t+1}) g_{t+1} is the gradient by b_t; that by a_t is g_t conj(h_{t-1}).
    """
    if states.numel() == 0:
        return torch.zeros_like(decay), torch.zeros_like(states), carry
    decay = decay.conj().resolve_conj()
    if _is_wide(initial):
        by_driven = torch.empty_like(states, memory_format=torch.contiguous_format)
        places, grads = by_driven.unbind(1), grad_states.unbind(1)
        last = torch.add(grads[-1], carry, out=places[-1])
        after = _each_step(decay, states)[1:]
        _loop(reversed(after), reversed(grads[:-1]), last, reversed(places[:-1]))
    else:
        by_driven = grad_states.flip(1)
        by_driven[:, 0] += carry
        # What is rolled to the first step multiplies nothing.
        _tree(decay.flip(1).roll(1, 1) if decay.ndim > 1 else decay, by_driven)
        by_driven = by_driven.flip(1)
    before = torch.cat([initial.unsqueeze(1), states[:, :-1]], dim=1)
    by_decay = (by_driven * before.conj()).sum_to_size(decay.shape)
    return by_decay, by_driven, _at(decay, 0) * by_driven[:, 0]


def _is_wide(step: Tensor) -> bool:
    return step.device.type == "cpu" and step.numel() >= _WIDE_STEP


def _at(decay: Tensor, step: int) -> Tensor:
    return decay[:, step] if decay.ndim > 1 else decay


def _each_step(decay: Tensor, states: Tensor) -> Sequence[Tensor]:
    return decay.unbind(1) if decay.ndim > 1 else [decay] * states.shape[1]


def _loop(
    decays: Iterable[Tensor], driven: Iterable[Tensor], state: Tensor, places: Iterable[Tensor]
) -> None:
    """Step after step, each into its place."""
    for decay, drive, place in zip(decays, driven, places, strict=True):
        state = torch.addcmul(drive, decay, state, out=place)


def _tree(decay: Tensor, states: Tensor) -> None:
    """Turns b into h, in place, with nothing before the first step.

    Every second step takes in the one before it, which halves the problem; when that is solved,
    the other steps follow from their predecessors.
    """
    if states.shape[1] < 2:
        return
    odd, even = states[:, 1::2], states[:, 2::2]
    first, second, third = decay, decay, decay
    if decay.ndim > 1:
        first, second, third = decay[:, :-1:2], decay[:, 1::2], decay[:, 2::2]
    odd.addcmul_(second, states[:, :-1:2])
    _tree(first * second, odd)
    even.addcmul_(third, odd[:, : even.shape[1]])
