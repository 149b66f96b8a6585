"""Checkpoints for use, averages, throughput, progress and predictions, each in a real run."""

import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from rich.console import Console
from torch.utils.data import DataLoader
from tracking_fakes import Learner, train

from seqloom.errors import ConfigError
from seqloom.metrics.prediction import Prediction
from seqloom.runs import read_metrics
from seqloom.tracking.averaging import AverageOptions
from seqloom.tracking.ema import WeightAverage
from seqloom.tracking.loggers import log_file
from seqloom.tracking.predictions import PredictionWriter
from seqloom.tracking.progress import Progress
from seqloom.tracking.throughput import Throughput, peak_memory_bytes

pytestmark = [  # Lightning's use of torch, and its advice on what a loader costs.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_best_is_the_best_validation_and_only_for_use(tmp_path: Path) -> None:
    _, keep, _ = train(tmp_path, val_check_interval=2)
    losses = [
        row["val/loss"] for row in read_metrics(tmp_path / "metrics.csv") if "val/loss" in row
    ]
    assert keep.best_score == pytest.approx(min(losses))
    assert keep.best_metrics["val/loss"] == keep.best_score
    best = load(keep.best_path)
    assert best["global_step"] == keep.best_step
    assert "optimizer_states" not in best
    assert "optimizer_states" in load(keep.last_path)
    assert keep.test_path == keep.best_path
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]


def test_a_monitor_that_is_not_logged_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean val/loss"):
        train(tmp_path, checkpoint={"monitor": "val/los"})


def test_a_monitor_that_the_learner_does_not_declare_is_found_before_training(
    tmp_path: Path,
) -> None:
    class Declaring(Learner):
        metric_names = frozenset({"val/loss", "val/bleu", "test/chrf"})

    learner = Declaring()
    with pytest.raises(ConfigError, match="did you mean val/bleu"):
        train(tmp_path, learner=learner, checkpoint={"monitor": "test/bleu"})
    with pytest.raises(ConfigError, match="it is not logged"):
        train(tmp_path, learner=learner, checkpoint={"monitor": "test/chrf"})
    assert learner.seen == []
    train(tmp_path, learner=learner, max_steps=1)


