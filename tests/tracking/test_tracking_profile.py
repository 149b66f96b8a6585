"""Where an update's time goes: nothing is lost or counted twice, and sleep shows in its own row."""

from __future__ import annotations

import copy
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from seqloom.errors import ConfigError
from seqloom.tracking.profile import NUM_TRACED, WARM_UP, Profile
from seqloom.tracking.profile_hooks import parts
from seqloom.tracking.profile_table import Operator, ProfileResult
from seqloom.tracking.report.page import write_report
from seqloom.tracking.report.profile import profile as profile_section
from seqloom.tracking.report.run_data import read_run
from seqloom.tracking.stopwatch import REST, Lap, Stopwatch, unwatch, watch

NAP_S = 0.02


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SleepyGradient(torch.autograd.Function):
    """The identity, whose gradient takes a nap."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        time.sleep(NAP_S)
        return gradients[0]


class SleepyBoth(nn.Linear):
    """Sleeps on the way forward and on the way back."""

    def forward(self, values: Tensor) -> Tensor:
        time.sleep(NAP_S)
        return torch.as_tensor(SleepyGradient.apply(super().forward(values)))


class Loss(nn.Module):
    """An output layer, whose loss is no `forward`."""

    def loss(self, values: Tensor) -> Tensor:
        time.sleep(NAP_S)
        return values.pow(2).sum()


class Inner(nn.Module):
    """A topology within a topology."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepy = SleepyBoth(3, 3)
        self.calm = nn.Sequential(nn.Linear(3, 3), nn.Tanh())

    def forward(self, values: Tensor) -> Tensor:
        return torch.as_tensor(self.calm(self.sleepy(values)))


class Outer(nn.Module):
    """The whole model."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.again = self.inner.calm
        self.output = Loss()

    def forward(self, values: Tensor) -> Tensor:
        return torch.as_tensor(self.inner(values))


class SleepyLoader:
    """Batches [2, 3], each after a nap."""

    def __init__(self, num: int) -> None:
        self.num = num

    def __len__(self) -> int:
        return self.num

    def __iter__(self) -> Iterator[Tensor]:
        for number in range(self.num):
            time.sleep(NAP_S)
            yield torch.full((2, 3), float(number % 3))


class SleepyOptimizer(torch.optim.SGD):
    """Sleeps in its own part of an update."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        time.sleep(NAP_S)
        return loss


class SleepyLearner(LightningModule):
    """Keeps its losses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.model = Outer()
        self.losses: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.model.output.loss(self.model(batch))
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.model(batch)

    def configure_optimizers(self) -> Any:
        return SleepyOptimizer(self.parameters(), lr=0.01)

    def count_batch(self, batch: Tensor) -> dict[str, int]:
        return {"examples": len(batch)}


class OwnClock(Callback):
    """An independent measurement: when each update ended, without the time of validations."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self._validated = self._since = 0.0

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(time.perf_counter() - self._validated)

    def on_validation_start(self, *_: Any) -> None:
        self._since = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        self._validated += time.perf_counter() - self._since


def fit(folder: Path, callbacks: list[Callback], num_batches: int, **options: Any) -> SleepyLearner:
    learner = SleepyLearner()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **{"max_epochs": 1, "log_every_n_steps": 1} | options,
    )
    trainer.fit(learner, SleepyLoader(num_batches), SleepyLoader(1))
    assert type(trainer.profiler).__name__ == "PassThroughProfiler"  # type: ignore[attr-defined]
    return learner


@pytest.fixture(scope="module")
def sleepy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, OwnClock, SleepyLearner]:
    """Six timed updates of a training in epochs of 8 batches, with validations between."""
    folder = tmp_path_factory.mktemp("profile")
    clock, profile = OwnClock(), Profile(num_updates=6, trace=folder / "trace.json.gz")
    return profile, clock, fit(folder, [clock, profile], 8, max_epochs=9)


