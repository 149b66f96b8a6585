"""How processes that hold the same weights tell each other their gradients.

The idea: one object that DDP asks for each bucket of gradients (its communication hook), that is
told of each update, and that can be asked to make the weights the same everywhere (`meet`). `plain`
sends float32, `bf16` half of that, `powersgd` factors of low rank (Vogels et al. 2019), `local_sgd`
nothing but averages now and then (Lin et al. 2020). Price: everything but plain computes other
numbers than one process does.

What is counted as sent: gradients, rows of embeddings, averaged weights and moments, as the bytes
that a process sends when a collective goes around a ring, so that an all-reduce and an all-gather
can be compared. The few numbers by which an update is divided are left out.
"""

# No `from __future__ import annotations`: DDP compares the annotations of a hook with classes.

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.futures import Future
from torch.optim import Optimizer

CHOICES = ("plain", "bf16", "powersgd", "local_sgd")


class Traffic:
    """Counts what this process sends.

    Attributes:
        num_bytes: since the fit began.
    """

    def __init__(self) -> None:
        self.num_bytes = 0

    def all_reduce(self, payload: int) -> None:
        """Adds an all-reduce of `payload` bytes."""
        self.num_bytes += ring_all_reduce(payload)

    def all_gather(self, payload: int) -> None:
        """Adds an all-gather to which each process gives `payload` bytes."""
        self.num_bytes += ring_all_gather(payload)


def ring_all_reduce(payload: int) -> int:
    """Bytes that a process sends: the payload less its own share, twice."""
    size = dist.get_world_size()
    return 2 * (size - 1) * payload // size


def ring_all_gather(payload: int) -> int:
    """Bytes that a process sends: its payload to each other one, hand to hand."""
    return (dist.get_world_size() - 1) * payload


class Communication:
    """Plain: the mean of the gradients, in their own precision.

    Args:
        traffic: where what is sent is added.
    """

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.num_updates = 0

    def begin(self, num_updates: int) -> None:
        """Training starts, or goes on after so many updates."""
        self.num_updates = num_updates

    def exchange(self, bucket: dist.GradBucket) -> Future[Tensor]:
        """The gradients of `bucket` averaged over processes, in its own buffer. Called in every
        backward pass before an update, by all processes in the same order."""
        self.traffic.all_reduce(bucket.buffer().nbytes)
        return default_hooks.allreduce_hook(_everyone(), bucket)

    def end_update(self, optimizers: Sequence[Optimizer]) -> None:
        """The optimisers have changed the weights."""
        self.num_updates += 1

    def meet(self, optimizers: Sequence[Optimizer]) -> None:
        """From here on all processes have the same weights and moments. All of them call this."""


class HalfCommunication(Communication):
    """Gradients rounded to bfloat16 (8 bits of mantissa) on their way, and summed in it."""

    def exchange(self, bucket: dist.GradBucket) -> Future[Tensor]:
        """See `Communication`."""
        self.traffic.all_reduce(bucket.buffer().numel() * torch.bfloat16.itemsize)
        return default_hooks.bf16_compress_hook(_everyone(), bucket)


class LowRankCommunication(Communication):
    """PowerSGD with warm start: matrices as products of two thin ones; what is lost is added to the
    next gradient.

    That error feedback is no part of a checkpoint: a resumed run begins it anew, after at least two
    updates of plain exchange (DDP lays out its buckets anew in the first).

    Args:
        rank: columns of the thin matrices.
        start_step: updates of plain exchange before, at least 2.
    """

    def __init__(self, traffic: Traffic, *, rank: int, start_step: int) -> None:
        super().__init__(traffic)
        self._start_step = start_step
        self._state = powerSGD_hook.PowerSGDState(
            _everyone(),
            matrix_approximation_rank=rank,
            start_powerSGD_iter=start_step,
            # Never: it would log a line each so many updates.
            compression_stats_logging_frequency=2**62,
        )

    def begin(self, num_updates: int) -> None:
        """See `Communication`."""
        super().begin(num_updates)
        self._state.iter = min(num_updates, self._start_step - 2)

    def exchange(self, bucket: dist.GradBucket) -> Future[Tensor]:
        """See `Communication`."""
        state, buffer = self._state, bucket.buffer()
        if state.iter < self._start_step:
            self.traffic.all_reduce(buffer.nbytes)
            return powerSGD_hook.powerSGD_hook(state, bucket)
        before = state.total_numel_after_compression
        averaged = powerSGD_hook.powerSGD_hook(state, bucket)
        numel = state.total_numel_after_compression - before
        self.traffic.all_reduce(numel * buffer.element_size())
        return averaged


class LocalCommunication(Communication):
    """Post-local SGD: after `start_step` updates each process goes its own way, and at every
    `period`-th update the weights and the optimisers' moments are averaged.

    The gradients of an update are divided by the tokens of all processes all the same, so an
    average of weights weighs tokens, not processes; that division is still one small message an
    update, which saves bytes, not waiting. An average sends the weights and the moments: with Adam
    three times as much as one exchange of gradients. Clipping sees a process's own gradient, and so
    does the logged norm.

    Args:
        start_step: updates of plain exchange before, at least 0.
        period: updates between two averages, at least 1.
    """

    def __init__(self, traffic: Traffic, *, start_step: int, period: int) -> None:
        super().__init__(traffic)
        self._start_step, self._period = start_step, period
        self._have_diverged = False

    def exchange(self, bucket: dist.GradBucket) -> Future[Tensor]:
        """See `Communication`."""
        if self.num_updates < self._start_step:
            return super().exchange(bucket)
        own: Future[Tensor] = Future()
        own.set_result(bucket.buffer())
        return own

    def end_update(self, optimizers: Sequence[Optimizer]) -> None:
        """See `Communication`."""
        super().end_update(optimizers)
        num_alone = self.num_updates - self._start_step
        self._have_diverged = self._have_diverged or num_alone > 0
        if num_alone > 0 and num_alone % self._period == 0:
            self.meet(optimizers)

    def meet(self, optimizers: Sequence[Optimizer]) -> None:
        """See `Communication`."""
        if self._have_diverged:
            for optimizer in optimizers:
                self._average(_weights_and_moments(optimizer))
        self._have_diverged = False

    @torch.no_grad()
    def _average(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by its mean over processes, all in one message."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self.traffic.all_reduce(flat.nbytes)
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def _everyone() -> dist.ProcessGroup:
    assert dist.group.WORLD is not None, "there is no process group"
    return dist.group.WORLD


def _weights_and_moments(optimizer: Optimizer) -> list[Tensor]:
    """What an optimiser has learned: parameters, and whatever it keeps of the same shape."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return parameters + [
        value
        for parameter in parameters
        for value in _values(optimizer, parameter)
        if isinstance(value, Tensor) and value.shape == parameter.shape
    ]


def _values(optimizer: Optimizer, parameter: Tensor) -> Iterable[object]:
    return optimizer.state[parameter].values() if parameter in optimizer.state else ()


def exchange(state: Communication, bucket: dist.GradBucket) -> Future[Tensor]:
    """The communication hook that DDP takes."""
    return state.exchange(bucket)
