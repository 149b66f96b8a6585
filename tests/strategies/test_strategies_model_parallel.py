"""Weights spread over two processes come to those of one, and their checkpoints know of neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from prove_strategies import SharedPlan
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.optim import Adam
from two_processes import in_two_processes

from seqloom.commands.evaluate import evaluate
from seqloom.commands.train import train
from seqloom.config import plain, resume_config
from seqloom.config.overrides import compose_config
from seqloom.data import module
from seqloom.errors import ConfigError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs.categorical import Categorical
from seqloom.runs import read_metrics
from seqloom.strategies import Setting
from seqloom.strategies.grid import GridStrategy
from seqloom.strategies.model_parallel import FullySharded, ModelParallel

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
# 12 batches an epoch, so no batch is cut. The gradient's norm is 0.2 to 1.4: some are clipped.
SETTINGS = (
    "task=translation",
    "data.num_train=60",
    "data.num_val=7",
    "data.num_test=7",
    "tokenizer.vocab_size=301",
    "batching.batch_size=5",
    "model.embedding_size=8",
    "model.hidden_size=8",
    "model.num_encoder_layers=1",
    "model.num_decoder_layers=1",
    "model.dropout=0",
    "decoding.beam_size=2",
    # A model that has hardly learned writes words of equal chance; after a few, any rounding tells.
    "decoding.max_length_ratio=0",
    "decoding.max_length_offset=4",
    "precision=fp32",
    "optimizer=adam",
    "scheduler=constant",
    "trainer.accelerator=cpu",
    "trainer.gradient_clip_val=0.5",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "logger=csv",
)
PROCESSES = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model_parallel")


def words(folder: Path, name: str, *settings: str) -> list[str]:
    return [*SETTINGS, *settings, f"run_dir={folder / name}", f"data.cache_dir={folder / 'cache'}"]


def train_one(folder: Path, name: str, *settings: str) -> Path:
    train(plain(compose_config(words(folder, name, *settings))))
    return folder / name


def train_two(folder: Path, name: str, *settings: str) -> Path:
    return run_two(folder / name, *words(folder, name, *settings))


def run_two(run: Path, *settings: str) -> Path:
    done = subprocess.run(
        [sys.executable, str(TRAIN), *settings, f"trainer.devices={PROCESSES}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def last(run: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    return checkpoint


def metrics_of(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "summary.json").read_text())["metrics"]
    return found


def check_same(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Whole plain weights and optimiser states, the same ones."""
    assert expected["state_dict"].keys() == found["state_dict"].keys()
    for name, value in expected["state_dict"].items():
        other = found["state_dict"][name]
        assert type(other) is Tensor
        torch.testing.assert_close(other, value, rtol=1e-5, atol=1e-6, msg=name)
    (one,), (two,) = expected["optimizer_states"], found["optimizer_states"]
    assert one["param_groups"] == two["param_groups"]
    assert one["state"].keys() == two["state"].keys()
    for number, values in one["state"].items():
        for key, value in values.items():
            assert type(two["state"][number][key]) is Tensor
            torch.testing.assert_close(two["state"][number][key], value, rtol=1e-4, atol=1e-6)


def check_same_course(one: Path, two: Path) -> None:
    for name in ("train/loss", "train/gradient_norm", "val/loss"):
        expected, found = (
            [row[name] for row in read_metrics(run / "metrics.csv") if name in row]
            for run in (one, two)
        )
        assert found
        assert found == pytest.approx(expected, rel=1e-5)
    assert metrics_of(two) == pytest.approx(metrics_of(one), rel=1e-5)
    lines = [(run / "predictions.jsonl").read_text() for run in (one, two)]
    predictions = [[json.loads(line) for line in text.splitlines()] for text in lines]
    assert [entry["index"] for entry in predictions[1]] == list(range(7))
    for before, after in zip(*predictions, strict=True):
        assert before["prediction"] == after["prediction"]


slow = [pytest.mark.slow, pytest.mark.xdist_group("processes")]