def test_the_rows_of_a_profile_add_up_to_the_updates(
    sleepy: tuple[Profile, OwnClock, SleepyLearner],
) -> None:
    profile, clock, _ = sleepy
    result = profile.result
    assert result is not None
    assert result.num_updates == 6
    wall_ms = 1000 * (clock.ends[WARM_UP + 5] - clock.ends[WARM_UP - 1])
    total_ms = 6 * sum(row.mean_ms for row in result.rows)
    assert total_ms == pytest.approx(wall_ms, rel=0.05)
    assert sum(row.share for row in result.rows) == pytest.approx(1.0)
    assert result.rates["examples_per_s"] == pytest.approx(12 / (total_ms / 1000), rel=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "data",
        "model.inner.sleepy",
        "model.output",
        "model.inner.sleepy, backward",
        "optimizer",
    ],
)
def test_a_nap_shows_up_in_its_own_row(
    sleepy: tuple[Profile, OwnClock, SleepyLearner], name: str
) -> None:
    result = sleepy[0].result
    assert result is not None
    times = {row.name: row.median_ms for row in result.rows}
    assert times[name] >= 1000 * NAP_S
    others = {"transfer", "learner", "model", "model.inner", "model.inner.calm", REST}
    assert others <= set(times)
    assert all(times[other] < 1000 * NAP_S for other in others)
    assert "validation" not in times


def test_a_profile_ends_the_training_and_leaves_nothing_behind(
    sleepy: tuple[Profile, OwnClock, SleepyLearner],
) -> None:
    _, clock, learner = sleepy
    assert len(clock.ends) == WARM_UP + 6 + NUM_TRACED
    model = learner.model
    assert [type(part) for part in (model, model.inner, model.output)] == [Outer, Inner, Loss]


def test_a_profiled_training_computes_the_same_numbers(
    sleepy: tuple[Profile, OwnClock, SleepyLearner], tmp_path: Path
) -> None:
    plain = fit(tmp_path, [], 8)
    assert plain.losses == sleepy[2].losses[:8]


def test_the_trace_names_the_rows(sleepy: tuple[Profile, OwnClock, SleepyLearner]) -> None:
    with gzip.open(sleepy[0].trace, "rt") as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"]]
    assert names.count("model.inner.sleepy") == NUM_TRACED
    assert {"data", "optimizer", "model.output"} <= set(names)


def test_the_largest_operator_is_the_one_that_sleeps(
    sleepy: tuple[Profile, OwnClock, SleepyLearner],
) -> None:
    result = sleepy[0].result
    assert result is not None
    largest = result.operators[0]
    assert "SleepyGradient" in largest.name
    assert largest.ms >= 1000 * NAP_S
    assert largest.calls == 1
    assert not {row.name for row in result.rows} & {each.name for each in result.operators}


def test_accumulated_batches_are_one_update(tmp_path: Path) -> None:
    profile = Profile(num_updates=1, trace=tmp_path / "trace.json.gz")
    fit(tmp_path, [profile], 40, accumulate_grad_batches=2)
    assert profile.result is not None
    calls = {row.name: row.calls for row in profile.result.rows}
    assert calls["data"] == calls["model.output"] == 2
    assert profile.result.rates["examples_per_s"] > 0


@pytest.mark.parametrize(("num_done", "num_timed"), [(2, 0), (10, 0), (12, 2)])
def test_a_training_that_ends_too_early_says_what_was_timed(
    num_done: int, num_timed: int, tmp_path: Path
) -> None:
    profile = Profile(num_updates=3, trace=tmp_path / "trace.json.gz")
    fit(tmp_path, [profile], num_done)
    assert (0 if profile.result is None else profile.result.num_updates) == num_timed
    found = f"profile: {num_timed} of 3 updates were timed: training ended after {num_done}, "
    assert profile.shortfall == f"{found}it takes 13"
    assert list(tmp_path.glob("*.gz")) == []