@pytest.mark.parametrize("of", ["last", "best"])
def test_average_of_checkpoints(of: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": {"average": AverageOptions(2, of)}}
    options |= {"val_check_interval": 3}
    train(tmp_path / "parts", kill_at=11, **options)
    _, keep, _ = train(tmp_path / "parts", **options)
    _, whole, _ = train(tmp_path / "whole", **options)
    snapshots = sorted((tmp_path / "parts/checkpoints").glob("snapshot_*"))
    assert len(snapshots) == 2
    weights = [load(path)["state_dict"]["net.0.weight"] for path in snapshots]
    average = load(keep.test_path)["state_dict"]["net.0.weight"]
    assert torch.allclose(average, (weights[0] + weights[1]) / 2, atol=1e-7)
    assert torch.equal(average, load(whole.test_path)["state_dict"]["net.0.weight"])


def test_average_of_checkpoints_is_one_of_the_weights_that_were_validated(tmp_path: Path) -> None:
    validated: list[torch.Tensor] = []

    class Spy(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            validated.append(next(pl_module.parameters()).detach().clone())

    _, keep, _ = train(
        tmp_path,
        callbacks=[Spy(), WeightAverage(decay=0.8)],
        checkpoint={"average": AverageOptions(2)},
    )
    average = load(keep.test_path)["state_dict"]["net.0.weight"]
    assert torch.allclose(average, (validated[-2] + validated[-1]) / 2, atol=1e-7)


def test_an_average_of_an_earlier_fit_is_not_used(tmp_path: Path) -> None:
    _, keep, _ = train(tmp_path, checkpoint={"average": AverageOptions(2)}, max_steps=14)
    assert keep.test_path == keep.average_path
    train(tmp_path, checkpoint={"average": AverageOptions(2)}, max_steps=21, kill_at=16)
    assert not keep.average_path.exists()
    assert keep.test_path == keep.best_path


def test_no_rank_goes_on_before_the_average_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    path = tmp_path / "checkpoints/average.ckpt"
    monkeypatch.setattr(
        SingleDeviceStrategy, "barrier", lambda *_, **__: found.append(path.exists())
    )
    train(tmp_path, checkpoint={"average": AverageOptions(2)}, max_steps=7)
    assert found[-1]


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_moving_average_cannot_be_left_out_on_resume(tmp_path: Path) -> None:
    train(tmp_path, callbacks=[WeightAverage(decay=0.9)], max_steps=4)
    with pytest.raises(ConfigError, match="ema_decay=null"):
        train(tmp_path, max_steps=6)


def test_moving_average_is_the_formula(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    class Spy(WeightAverage):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, *rest: Any
        ) -> None:
            super().on_train_batch_end(trainer, pl_module, *rest)
            seen.append(next(pl_module.parameters()).detach().clone())

    torch.manual_seed(1)
    expected = next(Learner().parameters()).detach().clone()
    learner, keep, _ = train(tmp_path, callbacks=[Spy(decay=0.8)])
    for number, weight in enumerate(seen, start=1):
        decay = min(0.8, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * weight
    saved = load(keep.last_path)
    assert torch.allclose(next(learner.parameters()), expected, atol=1e-6)
    assert torch.allclose(saved["state_dict"]["net.0.weight"], expected, atol=1e-6)
    assert torch.equal(saved["training_weights"]["net.0.weight"], seen[-1])


def test_throughput_counts_every_batch_once_over_a_kill(tmp_path: Path) -> None:
    train(tmp_path, callbacks=[Throughput()], kill_at=10)
    throughput = Throughput()
    train(tmp_path, callbacks=[throughput])
    assert throughput._total == {"examples": 42, "target_tokens": 84, "target_positions": 126}
    summary = throughput.summary()
    assert summary["train/padding_fraction"] == pytest.approx(1 / 3)
    assert summary["train/target_padding"] == pytest.approx(1 / 3)
    assert summary["train/target_tokens_per_s"] == pytest.approx(
        2 * summary["train/examples_per_s"]
    )
    assert "train/target_tokens_per_s" in read_metrics(tmp_path / "metrics.csv")[0]
    assert peak_memory_bytes() > 10_000_000


def test_progress_without_a_terminal_is_lines_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="seqloom")
    train(tmp_path, callbacks=[Throughput(), Progress(num_examples=0)], log_every_n_steps=7)
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("progress")]
    assert sum("padding 33.3%" in line for line in lines) == 3
    assert any("step 14/21" in line and "left" in line and "loss" in line for line in lines)
    assert sum("validation  loss" in line for line in lines) == 3


class Translator(Learner):
    """Says of the examples of a batch, as a bucketed loader gives them, the longest first."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        super().validation_step(batch, batch_idx)
        indices = [(4, 2), (0, 5), (3, 1)][batch_idx]
        return {"predictions": [Prediction(i, f"a [{i}]", "c", "d", 0.0, 1) for i in indices]}

    def count_batch(self, batch: torch.Tensor) -> dict[str, int]:
        return {**super().count_batch(batch), "source_tokens": 5, "source_positions": 8}


def test_progress_on_a_terminal_shows_a_bar_and_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    show = Progress(num_examples=3, console=console)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        log_every_n_steps=1,
        callbacks=[Throughput(), show],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader(torch.ones(6, 3), batch_size=2)  # type: ignore[arg-type]
    with log_file(tmp_path / "train.log"):
        trainer.fit(Translator(), data, data)
    state = r"step 3/3  loss \d+\.\d{3}  [\d,]+ tokens/s  padding 37\.5%/33\.3%  0:00:00 left"
    log = (tmp_path / "train.log").read_text()
    assert re.search(r"epoch 1 .*" + state, text.getvalue())
    assert len(re.findall(r"epoch 1  " + state, log)) == 1
    for shown in (text.getvalue(), log):
        assert re.findall(r"a \[\d\]", shown) == ["a [0]", "a [2]", "a [4]"]
        assert "step 3  validation  loss " in shown


def test_predictions_are_written_once_and_in_order(tmp_path: Path) -> None:
    class Translator(LightningModule):
        def test_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            return {
                "predictions": [
                    Prediction(int(i), f"\u00fc{int(i)}", "t", "p", -0.5, 3) for i in batch
                ]
            }

    writer = PredictionWriter(path=tmp_path / "predictions.jsonl")
    trainer = Trainer(
        accelerator="cpu", logger=False, callbacks=[writer], enable_progress_bar=False
    )
    batches = DataLoader(torch.tensor([4, 2, 0, 1, 3, 2]), batch_size=4)  # type: ignore[arg-type]
    trainer.test(Translator(), batches, verbose=False)
    lines = [json.loads(line) for line in writer.path.read_text("utf-8").splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 3, 4]
    assert lines[1]["input"] == "\u00fc1"
    assert {"input", "target", "prediction", "score"} <= lines[0].keys()
    assert [p.index for p in writer.predictions] == [0, 1, 2, 3, 4]
