"""A pipeline of processes comes to what one process comes to, whatever is cut, and says what it
cannot cut.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqloom.cells import LSTM
from seqloom.errors import ConfigError
from seqloom.layers.dropout import SequenceDropout
from seqloom.layers.recurrent import RecurrentStack, StackOptions, stack_of_layers
from seqloom.runs import read_metrics
from seqloom.sequences import Padded
from seqloom.strategies import Setting
from seqloom.strategies.pipeline import Pipeline, PipelineStrategy, check_model
from seqloom.strategies.stages import (
    Probe,
    StageEnd,
    StageLayers,
    check_cuts,
    cuts_of,
    find_stack,
)
from seqloom.unrolling import Dynamic

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
# Batches of 7 and of fewer rows, in 4 parts; splits of evaluation that two do not share evenly.
SETTINGS = (
    "data.num_train=40",
    "data.num_val=9",
    "data.num_test=9",
    "batching.batch_size=7",
    "model.hidden_size=16",
    "precision=fp32",
    "optimizer=sgd",
    "scheduler=constant",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "logger=csv",
)
TRANSLATION = (
    "task=translation",
    "tokenizer.vocab_size=300",
    "tokenizer.shared=true",
    "model.embedding_size=8",
    "model.num_encoder_layers=2",
    "model.num_decoder_layers=1",
    "model.tie=all",
    "decoding.beam_size=2",
)
GPIPE = ("strategy=pipeline", "strategy.schedule=gpipe", "strategy.cut=[1]", "trainer.devices=2")
ONE_BY_ONE = ("strategy=pipeline", "strategy.schedule=1f1b", "trainer.devices=2")
# Name, what is trained, how it is cut.
CASES = {
    "tied_gpipe": (TRANSLATION, GPIPE),
    "tied_1f1b": ((*TRANSLATION, "trainer.accumulate_grad_batches=2"), ONE_BY_ONE),
    "three_stages_of_two_rows": (
        (*TRANSLATION, "data.num_train=7", "batching.batch_size=2"),
        ("strategy=pipeline", "trainer.devices=3"),
    ),
    "sequence_to_sequence": (("task=copy_memory", "model.num_layers=2"), ONE_BY_ONE),
    "sequence_to_vector": (("task=adding", "model.num_layers=2"), GPIPE),
    "vector_to_sequence": (("task=text_generation", "model.num_layers=2"), ONE_BY_ONE),
}


def call(*settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TRAIN), *settings],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


def trained(path: Path, *settings: str) -> Path:
    done = call(*SETTINGS, "model.dropout=0", *settings, f"run_dir={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def resumed(path: Path, *settings: str) -> Path:
    done = call(f"resume={path}", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def last_checkpoint(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    return found


def told(run: Path, name: str) -> list[float]:
    return [row[name] for row in read_metrics(run / "metrics.csv") if name in row]


def assert_same_training(found: Path, expected: Path) -> None:
    """Losses, norms, weights and the optimiser's state, all within 1e-5."""
    for name in ("train/loss", "train/gradient_norm", "val/loss"):
        assert told(expected, name)
        assert told(found, name) == pytest.approx(told(expected, name), rel=1e-5)
    one, two = last_checkpoint(expected), last_checkpoint(found)
    assert one["global_step"] == two["global_step"]
    assert_close(two["state_dict"], one["state_dict"])
    states = [run["optimizer_states"][0]["state"] for run in (two, one)]
    assert states[0].keys() == states[1].keys()
    assert states[0]
    for number in states[1]:
        assert_close(states[0][number], states[1][number])


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("name", CASES)
def test_a_pipeline_trains_as_one_process(name: str, tmp_path: Path) -> None:
    trains, cuts = CASES[name]
    one, two = trained(tmp_path / "one", *trains), trained(tmp_path / "two", *trains, *cuts)
    assert_same_training(two, one)
    results = [json.loads((run / "summary.json").read_text())["metrics"] for run in (two, one)]
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    lines = (two / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(9))


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_checkpoint_goes_on_under_another_strategy(tmp_path: Path) -> None:
    adam = (*TRANSLATION, "optimizer=adam")
    straight = trained(tmp_path / "straight", *adam)
    there = trained(tmp_path / "there", *adam, *ONE_BY_ONE, "trainer.max_epochs=1")
    back = trained(tmp_path / "back", *adam, "trainer.max_epochs=1")
    alone = ("strategy=auto", "trainer.devices=1", "trainer.max_epochs=2")
    assert_same_training(resumed(there, *alone), straight)
    assert_same_training(resumed(back, *GPIPE, "trainer.max_epochs=2"), straight)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_dropout_of_a_pipeline_is_reproducible(tmp_path: Path) -> None:
    settings = (*TRANSLATION, *ONE_BY_ONE, "model.dropout=0.3", "trainer.max_epochs=1")
    first, second = trained(tmp_path / "first", *settings), trained(tmp_path / "second", *settings)
    assert told(first, "train/loss") == told(second, "train/loss")
    for name, value in last_checkpoint(first)["state_dict"].items():
        assert torch.equal(last_checkpoint(second)["state_dict"][name], value)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_stack_that_runs_twice_is_refused_in_one_line(tmp_path: Path) -> None:
    plain = ("task=translation", "model=plain", "attention=none", "tokenizer.vocab_size=300")
    done = call(*SETTINGS, *plain, *ONE_BY_ONE, f"run_dir={tmp_path / 'run'}")
    assert done.returncode != 0
    assert "runs the stack that would be cut 2 times" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def made_stack(num_layers: int = 3, **options: Any) -> RecurrentStack:
    torch.manual_seed(0)
    return stack_of_layers(
        6,
        num_layers,
        cell=LSTM,
        unrolling=Dynamic(),
        output_size=6,
        dropout=SequenceDropout(probability=0.0, locked=False),
        options=StackOptions(**options),
        bidirectional=True,
    )


