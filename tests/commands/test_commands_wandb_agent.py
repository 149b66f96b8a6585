"""W&B's own agent starts `train.py` by scripts/wandb_sweep.yaml: as far as no network allows."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from seqloom.config.overrides import compose_config
from seqloom.runs import RunFolder
from seqloom.tracking.wandb_parts import Part

ROOT = Path(__file__).resolve().parents[2]
SWEEP = yaml.safe_load((ROOT / "scripts" / "wandb_sweep.yaml").read_text())


def chosen(parameters: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Arguments as W&B's server sends them: a value of each parameter."""
    return {
        name: {"value": space["values"][-1] if "values" in space else space["min"]}  # type: ignore[index]
        for name, space in parameters.items()
    }


def test_parameters_of_the_wandb_sweep_are_settings() -> None:
    settings = [f"{name}={arg['value']}" for name, arg in chosen(SWEEP["parameters"]).items()]
    config = compose_config(["task=translation", *settings])
    assert SWEEP["metric"]["name"] == config.task.monitor
    assert SWEEP["metric"]["goal"] == f"{config.task.mode.value}imize"


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_an_agent_of_wandb_trains_a_run_of_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_settings: tuple[str, ...]
) -> None:
    from wandb.wandb_agent import Agent

    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{python.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_RUN_ID", "set by the agent")  # and restored after it
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "set by the agent")
    monkeypatch.chdir(ROOT)
    folder = RunFolder(tmp_path / "run")
    agent = Agent(api=None, queue=None, sweep_id="sweep123")
    tiny = [setting for setting in tiny_settings if not setting.startswith("logger=")]
    agent._sweep_command = [*SWEEP["command"], *tiny, f"run_dir={folder.path}"]
    agent._command_run(
        {"run_id": "trial001", "program": SWEEP["program"], "args": chosen(SWEEP["parameters"])}
    )
    process = agent._run_processes["trial001"]
    assert process.wait(timeout=120) == 0

    config = folder.read_config()
    assert config["optimizer"]["lr"] == SWEEP["parameters"]["optimizer.lr"]["min"]
    assert config["cell"]["_target_"].endswith("GRU")
    assert folder.wandb_id.read_text() == "trial001\n"
    (part,) = (folder.path / "wandb").glob("offline-run-*")
    read = Part.read(part)
    assert read.run.run_id == "trial001"
    assert read.run.sweep_id == "sweep123"
    assert read.exit_code == 0
    # What the sweep compares is a plain number.
    assert isinstance(read.summary[SWEEP["metric"]["name"]], float)
    shutil.rmtree(tmp_path / "run")
