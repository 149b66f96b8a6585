"""A placed run is the run of one device: updates, scores, and checkpoints that either goes on
from."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from seqloom.commands.train import train
from seqloom.errors import ConfigError
from seqloom.layers.wavefront import Unit, Wavefront
from seqloom.runs import read_metrics

TinyConfig = Callable[..., DictConfig]

SETTINGS = (
    "model.num_encoder_layers=2",
    "model.num_decoder_layers=3",
    "model.wiring=first_layer",
    "model.bidirectional=false",
    "model.dropout=0",
    "precision=fp32",
    "trainer.log_every_n_steps=1",
)
WAVEFRONT = ("strategy=placement", "strategy.num_chunks=4", "strategy.num_micro_batches=2")
# The CPU twice: all of a placement but the second device.
BALANCED = ("strategy=placement", "strategy.devices=[cpu,cpu]", "strategy.num_chunks=2")


def rows_of(run: Path) -> list[dict[str, float]]:
    kept = ("train/loss", "train/gradient_norm", "val/", "test/")
    return [
        {name: row[name] for name in row if name.startswith(kept)}
        for row in read_metrics(run / "metrics.csv")
    ]


def assert_same_run(found: Path, expected: Path) -> None:
    for row, other in zip(rows_of(found), rows_of(expected), strict=True):
        assert row == pytest.approx(other, rel=1e-5)
    metrics: list[dict[str, Any]] = [
        json.loads((run / "summary.json").read_text())["metrics"] for run in (found, expected)
    ]
    names = [name for name in metrics[1] if name.startswith(("val/", "test/"))]
    assert names
    for name in names:
        assert metrics[0][name] == pytest.approx(metrics[1][name], rel=1e-5), name
    last = [
        torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (found, expected)
    ]
    assert list(last[0]["state_dict"]) == list(last[1]["state_dict"])
    for name, weight in last[1]["state_dict"].items():
        torch.testing.assert_close(
            last[0]["state_dict"][name], weight, rtol=1e-5, atol=1e-6, msg=name
        )


@pytest.fixture(scope="module")
def one(tiny_config: TinyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one device."""
    path = tmp_path_factory.mktemp("placement") / "one"
    train(tiny_config(f"run_dir={path}", *SETTINGS))
    return path


@pytest.mark.parametrize("strategy", [WAVEFRONT, BALANCED], ids=["wavefront", "balanced"])
def test_a_placed_run_is_the_run_of_one_device(
    strategy: tuple[str, ...],
    one: Path,
    tiny_config: TinyConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    num_units: list[int] = []
    run_tick = Wavefront.run_tick

    def spied(self: Wavefront, tick: int, units: Sequence[Unit], work: Any) -> None:
        num_units.append(len(units))
        run_tick(self, tick, units, work)

    monkeypatch.setattr(Wavefront, "run_tick", spied)
    with caplog.at_level(logging.INFO, logger="seqloom.strategies"):
        train(tiny_config(f"run_dir={tmp_path / 'run'}", *SETTINGS, *strategy))
    assert_same_run(tmp_path / "run", one)
    told = [record.message for record in caplog.records if "placement" in record.message]
    assert max(num_units) == 2  # of the encoder's two layers, and of the decoder's upper two
    assert len(told) == (strategy is BALANCED)
    for message in told:
        assert "encoder.layers.1 " in message
        assert message.splitlines()[1].split() == ["part", "ms", "MiB", "device"]


@pytest.mark.parametrize(
    ("first", "second"), [(WAVEFRONT, ()), ((), BALANCED), (BALANCED, WAVEFRONT)]
)
def test_a_run_goes_on_under_another_strategy(
    first: tuple[str, ...],
    second: tuple[str, ...],
    one: Path,
    tiny_config: TinyConfig,
    tmp_path: Path,
) -> None:
    """Interrupted after 2 of 4 updates; the learning rate must not know of the interruption."""
    path = tmp_path / "run"
    fixed = (*SETTINGS, "scheduler=constant")
    train(tiny_config(f"run_dir={path}", *fixed, "trainer.max_steps=2", *first))
    state = torch.load(path / "checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 2
    train(tiny_config(f"resume={path}", *fixed, "trainer.max_steps=4", *second))
    whole = tmp_path / "whole"
    train(tiny_config(f"run_dir={whole}", *fixed))
    last = [torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (path, whole)]
    assert [each["global_step"] for each in last] == [4, 4]
    for name, weight in last[1]["state_dict"].items():
        torch.testing.assert_close(
            last[0]["state_dict"][name], weight, rtol=1e-5, atol=1e-6, msg=name
        )


def test_an_average_of_weights_follows_a_placed_model(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    runs = [tmp_path / "plain", tmp_path / "placed"]
    for run, strategy in zip(runs, [(), WAVEFRONT], strict=True):
        train(tiny_config(f"run_dir={run}", *SETTINGS, "callbacks.ema_decay=0.9", *strategy))
    assert_same_run(runs[1], runs[0])


def test_an_unknown_part_is_told_before_the_first_update(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    placed = ("strategy=placement", "strategy.placement={decoder: cpu, encoder.layers.0: cpu}")
    message = r"strategy\.placement\.decoder: the model has no such part"
    with pytest.raises(ConfigError, match=message):
        train(tiny_config(f"run_dir={tmp_path / 'run'}", *SETTINGS, *placed))