def test_a_profile_of_no_update_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="profile_updates=0: nothing is timed; use 1 or more"):
        Profile(num_updates=0, trace=tmp_path / "trace.json.gz")


def test_time_of_a_stopwatch_belongs_to_one_name() -> None:
    clock = Clock()
    watched = Stopwatch(clock=clock)
    for action, seconds in (("outer", 1), ("inner", 2), ("", 4), ("inner", 8), ("", 16), ("", 32)):
        watched.enter(action) if action else watched.leave()
        clock.now += seconds
    lap = watched.lap()
    assert lap.seconds == {REST: 32, "outer": 1 + 4 + 16, "inner": 2 + 8}
    assert lap.calls == {"outer": 1, "inner": 2}
    clock.now += 5
    assert watched.lap().seconds == {REST: 5}


def test_a_stopwatch_waits_for_the_device_at_every_change() -> None:
    clock = Clock()

    def wait() -> None:
        clock.now += 1

    watched = Stopwatch(wait, clock)
    watched.enter("part")
    watched.leave()
    assert watched.lap().seconds == {REST: 2, "part": 1}


def test_a_watched_object_and_its_copies_are_timed_until_they_are_not() -> None:
    clock, module = Clock(), Loss()
    watched = Stopwatch(clock=clock)
    watch(module, "output", watched)
    assert isinstance(module, Loss)
    copy.copy(module).loss(torch.ones(1))
    module.loss(torch.ones(1))
    watched.is_on = False
    module.loss(torch.ones(1))
    unwatch(module)
    watched.is_on = True
    module.loss(torch.ones(1))
    assert type(module) is Loss
    assert watched.lap().calls == {"output": 2}


def test_parts_are_found_once_and_not_within_foreign_modules() -> None:
    names = [name for name, _ in parts(Outer(), "model")]
    assert names == [
        "model",
        "model.inner",
        "model.inner.sleepy",
        "model.inner.calm",
        "model.output",
    ]


def result_of(*laps: dict[str, float], left_out: tuple[str, ...] = ()) -> ProfileResult:
    return ProfileResult.of(
        [Lap(lap, dict.fromkeys(lap, 1)) for lap in laps],
        device="cpu",
        counts={"examples": 4, "source_positions": 9},
        operators=[Operator("aten::<b>", 1.0, 1.0, 2.0)],
        left_out=left_out,
    )


def test_rows_of_a_result_are_means_and_medians_in_the_order_of_an_update() -> None:
    laps = [{REST: 0.001, "optimizer": 0.002, "a": 0.5, "a, backward": 0.1, "data": 0.0}] * 2
    result = result_of(*laps, {"data": 0.3, "validation": 7.0}, left_out=("validation",))
    assert [row.name for row in result.rows] == ["data", "a", "a, backward", "optimizer", REST]
    data = result.rows[0]
    assert (data.mean_ms, data.median_ms) == (pytest.approx(100.0), 0.0)
    assert result.mean_ms == pytest.approx((2 * 603 + 300) / 3)
    lines = result.lines()
    assert lines[0].startswith("3 updates on cpu: 502.0 ms each")
    assert lines[-1] == "a second: 3 examples"


def test_a_report_shows_a_profile_and_escapes_it(tmp_path: Path) -> None:
    assert profile_section(read_run(tmp_path)) is None
    result = result_of({"data": 0.25, REST: 0.75})
    (tmp_path / "profile.json").write_text(json.dumps(result.as_dict()))
    page = write_report(tmp_path).read_text()
    assert "Where the time goes" in page
    assert "aten::&lt;b&gt;" in page
    assert "1000.0 ms each; 4 examples a second" in page


@pytest.mark.parametrize("text", ["", "[]", "{", '{"rates": {"a_per_s": NaN}}'])
def test_a_damaged_profile_is_a_sentence_of_the_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_text(text)
    assert "profile.json cannot be read" in write_report(tmp_path).read_text()