@pytest.mark.parametrize("cuts", [[1], [3], [1, 2], [1, 2, 3]])
@pytest.mark.parametrize("connection", ["none", "residual", "highway"])
def test_stages_one_after_the_other_are_the_stack(cuts: list[int], connection: str) -> None:
    stack = made_stack(connection=connection, layer_norm=True, residual_from=1)
    inputs = Padded(torch.randn(4, 5, 6, requires_grad=True), torch.tensor([5, 0, 2, 4]))
    states = stack.initial_states(inputs.values, 4)
    outputs, finals = stack(inputs, states)
    ends = [0, *cuts, 3]
    received: Tensor | None = None
    found: tuple[Padded, Any] | None = None
    for number in range(len(cuts) + 1):
        layers = StageLayers(*ends[number : number + 2], is_last=number == len(cuts))
        # Filled up as it travels, rows and features.
        layers.received = None if received is None else nn.functional.pad(received, (0, 3, 0, 2))
        try:
            found = layers(stack, inputs, states, None)
        except StageEnd as end:
            received = end.packed
    assert found is not None
    torch.testing.assert_close(found[0].values, outputs.values)
    torch.testing.assert_close(found[1], finals)
    gradients = [
        torch.autograd.grad(made.square().sum(), inputs.values)[0]
        for made in (found[0].values, outputs.values)
    ]
    torch.testing.assert_close(*gradients)


def test_a_probe_tells_the_widths_of_what_travels() -> None:
    stack = made_stack()
    inputs = Padded(torch.randn(2, 5, 6), torch.tensor([5, 3]))
    states = stack.initial_states(inputs.values, 2)
    probe = Probe([1, 3], stops=True)
    with pytest.raises(StageEnd):
        probe(stack, inputs, states, None)
    for cut, width in zip([1, 3], probe.widths, strict=True):
        with pytest.raises(StageEnd) as end:
            StageLayers(0, cut, is_last=False)(stack, inputs, states, None)
        assert end.value.packed.shape == (2, width)
    assert probe.num_calls == 1


def test_cuts_make_the_largest_stage_small() -> None:
    stack = made_stack(4)
    alone = nn.ModuleDict({"stack": stack})
    assert cuts_of(alone, stack, 2) == [2]
    assert cuts_of(alone, stack, 4) == [1, 2, 3]
    layer = sum(p.numel() for p in stack.layers[0].parameters())
    heavy = nn.ModuleDict({"stack": stack, "output": nn.Linear(10, layer // 4)})
    assert cuts_of(heavy, stack, 2) == [3]
    # What is looked up costs nothing.
    reads = nn.ModuleDict({"embedding": nn.Embedding(1000, 100), "stack": stack})
    assert cuts_of(reads, stack, 2) == [2]


def test_cuts_that_do_not_fit_are_refused() -> None:
    stack = made_stack(2)
    with pytest.raises(ConfigError, match="the model's first stack has 2 layers"):
        cuts_of(stack, stack, 4)
    with pytest.raises(ConfigError, match="2 processes need 1 of the numbers 1 to 2"):
        check_cuts([1, 2], 2, stack)
    with pytest.raises(ConfigError, match="3 processes need 2 of the numbers 1 to 2"):
        check_cuts([1, 3], 3, stack)
    with pytest.raises(ConfigError, match="no recurrent layers"):
        find_stack(nn.Linear(2, 2))


def test_what_would_see_micro_batches_is_refused() -> None:
    check_model(nn.ModuleDict({"stack": made_stack()}))
    with pytest.raises(ConfigError, match="normalises over a batch"):
        check_model(nn.ModuleDict({"front": nn.Sequential(nn.BatchNorm1d(3))}))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"schedule": "zigzag"}, "use gpipe or 1f1b"),
        ({"num_micro_batches": 0}, "at least one part"),
        ({"cut": []}, "write auto"),
        ({"cut": [2, 2]}, "grow from 1"),
        ({"cut": [0]}, "grow from 1"),
        ({"cut": "half"}, "grow from 1"),
        ({"timeout_s": 0.0}, "is not positive"),
    ],
)
def test_options_of_a_pipeline_are_checked(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Pipeline(**options)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"num_devices": 1}, "trainer.devices=2"),
        ({"carries_state": True}, "batching=stream"),
        ({"averages_weights": True}, "callbacks.ema_decay"),
        ({"num_devices": 5}, "num_micro_batches=4"),
    ],
)
def test_runs_that_a_pipeline_cannot_train(setting: dict[str, Any], why: str) -> None:
    run = replace(Setting(torch.device("cpu"), num_devices=2), **setting)
    with pytest.raises(ConfigError, match=why):
        Pipeline().for_run(run)


def test_gpipe_needs_no_more_parts_than_stages() -> None:
    run = Setting(torch.device("cpu"), num_devices=5)
    assert isinstance(Pipeline(schedule="gpipe").for_run(run), PipelineStrategy)
