"""The energy that a run took, as an estimate: seconds x power of what it may have used.

Nothing measured it, so the assumption is named on every page: all cores that the run could use
(OMP_NUM_THREADS where it was set) and all GPUs of its machine worked at `WATTS_PER_CORE` and
`WATTS_PER_GPU` for the whole run. That is the size of what such parts are designed to give off (a
server's core 4 to 8 W, a desktop's 8 to 20 W; a data centre's GPU 250 to 700 W); memory, cooling
and idle neighbours are left out. So figures of one machine compare, and none is a meter reading.
Without an environment.json, which says what the machine has, there is no estimate, unless the user
names the power of the whole run (`watts=65`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqloom.runs.provenance import read_environment

WATTS_PER_CORE = 10.0
WATTS_PER_GPU = 300.0
SECONDS_PER_HOUR = 3600.0


def energy_wh(
    folder: Path, config: dict[str, Any], seconds: float | None, watts: float | None
) -> float | None:
    """Watt hours of the run in `folder`; None where they cannot be estimated.

    Args:
        watts: power of a whole run; None: by what its machine has; 0: no estimate.
    """
    if seconds is None or watts == 0:
        return None
    power = watts if watts is not None else _power(folder, config)
    return None if power is None else power * seconds / SECONDS_PER_HOUR


def how(watts: float | None) -> str:
    """The assumption in a sentence."""
    if watts == 0:
        return "Energy was not estimated."
    if watts is not None:
        return f"Energy is an estimate: seconds x {watts:g} W, as given by watts={watts:g}."
    return (
        "Energy is an estimate and no measurement: seconds x cores that the run could use x "
        f"{WATTS_PER_CORE:g} W, and x {WATTS_PER_GPU:g} W for each GPU it could use; write "
        "watts=NUMBER for the power of your machine, watts=0 for none."
    )


def _power(folder: Path, config: dict[str, Any]) -> float | None:
    environment = read_environment(folder)
    hardware = environment["sessions"][-1].get("hardware") if environment else None
    if not environment or not isinstance(hardware, dict):
        return None
    cores = hardware.get("cores")
    if not isinstance(cores, int):
        return None
    trainer = config.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    devices = trainer.get("devices")
    devices = devices if isinstance(devices, int) and devices > 0 else 1
    gpus = hardware.get("gpus")
    num_gpus = len(gpus) if isinstance(gpus, list) and trainer.get("accelerator") != "cpu" else 0
    variables = environment["sessions"][-1].get("variables")
    threads = variables.get("OMP_NUM_THREADS") if isinstance(variables, dict) else None
    if isinstance(threads, str) and threads.isdigit():
        # Each process of a run on the CPU has its own threads.
        cores = min(cores, int(threads) * (1 if num_gpus else devices))
    return WATTS_PER_CORE * cores + WATTS_PER_GPU * min(num_gpus, devices)
