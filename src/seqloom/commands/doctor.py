"""`doctor`: what this machine can do, in some seconds: memory, devices, precisions, links,
strategies, loggers.

The one idea: nothing is assumed from a name; speeds are measured, precisions and strategies are
tried with one step. Price: the measurements are short (a tenth of a second each), good to a factor,
not to a percent, and two processes start for the strategies. Reads no credentials.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path

import torch

import seqloom
from seqloom.commands import links, trials
from seqloom.runs.surroundings import num_cores
from seqloom.strategies import precision

GIB = 1 << 30
PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "tokenizers", "sacrebleu", "wandb")
MATRIX = (512, 512, 2048)


def doctor() -> None:
    """Prints the report."""
    for topic, lines in report().items():
        for row, line in enumerate(lines):
            print(f"{topic if row == 0 else '':<12}{line}")


def report() -> dict[str, list[str]]:
    """The lines of every topic."""
    found = devices()
    between, tried = trials.lines()
    return {
        "seqloom": [
            f"{seqloom.__version__} on Python {platform.python_version()}, {platform.platform()}"
        ],
        "packages": [", ".join(f"{name} {_version(name)}" for name in PACKAGES)],
        "processor": _processor(),
        "memory": [_memory()],
        "devices": [line for device in found for line in _device(device)],
        "precision": [line for device in found for line in _precisions(device)],
        "backends": [_backends()],
        "links": [*between, *links.copies(found)],
        "strategies": ["auto: works", *tried, _placement(found)],
        "loggers": _loggers(),
        "folders": [_folder("outputs", Path.cwd()), _folder("cache", cache_folder())],
    }


def devices() -> list[torch.device]:
    """Every device that torch sees here, the CPU first."""
    found = [torch.device("cpu")]
    found += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return found


def cache_folder() -> Path:
    """Where prepared data is kept, unless `data.cache_dir` says otherwise."""
    return Path(os.environ.get("SEQLOOM_CACHE") or Path.home() / ".cache" / "seqloom")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _processor() -> list[str]:
    threads = f"{torch.get_num_threads()} threads for a product"
    instructions = f"instructions up to {torch.backends.cpu.get_cpu_capability()}"
    return [f"{num_cores()} of {os.cpu_count()} cores usable, {threads}, {instructions}"]


def _memory() -> str:
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = (os.sysconf(name) * page for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    return f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB untouched"


def _device(device: torch.device) -> list[str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    m, k, n = MATRIX
    speeds = []
    for dtype in (torch.float32, torch.bfloat16):
        try:
            seconds = precision.matmul_seconds(dtype, device, MATRIX)
        except RuntimeError:
            speeds.append(f"{dtype} does not work")
        else:
            speeds.append(f"{dtype} {2 * m * k * n / seconds / 1e9:,.0f} GFLOP/s")
    return [f"{device} ({name}): " + ", ".join(speeds).replace("torch.", "")]


def _precisions(device: torch.device) -> list[str]:
    lines = []
    for cell in precision.RECURRENT_KERNELS:
        problem = precision.probe(device=device, cell=cell)
        lines.append(f"{device}: bf16 with {cell} {'works' if problem is None else problem}")
    chosen = precision.choose("auto", device=device, cell="LSTM")
    return [*lines, f"{device}: precision=auto is {chosen.name} ({chosen.reason})"]


def _backends() -> str:
    if not torch.distributed.is_available():
        return "none: torch has no distributed here"
    found = {
        "gloo": torch.distributed.is_gloo_available(),
        "nccl": torch.distributed.is_nccl_available(),
    }
    return ", ".join(
        f"{name}{'' if there else ': not in this torch'}" for name, there in found.items()
    )


def _placement(found: list[torch.device]) -> str:
    if len(found) > 2:
        return f"placement: one process, layers on {', '.join(map(str, found[1:]))}"
    return "placement: one process; there are no two devices to place layers on, so no gain"


def _loggers() -> list[str]:
    lines = ["csv: always"]
    for name in ("wandb", "tensorboard", "mlflow"):
        if importlib.util.find_spec(name) is None:
            lines.append(f"{name}: not installed (pip install 'seqloom[{name}]')")
        elif name == "wandb":
            lines.append(f"wandb: {_wandb_mode()}")
        else:
            lines.append(f"{name}: installed")
    return lines


def _wandb_mode() -> str:
    mode = os.environ.get("WANDB_MODE")
    if mode:
        return f"WANDB_MODE={mode}"
    if os.environ.get("WANDB_API_KEY"):
        return "online, by WANDB_API_KEY"
    return "offline, unless `wandb login` was done here"


def _folder(name: str, folder: Path) -> str:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    writable = "" if os.access(existing, os.W_OK) else ", not writable"
    free = shutil.disk_usage(existing).free / GIB
    return f"{name}: {folder}, {free:.1f} GiB free{writable}"
