"""`precision=fp32|bf16|auto`: what the products are computed in, tried before the training begins.

bf16 means autocast: products with parameters in bfloat16, everything else (state, softmax, loss,
optimiser) in float32; no loss scaling is needed. `auto` multiplies two matrices both ways and
takes bf16 where it is clearly faster; that is a measurement, so whoever uses it writes the answer
down (`config.yaml` of a run holds fp32 or bf16, never auto). Refuses a machine that lacks the
kernels, in one sentence instead of a crash in step 1.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from seqloom.errors import ConfigError

logger = logging.getLogger(__name__)

CHOICES = ("fp32", "bf16", "auto")
# bf16 also costs casts around every product, so it has to be faster by more than noise.
WORTHWHILE_SPEEDUP = 1.5
RECURRENT_KERNELS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"LSTM": nn.LSTM, "GRU": nn.GRU}


@dataclass(frozen=True)
class Precision:
    """A precision that works here.

    Attributes:
        name: what the user would write.
        reason: why it was chosen, one line.
    """

    name: Literal["fp32", "bf16"]
    reason: str

    @property
    def trainer_name(self) -> Literal["32-true", "bf16-mixed"]:
        """The name that Lightning's Trainer has for it."""
        return "bf16-mixed" if self.name == "bf16" else "32-true"

    def autocast(self, device: torch.device) -> torch.autocast:
        """The same precision outside a Trainer."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.name == "bf16")


def choose(requested: str, *, device: torch.device, cell: str) -> Precision:
    """Checks `requested` (one of `CHOICES`) on `device`, and decides where it is `auto`.

    Args:
        cell: class name of the recurrent cell (`LSTM`); its vendor kernel is tried when there is
            one.

    Raises ConfigError where bf16 was asked for and does not work; `auto` then falls back to fp32.
    """
    if requested not in CHOICES:
        raise ConfigError(f"precision={requested}", "is not known", f"one of {', '.join(CHOICES)}")
    if requested == "fp32":
        return Precision("fp32", "as asked for")
    problem = probe(device=device, cell=cell)
    if requested == "bf16":
        if problem is not None:
            raise ConfigError("precision=bf16", problem, "use precision=fp32")
        return Precision("bf16", "as asked for")
    if problem is not None:
        return Precision("fp32", problem)
    speedup = bf16_speedup(device)
    name: Literal["fp32", "bf16"] = "bf16" if speedup >= WORTHWHILE_SPEEDUP else "fp32"
    return Precision(name, f"{device.type} multiplies {speedup:.1f} times as fast in bf16")


def probe(*, device: torch.device, cell: str) -> str | None:
    """Runs one step under bf16 autocast; None, or a sentence that says what failed."""
    try:
        project = nn.Linear(8, 16).to(device)
        kernel = RECURRENT_KERNELS.get(cell)
        with torch.autocast(device.type, torch.bfloat16):
            hidden = project(torch.ones(2, 3, 8, device=device))
            if kernel is not None:
                hidden = kernel(16, 16, batch_first=True).to(device)(hidden)[0]
            loss = hidden.float().square().mean()
        loss.backward()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        return f"device {device.type} cannot run a {cell} step in bfloat16 ({first_line})"
    if not bool(torch.isfinite(loss)):
        return f"device {device.type} answers with {loss.item()} for a {cell} step in bfloat16"
    return None


def bf16_speedup(device: torch.device) -> float:
    """How many times faster bf16 multiplies than fp32, in sizes of a recurrent step (0.1 s)."""
    return matmul_seconds(torch.float32, device) / matmul_seconds(torch.bfloat16, device)


def matmul_seconds(
    dtype: torch.dtype,
    device: torch.device,
    shape: tuple[int, int, int] = (256, 512, 2048),
) -> float:
    """Best of several products [m, k] @ [k, n] for `shape` = (m, k, n), in seconds."""
    m, k, n = shape
    left = torch.ones(m, k, dtype=dtype, device=device)
    right = torch.ones(k, n, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(8):
        _synchronize(device)
        start = time.perf_counter()
        torch.mm(left, right)
        _synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