def marked(*arguments: str) -> Any:
    return pytest.param(*arguments, marks=slow)


@pytest.mark.parametrize("tie", [marked("all"), marked("output"), marked("none")])
def test_a_split_vocabulary_learns_what_a_whole_one_learns(folder: Path, tie: str) -> None:
    one = train_one(folder, f"whole_{tie}", f"model.tie={tie}")
    two = train_two(folder, f"rows_{tie}", f"model.tie={tie}", "strategy=model_parallel")
    check_same(last(one), last(two))
    check_same_course(one, two)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_sliced_weights_learn_what_whole_ones_learn(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TrainingPlan", SharedPlan)
        one = train_one(folder, "whole", f"trainer.accumulate_grad_batches={PROCESSES}")
    two = train_two(folder, "slices", "strategy=fsdp")
    check_same(last(one), last(two))
    check_same_course(one, two)


ALONE = ("strategy=auto", "trainer.devices=1")


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("strategy", ["fsdp", "model_parallel"])
def test_checkpoints_of_parts_are_those_of_one_process(folder: Path, strategy: str) -> None:
    """An epoch in parts and one on a single process, and the other way round: at the end both have
    the same state, and what was trained in parts is scored by one."""
    here, there = (f"{name}_{strategy}" for name in ("here", "there"))
    short = "trainer.max_epochs=1"
    parts = train_two(folder, there, f"strategy={strategy}", short)
    assert evaluate(parts) == pytest.approx(metrics_of(parts), rel=1e-5)
    before = last(parts)
    train(resume_config(parts, [*ALONE, "trainer.max_epochs=2"]))
    assert last(parts)["global_step"] == before["global_step"] + 12
    whole = train_one(folder, here, short)
    run_two(whole, f"resume={whole}", f"strategy={strategy}", "trainer.max_epochs=2")
    assert last(whole)["global_step"] == 12 + (6 if strategy == "fsdp" else 12)
    assert evaluate(whole) == pytest.approx(metrics_of(whole), rel=1e-5)
    if strategy == "model_parallel":  # whose updates are those of one process
        check_same(last(whole), last(parts))


class Tiny(LightningModule):
    """Two layers, of which the first has no even slices."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(vocab_size=7, size=4)
        self.layer = nn.Linear(4, 6)
        self.output = Categorical(input_size=6, output_size=7)

    def training_loss(self, ids: Tensor) -> Tensor:
        return self.output.loss(self.layer(self.embedding(ids)).tanh(), ids.roll(1)).loss


def on_a_grid(num_shares: int, num_sharing: int) -> tuple[GridStrategy, Tiny]:
    """A strategy with a learner of the same weights everywhere, cut."""
    torch.manual_seed(0)
    learner = Tiny()
    strategy = GridStrategy(num_shares, num_sharing, timeout_s=60)
    names = ("data_parallel", "tensor_parallel")
    strategy._device_mesh = init_device_mesh("cpu", (num_shares, num_sharing), mesh_dim_names=names)
    strategy.parallel_devices = [torch.device("cpu")] * 2
    strategy.connect(learner)
    strategy._cut(learner, slices=True)
    return strategy, learner


def check_parts() -> None:
    for grid in ((2, 1), (1, 2)):
        _check_parts(*grid)


def _check_parts(num_shares: int, num_sharing: int) -> None:
    ids = torch.arange(7)
    torch.manual_seed(0)
    whole = Tiny()
    whole.training_loss(ids).backward()
    expected = nn.utils.get_total_norm([p.grad for p in whole.parameters() if p.grad is not None])
    strategy, learner = on_a_grid(num_shares, num_sharing)
    optimizers = [Adam(model.parameters(), fused=True) for model in (whole, learner)]
    strategy.optimizers = [optimizers[1]]
    if strategy._shell is not None:
        strategy.on_validation_start()
        strategy.on_validation_end()
        learner.forward = learner.training_loss  # type: ignore[method-assign]
        loss = strategy._shell(ids)  # type: ignore[operator]
        del learner.forward
    else:
        loss = learner.training_loss(ids)
    loss.backward()
    grads = [p.grad for p in learner.parameters() if p.grad is not None]
    torch.testing.assert_close(strategy.total_norm(grads), expected)
    for optimizer in optimizers:
        optimizer.step()
    parts = [p.to_local() if isinstance(p, DTensor) else p for p in learner.parameters()]
    # Of 7, 6, 6, 7 and 7 rows.
    lengths = {
        (2, 1): [[4, 3, 3, 4, 4], [3, 3, 3, 3, 3]],
        (1, 2): [[4, 6, 6, 4, 4], [3, 6, 6, 3, 3]],
    }
    assert [len(part) for part in parts] == lengths[num_shares, num_sharing][dist.get_rank()]
    state = strategy.optimizer_state(optimizers[1])
    _check_states(optimizers[0].state_dict(), state)
    strategy.load_optimizer_state_dict({"optimizer_states": [state]})
    _check_states(state, strategy.optimizer_state(optimizers[1]))
    for name, value in strategy.lightning_module_state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name])
    strategy._join(learner)
    assert [type(module) for module in learner.modules()] == [type(m) for m in whole.modules()]
    learner.load_state_dict(whole.state_dict())
    torch.testing.assert_close(learner.training_loss(ids), whole.training_loss(ids))


def _check_states(expected: dict[str, Any], found: dict[str, Any]) -> None:
    assert found["param_groups"] == expected["param_groups"]
    for number, values in expected["state"].items():
        for key, value in values.items():
            torch.testing.assert_close(found["state"][number][key], value)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_parts_hold_their_share_and_join_to_the_whole(tmp_path: Path) -> None:
    in_two_processes(check_parts, tmp_path / "store")


def check_nothing_to_split() -> None:
    strategy = GridStrategy(1, 2, timeout_s=60)
    names = ("data_parallel", "tensor_parallel")
    strategy._device_mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=names)
    learner = LightningModule()
    learner.layer = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="no embedding and no output=categorical"):
        strategy._cut(learner, slices=True)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_model_without_words_is_not_split(tmp_path: Path) -> None:
    in_two_processes(check_nothing_to_split, tmp_path / "store")


CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [0, 1, -2, "all"])
def test_a_wrong_number_of_vocabulary_holders_is_refused(size: int | str) -> None:
    with pytest.raises(ConfigError, match=f"tensor_parallel_size={size}"):
        ModelParallel(tensor_parallel_size=size)


def test_vocabulary_holders_must_divide_the_processes() -> None:
    with pytest.raises(ConfigError, match="tensor_parallel_size=2: does not divide 3 processes"):
        ModelParallel(tensor_parallel_size=2).for_run(Setting(CPU, num_devices=3))


@pytest.mark.parametrize("options", [FullySharded, ModelParallel])
def test_parts_need_processes_and_a_waiting_time(
    options: type[FullySharded] | type[ModelParallel],
) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.devices=1"):
        options().for_run(Setting(CPU))
    with pytest.raises(ConfigError, match="timeout_s=0"):
        options(timeout_s=0)


@pytest.mark.parametrize("options", [FullySharded(), ModelParallel()])
def test_parts_refuse_an_average_of_weights(options: FullySharded | ModelParallel) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.ema_decay"):
        options.for_run(Setting(CPU, num_devices=2, averages_weights=True))


@pytest.mark.parametrize(("size", "grid"), [("auto", (1, 4)), (2, (2, 2)), (4, (1, 4))])
def test_processes_form_a_grid(size: int | str, grid: tuple[int, int]) -> None:
    options = ModelParallel(tensor_parallel_size=size)
    strategy = options.for_run(Setting(CPU, num_devices=2, num_nodes=2))
    assert isinstance(strategy, GridStrategy)
    assert (strategy._data_parallel_size, strategy._tensor_parallel_size) == grid
