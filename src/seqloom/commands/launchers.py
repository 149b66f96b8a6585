"""Processes that somebody else started: torchrun or Slurm's srun, on one machine or several.

The one idea: all of them have the same command line, so each composes the config by itself, and no
word needs to pass before the process group stands; they only must not decide anything by chance or
by measuring. So the folder and the precision are named on the command line, and the first process
alone writes. Free of torch. Refuses several machines without a launcher.
"""

from __future__ import annotations

import os
import signal

from omegaconf import DictConfig

from seqloom.errors import ConfigError

# Under these names of a job Lightning takes Slurm for a shell.
_SHELLS = ("bash", "interactive")


def global_rank() -> int | None:
    """The rank over all machines that torchrun or srun gave this process; None without them."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["RANK"])
    is_step = "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in _SHELLS
    if is_step and int(os.environ["SLURM_NTASKS"]) > 1:
        return int(os.environ["SLURM_PROCID"])
    return None


def _world_size() -> tuple[str, int]:
    """How many processes torchrun or srun started, and the variable that says so."""
    name = "WORLD_SIZE" if "TORCHELASTIC_RUN_ID" in os.environ else "SLURM_NTASKS"
    return name, int(os.environ[name])


def check_processes(cfg: DictConfig) -> None:
    """Raises ConfigError where the processes of the run could not find or not agree with each
    other."""
    if global_rank() is None:
        _check_alone(cfg)
        return
    if cfg.run_dir is None and cfg.resume is None:
        raise ConfigError(
            "run_dir=null",
            "processes of another launcher must agree on a folder",
            "write run_dir=DIR, a folder that all machines see",
        )
    if cfg.precision.name == "auto":
        raise ConfigError(
            "precision=auto",
            "processes of another launcher might decide differently",
            "write precision=bf16 or precision=fp32",
        )
    _check_number(str(cfg.trainer.devices), cfg.trainer.num_nodes)


def _check_number(devices: str, num_nodes: int) -> None:
    if not devices.isdigit():
        raise ConfigError(
            f"trainer.devices={devices}",
            "processes of another launcher might count differently",
            "write the number of processes on each machine",
        )
    name, world_size = _world_size()
    if int(devices) * num_nodes != world_size:
        raise ConfigError(
            f"trainer.num_nodes={num_nodes}",
            f"with trainer.devices={devices} it does not make {name}={world_size}",
            "write the machines, and the processes on each",
        )


def _check_alone(cfg: DictConfig) -> None:
    if cfg.trainer.num_nodes != 1:
        raise ConfigError(
            f"trainer.num_nodes={cfg.trainer.num_nodes}",
            "nothing starts the processes of the other machines",
            "start the command by torchrun or srun on each, see docs/distributed.md",
        )
    for name in ("RANK", "LOCAL_RANK"):
        if os.environ.get(name, "0") != "0":
            raise ConfigError(
                f"{name}={os.environ[name]}",
                "neither torchrun nor srun has set it",
                "start the command once; trainer.devices=N starts the others",
            )


def signal_number(name: str) -> signal.Signals:
    """The signal that `callbacks.preemption_signal` names; ConfigError where there is none."""
    if name not in signal.Signals.__members__ or name in ("SIGKILL", "SIGSTOP"):
        raise ConfigError(
            f"callbacks.preemption_signal={name}",
            "there is no such signal that can be caught",
            "write SIGUSR1, SIGUSR2 or null",
        )
    return signal.Signals[name]
