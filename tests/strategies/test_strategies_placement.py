"""A placed model computes on the devices it was given and gives one device's numbers; cuts are the
best there are; wrong placements are told."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from pretended_devices import PretendedDevices, mark_of
from torch import Tensor, nn

from seqloom.cells import LSTM
from seqloom.errors import ConfigError
from seqloom.layers.attention import AdditiveAttention
from seqloom.layers.outputs import Categorical
from seqloom.layers.recurrent import StackOptions
from seqloom.layers.wavefront import Wavefront
from seqloom.learners.optimization import scale_and_clip
from seqloom.sequences import Padded
from seqloom.strategies import Setting, balance, placement
from seqloom.strategies.boundary import Call, guard, moved, release
from seqloom.strategies.parts import device_of_parts, parts, place, stacks_of, unplace
from seqloom.strategies.placement import PlacedStrategy, Placement
from seqloom.topologies.delayed import DelayedSequenceToSequence
from seqloom.topologies.encoder_decoder import EncoderDecoder
from seqloom.topologies.sequence_to_sequence import SequenceToSequence
from seqloom.topologies.sequence_to_vector import SequenceToVector
from seqloom.topologies.vector_to_sequence import VectorToSequence
from seqloom.unrolling import Auto

CPU, GPU0, GPU1, GPU2 = (torch.device(name) for name in ("cpu", "cuda:0", "cuda:1", "cuda:2"))


def translator(*, wiring: str = "first_layer", tie: str = "none") -> EncoderDecoder:
    torch.manual_seed(0)
    return EncoderDecoder(
        source_size=11,
        reads_ids=True,
        target_vocab_size=11,
        shared_vocabulary=True,
        embedding_size=4,
        hidden_size=4,
        num_encoder_layers=2,
        num_decoder_layers=2,
        bidirectional=False,
        dropout=0.0,
        locked_dropout=True,
        tie=tie,
        bridge="projected",
        wiring=wiring,
        stack=StackOptions(connection="highway", layer_norm=True),
        cell=LSTM,
        unrolling=Auto(),
        attention=lambda **sizes: AdditiveAttention(**sizes, bias=True),
        output=Categorical,
    )


def sides() -> tuple[Padded, Padded]:
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(3, 11, (3, 6), generator=generator)
    target = torch.randint(3, 11, (3, 5), generator=generator)
    return Padded(source, torch.tensor([6, 2, 4])), Padded(target, torch.tensor([5, 1, 3]))


def loss_of(model: EncoderDecoder, source: Padded, target: Padded) -> Tensor:
    readouts, _ = model(source, target)
    rows = readouts.values[:, 0]
    return model.output.loss(rows, target.values[:, 0]).loss + readouts.values.square().sum()


SPREAD = {
    "encoder.layers.1": GPU1,
    "lower": GPU1,
    "attention": GPU2,
    "upper.layers.0": GPU2,
    "output": GPU1,
}


@pytest.mark.parametrize("wiring", ["late", "first_layer", "input_feeding"])
@pytest.mark.parametrize("wavefront", [None, Wavefront(2, 2)])
def test_parts_compute_where_they_are_placed(wiring: str, wavefront: Wavefront | None) -> None:
    """No operation meets two devices, in training or in a search; losses are those of one."""
    model, (source, target) = translator(wiring=wiring), sides()
    named = {path: device for path, device in SPREAD.items() if path in parts(model)}
    expected = loss_of(model, source, target)
    expected.backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    with PretendedDevices() as devices:
        place(model, device_of_parts(model, named, GPU0))
        if wavefront is not None:
            for stack in (model.encoder, model.lower, model.upper):
                stack.schedule = wavefront
        marks = {str(mark_of(parameter)) for parameter in model.parameters()}
        assert marks == {"cuda:0", "cuda:1", "cuda:2"}
        gate = model.encoder.gates["2"].weight
        assert isinstance(gate, Tensor)
        assert mark_of(gate) == GPU1
        before = len(devices.moves)
        here, there = source.to(GPU0), target.to(GPU0)
        found = loss_of(model, here, there)
        assert mark_of(found) == GPU0
        taken = {move[1] for move in devices.moves[before:]}
        assert taken == {GPU0, GPU1, GPU2}
        state = model.start(here)
        for _ in range(2):
            logits, _, state = model.step(there.values[:, 0], state)
            assert mark_of(logits) == GPU0
            state = model.select(state, torch.tensor([2, 0, 1]))
    found.backward()
    torch.testing.assert_close(found, expected)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, grads[name], rtol=1e-5, atol=1e-6, msg=name)


COMMON: dict[str, Any] = {
    "source_size": 11,
    "reads_ids": True,
    "embedding_size": 4,
    "hidden_size": 4,
    "num_layers": 2,
    "dropout": 0.0,
    "locked_dropout": True,
    "stack": StackOptions(connection="residual", bidirectional_layers="first"),
    "cell": LSTM,
    "unrolling": Auto(),
    "output": Categorical,
}


def tagger() -> SequenceToSequence:
    return SequenceToSequence(
        **COMMON, target_size=11, shared_vocabulary=True, bidirectional=True, tie="none"
    )


def classifier() -> SequenceToVector:
    return SequenceToVector(**COMMON, target_size=11, bidirectional=True, pooling="attention")


def writer() -> VectorToSequence:
    attention = partial(AdditiveAttention, bias=True)
    return VectorToSequence(
        **COMMON, target_size=11, conditioning="attention", tie="none", attention=attention
    )


def delayed() -> DelayedSequenceToSequence:
    return DelayedSequenceToSequence(
        **COMMON, target_vocab_size=11, shared_vocabulary=True, delay=2, tie="none"
    )


@pytest.mark.parametrize("make", [tagger, classifier, writer, delayed])
def test_every_topology_meets_one_device_at_a_time(make: Callable[[], nn.Module]) -> None:
    """Its parts are dealt to three devices in turn, holders and held alike."""
    torch.manual_seed(0)
    model, (source, target) = make(), sides()
    sees_target = isinstance(model, (VectorToSequence, DelayedSequenceToSequence))

    def scores(*batch: Padded) -> Tensor:
        found = model(*batch) if sees_target else model(batch[0])
        readouts = found[0].values if isinstance(found, tuple) else found
        logits = model.output.logits(readouts)  # type: ignore[operator, union-attr]
        assert isinstance(logits, Tensor)
        return logits

    expected = scores(source, target)
    with PretendedDevices() as devices:
        dealt = dict(zip(parts(model), itertools.cycle([GPU1, GPU2, GPU0]), strict=False))
        place(model, device_of_parts(model, dealt, GPU0))
        for stack in stacks_of(model):
            stack.schedule = Wavefront(2, 2)
        found = scores(source.to(GPU0), target.to(GPU0))
        assert mark_of(found) == GPU0
        assert {move[1] for move in devices.moves} == {GPU0, GPU1, GPU2}
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_model_without_guards_is_caught_by_the_pretended_devices() -> None:
    """The reference of the test above can fail."""
    model, (source, target) = translator(), sides()
    with PretendedDevices():
        place(model, device_of_parts(model, SPREAD, GPU0))
        unplace(model)
        with pytest.raises(AssertionError, match="of tensors on"):
            loss_of(model, source.to(GPU0), target.to(GPU0))


def test_layers_hand_on_from_device_to_device() -> None:
    model, (source, _) = translator(), sides()
    with PretendedDevices() as devices:
        named = {"encoder.layers.0": GPU1, "encoder.layers.1": GPU2}
        place(model, device_of_parts(model, named, GPU0))
        read = model.source_embedding(source.to(GPU0).values)
        states = model.encoder.initial_states(read, 3)
        before = len(devices.moves)
        outputs, _ = model.encoder(source.with_values(read), states)
        moves = devices.moves[before:]
    # Outputs and four parts of states go home; inputs and two parts go to each layer.
    assert moves.count((GPU1, GPU2)) == 1
    assert moves.count((GPU0, GPU1)) == 3
    assert moves.count((GPU0, GPU2)) == 2
    assert moves.count((GPU2, GPU0)) == 3
    assert mark_of(outputs.values) == GPU0


def test_what_is_not_named_goes_with_the_module_around_it() -> None:
    devices = device_of_parts(translator(), {"encoder": GPU1, "encoder.layers.0": GPU2}, GPU0)
    assert devices["encoder.layers.0"] == GPU2
    assert devices["encoder.layers.1"] == GPU1
    assert devices["output"] == devices["lower.layers.0"] == GPU0


def test_unknown_parts_and_torn_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no such part; it has .*did you mean encoder\.layers\."):
        device_of_parts(translator(), {"encoder.layers.9": GPU1}, GPU0)
    with pytest.raises(
        ConfigError, match="output=cuda:1: it shares a weight with source_embedding"
    ):
        device_of_parts(translator(tie="all"), {"output": GPU1}, GPU0)
    together = {"output": GPU1, "source_embedding": GPU1, "target_embedding": GPU1}
    assert device_of_parts(translator(tie="output"), together, GPU0)["output"] == GPU1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"placement": {"encoder": "cuda:7"}},
            r"encoder=cuda:7: torch has no such device here; ch",
        ),
        ({"placement": {"encoder": "gpu"}}, r"encoder=gpu: torch has no such device here"),
        ({"placement": "best"}, r"placement=best: is no placement; write auto"),
        ({"devices": ["cuda:1"]}, r"the first holds the batches, and the run is on cpu"),
        ({"num_chunks": 0}, r"strategy\.num_chunks=0"),
        ({"num_micro_batches": -1}, r"strategy\.num_micro_batches=-1"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "available_devices", lambda: [GPU0, GPU1, CPU])
    with pytest.raises(ConfigError, match=message):
        Placement(**options).for_run(Setting(device=CPU))


def test_several_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="strategy=placement is one process for all devices"):
        Placement().for_run(Setting(device=CPU, num_devices=2))


def test_names_of_devices_may_be_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "available_devices", lambda: [GPU0, GPU1, CPU])
    strategy = Placement(placement={"output": "cuda"}).for_run(Setting(device=torch.device("cuda")))
    assert isinstance(strategy, PlacedStrategy)
    assert strategy.named == {"output": GPU0}
    assert strategy.devices == [GPU0, GPU1]


class Chain(nn.Module):
    """Calls itself by a public method."""

    def forward(self, values: list[Tensor]) -> dict[str, Tensor]:
        return {"sum": self.total(values)}

    def total(self, values: list[Tensor]) -> Tensor:
        return torch.stack(values).sum(0)


def test_only_calls_from_outside_are_asked_about() -> None:
    asked: list[str] = []
    chain = Chain()

    def ask(_: nn.Module, call: Call) -> Any:
        asked.append(call.method)
        return call.run(call.values)

    guard(chain, ask)
    assert isinstance(chain, Chain)
    assert torch.equal(chain([torch.ones(2)] * 3)["sum"], torch.full((2,), 3.0))
    chain.total([torch.ones(2)])
    with pytest.raises(RuntimeError):
        chain.total([])
    chain.total([torch.ones(1)])
    assert asked == ["forward", "total", "total", "total"]
    release(chain)
    assert type(chain) is Chain


def test_lengths_stay_where_they_are() -> None:
    with PretendedDevices():
        padded, rows = moved((Padded(torch.ones(1, 2), torch.tensor([2])), [torch.ones(1)]), GPU1)
        assert mark_of(padded.values) == mark_of(rows[0]) == GPU1
        assert mark_of(padded.lengths) is None


def brute_force(seconds: list[float], num_bytes: list[int], limits: list[float]) -> float | None:
    """The fastest slowest run among all cuts."""
    found = []
    for inner in itertools.combinations_with_replacement(range(len(seconds) + 1), len(limits) - 1):
        cut = [0, *inner, len(seconds)]
        runs = list(itertools.pairwise(cut))
        if all(sum(num_bytes[a:b]) <= limit for (a, b), limit in zip(runs, limits, strict=True)):
            found.append(max(sum(seconds[a:b]) for a, b in runs))
    return min(found, default=None)


@pytest.mark.parametrize("seed", range(40))
def test_a_cut_is_the_best_of_all(seed: int) -> None:
    chance = random.Random(seed)
    count, num_devices = chance.randint(0, 8), chance.randint(1, 4)
    seconds = [float(chance.randint(0, 9)) for _ in range(count)]
    num_bytes = [chance.randint(0, 9) for _ in range(count)]
    limits = [float(chance.choice([5, 12, 30, 1000])) for _ in range(num_devices)]
    ends = balance.partition(seconds, num_bytes, limits)
    best = brute_force(seconds, num_bytes, limits)
    if best is None or ends is None:
        assert best is ends is None
        return
    runs = list(itertools.pairwise([0, *ends]))
    assert len(ends) == num_devices
    assert ends[-1] == count
    assert max(sum(seconds[a:b]) for a, b in runs) == best
    for (a, b), limit in zip(runs, limits, strict=True):
        assert sum(num_bytes[a:b]) <= limit


def test_a_proposal_is_measured_on_a_step_and_leaves_nothing_behind() -> None:
    model, (source, target) = translator(tie="output"), sides()
    holders = ("encoder", "lower", "upper")
    leaves = {
        path: part
        for path, part in parts(model).items()
        if path not in holders and not path.endswith(".layers")
    }
    chance = torch.get_rng_state()
    costs = balance.measure(leaves, lambda: loss_of(model, source, target))
    assert torch.equal(chance, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert type(leaves["output"]) is Categorical
    order = [path for cost in costs for path in cost.paths]
    assert sorted(order) == sorted(leaves)
    assert order.index("source_embedding") < order.index("encoder.layers.0")
    assert (
        order.index("encoder.layers.0") < order.index("encoder.layers.1") < order.index("readout")
    )
    assert ("target_embedding", "output") in [cost.paths for cost in costs]
    for cost in costs:
        weights = {p for path in cost.paths for p in leaves[path].parameters()}
        assert cost.num_bytes >= 16 * sum(p.numel() for p in weights)
        assert cost.seconds > 0
    plan = balance.propose(costs, [CPU, CPU])
    assert set(plan) == set(leaves)
    lines = balance.table(costs, plan).splitlines()
    assert lines[0].split() == ["part", "ms", "MiB", "device"]
    assert len(lines) == len(costs) + 1


def test_too_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "_free_bytes", lambda device: 10.0)
    with pytest.raises(ConfigError, match=r"the parts need 3 MiB, and no cut of them fits"):
        balance.propose([balance.Cost(("encoder",), 1.0, 3 << 20)], [GPU0, GPU1])


def test_gradients_of_any_devices_are_scaled_and_clipped() -> None:
    """Marked as on two devices; the numbers are those of one."""
    weights = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]
    with PretendedDevices():
        for weight, device in zip(weights, (GPU0, GPU1), strict=True):
            weight.grad = torch.full_like(weight, 2.0).to(device)
        seen = [weight.grad.device for weight in weights if weight.grad is not None]
        assert seen == [GPU0, GPU1]
        norm = scale_and_clip(weights, 0.5, 1.0, lambda grads: torch.tensor(20.0).sqrt())
    assert norm.item() == pytest.approx(5**0.5)
    for weight in weights:
        torch.testing.assert_close(weight.grad, torch.full_like(weight, 5**-0.5))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="torch sees fewer than two GPUs")
def test_two_gpus_give_the_numbers_of_the_cpu() -> None:
    model, (source, target) = translator(), sides()
    expected = loss_of(model, source, target)
    expected.backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    named = {path: GPU1 if device == GPU2 else device for path, device in SPREAD.items()}
    place(model, device_of_parts(model, named, GPU0))
    for stack in (model.encoder, model.lower, model.upper):
        stack.schedule = Wavefront(2, 2)
    found = loss_of(model, source.to(GPU0), target.to(GPU0))
    found.backward()
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
    for name, parameter in model.named_parameters():
        grad = grads[name]
        assert parameter.grad is not None
        assert grad is not None
        torch.testing.assert_close(parameter.grad.cpu(), grad, rtol=1e-3, atol=1e-4, msg=name)
    scale_and_clip(model.parameters(), 0.5, 1.0)
