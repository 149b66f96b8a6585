"""Memory policies: how time is cut, what swapping brings back, when, and that nothing is left."""

import gc
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

import seqloom.unrolling.swap
from seqloom.cells import GRU, LSTM, State
from seqloom.errors import ConfigError, DataError
from seqloom.sequences import Padded
from seqloom.unrolling import Auto, Dynamic, Fused, Scan, Static, Unrolling
from seqloom.unrolling.memory import Memory
from seqloom.unrolling.stores import FileStore, Stored, make_store
from seqloom.unrolling.swap import Swap

ROOT = Path(__file__).resolve().parents[2]
HIDDEN_SIZE = 64
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


@pytest.mark.parametrize("kind", [Dynamic, Fused, Scan, Auto, lambda **k: Static(num_steps=3, **k)])
def test_wrong_policies_are_refused_when_built(kind: Callable[..., Unrolling]) -> None:
    with pytest.raises(ConfigError, match="keep, checkpoint, swap"):
        kind(memory="chekpoint")
    with pytest.raises(ConfigError, match="at least 1"):
        kind(memory="swap", num_segments=0)
    with pytest.raises(ConfigError, match="cuts nothing"):
        kind(num_segments=3)


@given(num_steps=st.integers(1, 5000), num_segments=st.integers(1, 100))
def test_segments_cover_time_and_are_no_more_than_asked(num_steps: int, num_segments: int) -> None:
    size = Memory("checkpoint", num_segments).segment_size(num_steps)
    count = len(torch.empty(num_steps).split(size))
    assert 1 <= count <= num_segments
    assert Memory("keep").segment_size(num_steps) == num_steps
    root = Memory("swap").segment_size(num_steps)
    assert (root - 1) ** 2 < num_steps <= (root + 1) ** 2


def run(unrolling: Unrolling, num_steps: int = 16, batch_size: int = 4) -> Tensor:
    """A loss, not yet differentiated."""
    torch.manual_seed(0)
    cell = LSTM(input_size=8, hidden_size=HIDDEN_SIZE)
    inputs = Padded(torch.randn(batch_size, num_steps, 8), torch.full((batch_size,), num_steps))
    outputs, _ = unrolling(cell, inputs, cell.initial_state(inputs.values, batch_size))
    loss: Tensor = outputs.values.square().sum()
    return loss


class FakeStore:
    """Keeps copies, and says what is done with them, in order."""

    def __init__(self, device: torch.device) -> None:
        self.events: list[str] = []
        self.num_regions: list[int] = []
        self.most_present = 0
        self.given: list[StorageWeakRef] = []

    def put(self, regions: Sequence[Tensor]) -> Stored:
        number = len(self.num_regions)
        self.num_regions.append(len(regions))
        self.events.append(f"put {number}")
        return FakeStored(self, number, [region.clone() for region in regions])


class FakeStored:
    def __init__(self, store: FakeStore, number: int, copies: list[Tensor]) -> None:
        self.store, self.number, self.copies = store, number, copies

    def recall(self) -> None:
        self.store.events.append(f"recall {self.number}")

    def wait(self) -> list[Tensor]:
        self.store.events.append(f"wait {self.number}")
        regions = [copy.clone() for copy in self.copies]
        self.store.given.append(StorageWeakRef(regions[0].untyped_storage()))
        num_present = sum(not storage.expired() for storage in self.store.given)
        self.store.most_present = max(self.store.most_present, num_present)
        return regions


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    store = FakeStore(torch.device("cpu"))
    monkeypatch.setattr(seqloom.unrolling.swap, "make_store", lambda device: store)
    return store


@pytest.mark.parametrize("kind", [Dynamic, Fused])
@pytest.mark.parametrize("retain_graph", [False, True])
def test_a_segment_is_recalled_while_the_one_after_it_is_used(
    fake: FakeStore, kind: Callable[..., Unrolling], retain_graph: bool
) -> None:
    loss = run(kind(memory="swap", num_segments=4))
    assert fake.events == ["put 0", "put 1", "put 2", "put 3"]
    loss.backward(retain_graph=retain_graph)
    waits = [f"{verb} {n}" for n in (3, 2, 1, 0) for verb in ("recall", "wait")]
    assert fake.events[4:] == waits[1:]
    assert fake.most_present <= 2


def test_a_graph_can_be_walked_twice() -> None:
    torch.manual_seed(0)
    cell = GRU(input_size=8, hidden_size=HIDDEN_SIZE).double()
    values = torch.randn(2, 9, 8, dtype=torch.float64, requires_grad=True)
    inputs = Padded(values, torch.tensor([9, 4]))
    results = []
    for memory in ("keep", "swap"):
        outputs, _ = Fused(memory=memory)(cell, inputs, cell.initial_state(values, 2))
        loss = outputs.values.square().sum()
        grads = [torch.autograd.grad(loss, values, retain_graph=True)[0] for _ in range(2)]
        results.append(grads)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_parameters_and_small_tensors_stay(fake: FakeStore) -> None:
    torch.manual_seed(0)
    cell = LSTM(input_size=8, hidden_size=HIDDEN_SIZE)
    swap = Swap(cell, torch.device("cpu"))
    small, large = (torch.ones(size, requires_grad=True) for size in (10, 1000))
    with swap.segment():
        # Each product saves its factors; the same one twice is one region.
        kept = [small * small, large * large, large * (large + 1), cell.weight_hh * cell.weight_hh]
    assert fake.num_regions == [2]
    sum(tensor.sum() for tensor in kept).backward()
    torch.testing.assert_close(large.grad, torch.full((1000,), 5.0))
    torch.testing.assert_close(cell.weight_hh.grad, 2 * cell.weight_hh.detach())


