"""Which strategies work on this machine: each is tried, by two processes that start for it.

The idea: what a strategy stands on (a reduction, a sharded module, a stage, shared memory) is run
once on a tiny layer, over NCCL where there are two GPUs and over gloo elsewhere. A trial that fails
says why, and one that hangs or kills its process is named when the time is over; those behind it
stay untried. The price: two processes that import torch, some seconds. What a run's own options
forbid is not tried: the run says it.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from seqloom.commands import links

NUM_PROCESSES = 2
TIMEOUT_S = 14.0


def lines(timeout_s: float = TIMEOUT_S) -> tuple[list[str], list[str]]:
    """Lines on the links between two processes, and on each strategy that needs them.

    Args:
        timeout_s: when the processes are ended.
    """
    if not dist.is_available():
        return [], [f"{name}: torch has no distributed here" for name in TRIALS]
    with tempfile.TemporaryDirectory() as folder:
        done, ended = _run(Path(folder), timeout_s)
    rest = [name for name in ("links", *TRIALS) if name not in done]
    if rest:
        done |= {rest[0]: f"failed: {ended}"} | dict.fromkeys(rest[1:], "not tried")
    return [done.pop("links")], [f"{name}: {said}" for name, said in done.items()]


def _run(folder: Path, timeout_s: float) -> tuple[dict[str, str], str]:
    """What each trial said, and how the processes ended."""
    # The processes are on this machine, whatever launched this one.
    outside = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK")
    env = {name: value for name, value in os.environ.items() if name not in outside}
    program = [sys.executable, "-c", "from seqloom.commands.trials import run; run()"]
    running = [
        subprocess.Popen(
            [*program, str(rank), str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=env | {"OMP_NUM_THREADS": "1"},
        )
        for rank in range(NUM_PROCESSES)
    ]
    try:
        codes = [process.wait(timeout_s) for process in running]
        ended = f"its process ended with code {next((code for code in codes if code), 0)}"
    except subprocess.TimeoutExpired:
        ended = f"no answer after {timeout_s:g} s"
    finally:
        for process in running:
            process.kill()
            process.wait()
    report = folder / "report"
    said = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    return {name: rest for name, _, rest in (line.partition("\t") for line in said)}, ended


def run() -> None:
    """The program of each process; its arguments are its rank and a folder."""
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    cuda = torch.cuda.device_count() >= NUM_PROCESSES and dist.is_nccl_available()
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=NUM_PROCESSES,
        timeout=timedelta(seconds=TIMEOUT_S),
    )
    with (folder / f"report{rank or ''}").open("w", encoding="utf-8") as report:
        print("links", links.processes(device), sep="\t", file=report, flush=True)
        for name, trial in TRIALS.items():
            try:
                trial(device, folder)
                said = f"works on {device.type} over {dist.get_backend()}"
            except Exception as error:
                said = f"failed: {next(iter(str(error).strip().splitlines()), repr(error))}"
            print(name, said, sep="\t", file=report, flush=True)
            dist.barrier()
    # Nothing is left to do, and nobody waits for a peer that hangs in its farewell.
    os._exit(0)


def _data_parallel(device: torch.device, folder: Path) -> None:
    model = nn.parallel.DistributedDataParallel(nn.Linear(4, 4).to(device))
    model(torch.ones(2, 4, device=device)).sum().backward()


def _asynchronous(device: torch.device, folder: Path) -> None:
    path, rank = folder / "shared", dist.get_rank()
    if rank == 0:
        path.write_bytes(bytes(NUM_PROCESSES))
    dist.barrier()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), NUM_PROCESSES) as shared:
        shared[rank] = rank + 1
        dist.barrier()
        if shared[:] != bytes((1, 2)):
            raise RuntimeError("processes do not share the memory of a file")


def _sharded(device: torch.device, folder: Path) -> None:
    from torch.distributed.fsdp import fully_shard

    model = nn.Linear(4, 4).to(device)
    fully_shard(model, mesh=dist.init_device_mesh(device.type, (NUM_PROCESSES,)))
    model(torch.ones(2, 4, device=device)).sum().backward()


def _tensor_parallel(device: torch.device, folder: Path) -> None:
    from torch.distributed.tensor import parallel

    mesh = dist.init_device_mesh(device.type, (NUM_PROCESSES,))
    model = parallel.parallelize_module(
        nn.Linear(4, 4).to(device), mesh, parallel.ColwiseParallel()
    )
    model(torch.ones(2, 4, device=device)).sum().backward()


def _pipeline(device: torch.device, folder: Path) -> None:
    from torch.distributed import pipelining

    rank = dist.get_rank()
    stage = pipelining.PipelineStage(nn.Linear(4, 4).to(device), rank, NUM_PROCESSES, device)
    schedule = pipelining.ScheduleGPipe(stage, n_microbatches=2, loss_fn=_squares)
    batch = torch.ones(4, 4, device=device)
    if rank == 0:
        schedule.step(batch)
    else:
        schedule.step(target=batch, losses=[])


def _squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum()


TRIALS: dict[str, Callable[[torch.device, Path], None]] = {
    "ddp": _data_parallel,
    "async_sgd": _asynchronous,
    "fsdp": _sharded,
    "model_parallel": _tensor_parallel,
    "pipeline": _pipeline,
}
"""By the names of `strategy=`; what each stands on."""
