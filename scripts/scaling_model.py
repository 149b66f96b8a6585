"""How long an update takes on many GPUs, from the times of single layers and the speed of links.

The idea: a layer costs a fixed time (its steps cannot be made faster by fewer rows) and a time a
row, forward; backward costs twice that. Everything else is a schedule: a ring all-reduce that
begins as gradients appear, layers that follow each other on devices, chunks of time that run as a
wavefront, attention and softmax cut by rows. Each GPU brings the same number of rows, so N GPUs do
N times the work of one. The price: no contention, no jitter, no memory limit; what a figure of a
real machine has beyond this, the model does not explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BACKWARD = 2.0
"""A backward pass computes two products for each product of the forward pass."""


@dataclass(frozen=True)
class Layer:
    """One part of an encoder-decoder model.

    Attributes:
        part: where it stands: encoder_first (both directions, which a wavefront cannot cut),
            encoder, decoder, or output (attention, readout, softmax: no recurrence).
        fixed_s: seconds forward of a batch, whatever its rows.
        row_s: seconds forward that each row (sentence pair) adds.
        num_parameters: numbers that have a gradient.
        row_bytes: bytes that a row sends to the next layer.
    """

    name: str
    part: str
    fixed_s: float
    row_s: float
    num_parameters: int
    row_bytes: float

    def forward_s(self, rows: float) -> float:
        """Seconds for the forward pass of so many rows."""
        return self.fixed_s + self.row_s * rows


@dataclass(frozen=True)
class Link:
    """A connection: `bytes_per_s` in one direction, and `latency_s` of each message."""

    bytes_per_s: float
    latency_s: float

    def send_s(self, num_bytes: float) -> float:
        """Seconds until a message has arrived."""
        return self.latency_s + num_bytes / self.bytes_per_s


@dataclass(frozen=True)
class Machines:
    """GPUs: `per_node` of them are joined by `inside`, nodes by `between`."""

    per_node: int
    inside: Link
    between: Link

    def all_reduce_s(self, num_bytes: float, num_gpus: int, *, apart: bool = False) -> float:
        """Seconds of a ring: 2 (N - 1) messages of 1/N, at the pace of its slowest link.

        Args:
            apart: whether the GPUs are on several nodes, even if a node had room for them.
        """
        if num_gpus == 1:
            return 0.0
        link = self.between if apart or num_gpus > self.per_node else self.inside
        return 2 * (num_gpus - 1) * link.send_s(num_bytes / num_gpus)


@dataclass(frozen=True)
class Costs:
    """What is not a layer.

    Attributes:
        parameter_s: seconds an optimizer takes for a parameter.
        chunk_s: seconds that each chunk of time adds to each layer of a wavefront.
        gradient_bytes: bytes of a gradient on the link.
        waiting: how much longer the slowest of all GPUs computes than the mean: (max - mean) /
            mean, by unequal batches.
    """

    parameter_s: float = 0.0
    chunk_s: float = 0.0
    gradient_bytes: int = 4
    waiting: float = 0.0


def one_gpu(layers: Sequence[Layer], rows: float, costs: Costs) -> float:
    """Seconds of an update of one GPU."""
    compute = sum((1 + BACKWARD) * layer.forward_s(rows) for layer in layers)
    return compute + costs.parameter_s * _parameters(layers)


def data_parallel(
    layers: Sequence[Layer], rows: float, num_gpus: int, machines: Machines, costs: Costs
) -> float:
    """Seconds of an update of N replicas with `rows` rows each; a layer's gradients are reduced
    while the layers before it run backward.
    """
    slowest = 1 + costs.waiting * (num_gpus > 1)
    now = slowest * sum(layer.forward_s(rows) for layer in layers)
    link_free = 0.0
    for layer in reversed(layers):
        now += slowest * BACKWARD * layer.forward_s(rows)
        num_bytes = costs.gradient_bytes * layer.num_parameters
        link_free = max(now, link_free) + machines.all_reduce_s(num_bytes, num_gpus)
    return max(now, link_free) + costs.parameter_s * _parameters(layers)


@dataclass(frozen=True)
class Placing:
    """How layers are put on devices.

    Attributes:
        num_chunks: pieces of time; 1 runs one layer after the other, more are a wavefront.
        input_feeding: a step of the decoder waits for the attention of the step before, so the
            decoder and the output are no wavefront.
        split_output: attention and softmax are cut by rows over all GPUs (Ono et al. 2019).
        split_directions: both directions of a bidirectional layer run at once, on two devices.
    """

    num_chunks: int = 1
    input_feeding: bool = False
    split_output: bool = False
    split_directions: bool = False


def placement(
    layers: Sequence[Layer],
    rows: float,
    num_gpus: int,
    machines: Machines,
    costs: Costs,
    placing: Placing,
) -> float:
    """Seconds of an update of `num_gpus` x `rows` rows by layers on devices.

    A group of GPUs holds the model, layer i of the encoder and of the decoder next to each other,
    as far as there are layers; more GPUs are more groups, which average their gradients after the
    backward pass. Backward is the mirror of forward. ValueError unless `num_gpus` fill groups.
    """
    group = min(num_gpus, machines.per_node, _depth(layers))
    if num_gpus % group:
        raise ValueError(f"{num_gpus} GPUs are no multiple of a group of {group}")
    batch, num_groups = rows * group, num_gpus // group
    num_chunks = placing.num_chunks if group > 1 else 1
    devices = _devices(layers, group)
    outputs = [layer for layer in layers if layer.part == "output"]
    first, encoder, decoder = (
        [layer for layer in layers if layer.part == part]
        for part in ("encoder_first", "encoder", "decoder")
    )
    if not placing.split_output:
        decoder = decoder + outputs
    forward = 0.0
    for stack, chunks in (
        (first, 1),
        (encoder, num_chunks),
        (decoder, 1 if placing.input_feeding else num_chunks),
    ):
        seconds = _wavefront_s(stack, batch, devices, chunks, machines.inside, costs)
        at_once = stack is first and placing.split_directions and group > 1
        forward += seconds / 2 if at_once else seconds
    if placing.split_output:
        arriving = sum(layer.row_bytes for layer in outputs) * rows * (group > 1)
        forward += machines.inside.send_s(arriving) * (group > 1)
        forward += sum(layer.forward_s(rows) for layer in outputs)
    seconds = (1 + BACKWARD) * forward * (1 + costs.waiting * (num_groups > 1))
    return seconds + _finish_s(layers, devices, num_gpus, machines, costs, placing)


def _depth(layers: Sequence[Layer]) -> int:
    num_decoders = sum(layer.part == "decoder" for layer in layers)
    return max(num_decoders, sum(layer.part.startswith("encoder") for layer in layers))


def _devices(layers: Sequence[Layer], group: int) -> dict[str, int]:
    """The device of each layer in a group."""
    devices: dict[str, int] = {}
    for side in ("encoder", "decoder"):
        names = [layer.name for layer in layers if layer.part.startswith(side)]
        devices |= {name: i * group // len(names) for i, name in enumerate(names)}
    return devices | {layer.name: group - 1 for layer in layers if layer.part == "output"}


def _wavefront_s(
    stack: Sequence[Layer],
    rows: float,
    devices: dict[str, int],
    num_chunks: int,
    link: Link,
    costs: Costs,
) -> float:
    """When the last chunk leaves the last layer; a device runs one thing at a time."""
    free: dict[int, float] = {}
    done: dict[tuple[int, int], float] = {}
    # By diagonals, the order in which they become ready.
    cells = [(i, wave - i) for wave in range(len(stack) + num_chunks) for i in range(len(stack))]
    for i, chunk in cells:
        if not 0 <= chunk < num_chunks:
            continue
        layer, device = stack[i], devices[stack[i].name]
        ready = done.get((i, chunk - 1), 0.0)
        if i > 0:
            arrives = done[i - 1, chunk]
            if devices[stack[i - 1].name] != device:
                arrives += link.send_s(stack[i - 1].row_bytes * rows / num_chunks)
            ready = max(ready, arrives)
        seconds = layer.forward_s(rows) / num_chunks + costs.chunk_s * (num_chunks > 1)
        done[i, chunk] = free[device] = max(ready, free.get(device, 0.0)) + seconds
    return max(done.values(), default=0.0)


def _finish_s(
    layers: Sequence[Layer],
    devices: dict[str, int],
    num_gpus: int,
    machines: Machines,
    costs: Costs,
    placing: Placing,
) -> float:
    """Seconds after the backward pass: gradients averaged, parameters updated."""
    group = max(devices.values()) + 1
    shared = [layer for layer in layers if layer.part == "output" and placing.split_output]
    owned = [layer for layer in layers if layer not in shared]
    largest = max(
        _parameters([layer for layer in owned if devices[layer.name] == device])
        for device in range(group)
    )
    # Between nodes all devices of a group send through the one link of their node.
    sent = largest if num_gpus <= machines.per_node else _parameters(owned)
    seconds = machines.all_reduce_s(
        costs.gradient_bytes * sent, num_gpus // group, apart=num_gpus > machines.per_node
    )
    seconds += machines.all_reduce_s(costs.gradient_bytes * _parameters(shared), num_gpus)
    return seconds + costs.parameter_s * (largest + _parameters(shared))


def _parameters(layers: Sequence[Layer]) -> int:
    return sum(layer.num_parameters for layer in layers)
