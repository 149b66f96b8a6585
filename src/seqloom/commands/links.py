"""How fast numbers travel here: between processes, between devices, from the host to a device.

The idea: what a strategy waits for is measured as it would be used: an all-reduce of a gradient's
size, an all-reduce of a count's size, a copy. The price: a few repetitions, so good to a factor.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.distributed as dist

LARGE_BYTES = 16 << 20
SMALL_BYTES = 8


def processes(device: torch.device) -> str:
    """A line on all-reduces between the processes of the default group; every one must call it."""
    large = torch.zeros(LARGE_BYTES // 4, device=device)
    small = torch.zeros(SMALL_BYTES // 4, device=device)
    large_s = _best_s(lambda: dist.all_reduce(large), device, 3)
    small_s = _best_s(lambda: dist.all_reduce(small), device, 20)
    return (
        f"{dist.get_world_size()} processes on {device.type}: all-reduce of 16 MiB"
        f" {large_s * 1e3:.1f} ms ({LARGE_BYTES / large_s / 1e9:.2f} GB/s),"
        f" of {SMALL_BYTES} bytes {small_s * 1e6:.0f} us"
    )


def copies(devices: list[torch.device]) -> list[str]:
    """Lines on copies of 16 MiB from the host to each device and between any two of them."""
    places = [torch.device("cpu"), *(device for device in devices if device.type != "cpu")]
    lines = []
    for i, source in enumerate(places):
        for target in places[i + 1 :]:
            block = torch.zeros(LARGE_BYTES // 4, device=source)
            if source.type == "cpu" and target.type == "cuda":
                block = block.pin_memory()
            seconds = _best_s(_copying(block, target), target, 3)
            name = "host" if source.type == "cpu" else str(source)
            lines.append(f"{name} to {target}: {LARGE_BYTES / seconds / 1e9:.1f} GB/s")
    return lines


def _copying(block: torch.Tensor, target: torch.device) -> Callable[[], object]:
    return lambda: block.to(target)


def _best_s(work: Callable[[], object], device: torch.device, num: int) -> float:
    """Shortest of `num` times after one that does not count."""
    best = float("inf")
    for turn in range(num + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn > 0:
            best = min(best, time.perf_counter() - start)
    return best