class Saved(torch.autograd.Function):
    """Saves tensors and shows, backward, what came back."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, shown: list[Tensor], *tensors: Tensor) -> Tensor:
        ctx.shown = shown
        ctx.save_for_backward(*tensors)
        return start.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.shown.extend(ctx.saved_tensors)
        return grad, None, *[None] * len(ctx.saved_tensors)


def odd_tensors() -> list[Tensor]:
    base = torch.arange(24_000.0).reshape(40, 600)
    complex_base = torch.complex(base, -base)
    return [
        base,
        base[:, 300:500],
        base[3:, 100:250],
        base.T,
        base.chunk(4, dim=1)[2],
        base[:1].expand(7, 600),
        base.bfloat16()[:, 1:],
        base.double()[5:],
        base.long(),
        base > 7,
        complex_base,
        complex_base.conj(),
        complex_base.imag,
        base.to(torch.uint8)[:, 3:],
    ]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_comes_back_is_what_was_saved_with_its_strides(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    tensors = [tensor.to(device) for tensor in odd_tensors()]
    shown: list[Tensor] = []
    start = torch.ones(1, device=device, requires_grad=True)
    swap = Swap(LSTM(input_size=2, hidden_size=2), torch.device(device))
    for part in (tensors[:7], tensors[7:]):
        with swap.segment():
            start = Saved.apply(start, shown, *part)
    start.sum().backward()
    for found, expected in zip(shown, [*tensors[7:], *tensors[:7]], strict=True):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()


def num_open_files() -> int:
    """Temporary files without a name that this process holds."""
    gc.collect()
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(link))
        except FileNotFoundError:  # the folder's own
            continue
    return len([link for link in links if link.endswith("(deleted)")])


class Failing(LSTM):
    calls = 0

    def run(self, inputs: Padded, state: State) -> tuple[Tensor, State]:
        self.calls += 1
        if self.calls == 3:
            raise FloatingPointError
        return super().run(inputs, state)


def fail_in_the_third_segment() -> None:
    cell = Failing(input_size=8, hidden_size=HIDDEN_SIZE)
    inputs = Padded(torch.randn(2, 16, 8), torch.tensor([16, 3]))
    with pytest.raises(FloatingPointError):
        Fused(memory="swap")(cell, inputs, cell.initial_state(inputs.values, 2))
    assert cell.calls == 3


@needs_proc
def test_files_go_when_the_graph_goes() -> None:
    before = num_open_files()
    loss = run(Fused(memory="swap"))
    assert num_open_files() == before + 1
    loss.backward()
    del loss
    assert num_open_files() == before
    loss = run(Fused(memory="swap"))
    del loss  # without a backward pass
    assert num_open_files() == before
    fail_in_the_third_segment()
    assert num_open_files() == before


@pytest.mark.parametrize("memory", ["checkpoint", "swap"])
def test_without_gradients_nothing_is_cut(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "segment_size", None)
    with torch.no_grad():
        run(Fused(memory=memory))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(buffering: int) -> io.BufferedWriter:
        return Path("/dev/full").open("wb", buffering)

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(DataError, match="TMPDIR"):
        run(Fused(memory="swap", num_segments=4))
    with pytest.raises(DataError, match="TMPDIR"):
        run(Fused(memory="swap", num_segments=1)).backward()


def test_a_device_without_a_place_to_swap_to_is_refused() -> None:
    with pytest.raises(ConfigError, match="checkpoint"):
        make_store(torch.device("meta"))


def test_the_file_gives_back_more_than_its_buffer_holds() -> None:
    store = FileStore()
    parts = [[torch.randint(0, 256, (size,)).to(torch.uint8)] for size in (3_000_001, 1, 65)]
    stored = [store.put(part) for part in parts]
    for one, part in zip(reversed(stored), reversed(parts), strict=True):
        one.recall()
        one.recall()
        assert torch.equal(one.wait()[0], part[0])
        assert torch.equal(one.wait()[0], part[0])


@pytest.mark.slow
@needs_proc
def test_policies_lower_the_peak_and_the_comparison_says_so(tmp_path: Path) -> None:
    """The script in small: each policy in a process of its own."""
    words = ["cells=lstm", "unrollings=fused", "lengths=3000", "batch=16", "limit_s=20"]
    script = ROOT / "scripts" / "compare_unrolling.py"
    done = subprocess.run(
        [sys.executable, script, *words, f"output={tmp_path / 'result.json'}"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "result.json").read_text())
    assert (tmp_path / "result.png").exists()
    peaks = {result["memory"]: result["peak_mb"] for result in results}
    assert peaks["checkpoint"] < peaks["keep"] / 2
    assert peaks["swap"] < peaks["keep"] / 2
