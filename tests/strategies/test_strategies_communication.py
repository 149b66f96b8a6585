"""Each way of exchanging gradients: what it computes against plain exchange, and what it sends
against what the model's size says.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from two_processes import (
    NUM_UPDATES,
    in_two_processes,
    logged,
    resume,
    train_two,
    weights_of,
)

from seqloom.errors import ConfigError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.strategies import Setting
from seqloom.strategies.communication import LocalCommunication, Traffic
from seqloom.strategies.data_parallel import DataParallel
from seqloom.strategies.sparse_rows import SparseRows, private_embeddings

TWO = Setting(torch.device("cpu"), num_devices=2)


def same_weights(run: Path, other: Path, tolerance: float = 0.0) -> bool:
    expected, found = weights_of(other), weights_of(run)
    assert expected.keys() == found.keys()
    return all(
        torch.allclose(found[name], value, rtol=tolerance, atol=tolerance)
        for name, value in expected.items()
    )


def model_bytes(run: Path) -> int:
    """Of all parameters, each once; the tied ones are saved under two names."""
    weights = {value.data_ptr(): value for value in weights_of(run).values()}
    return sum(4 * value.numel() for value in weights.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("communication")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return train_two(folder, "plain", "strategy=ddp")


processes = [pytest.mark.slow, pytest.mark.xdist_group("processes")]


class TestRuns:
    pytestmark = processes

    def test_plain_sends_every_gradient_once_an_update(self, plain: Path) -> None:
        steps = range(1, NUM_UPDATES + 1)
        assert logged(plain, "train/sent_bytes") == [model_bytes(plain) * step for step in steps]

    def test_accumulated_batches_are_sent_once(self, folder: Path, plain: Path) -> None:
        run = train_two(folder, "accumulated", "strategy=ddp", "trainer.accumulate_grad_batches=4")
        steps = range(1, NUM_UPDATES // 4 + 1)
        assert logged(run, "train/sent_bytes") == [model_bytes(plain) * step for step in steps]

    def test_buckets_and_a_static_graph_change_no_number(self, folder: Path, plain: Path) -> None:
        settings = ("strategy.bucket_size_mib=0.005", "strategy.static_graph=true")
        run = train_two(folder, "static", "strategy=ddp", *settings)
        assert same_weights(run, plain)
        assert logged(run, "train/sent_bytes") == logged(plain, "train/sent_bytes")

    def test_bf16_sends_half_and_rounds(self, folder: Path, plain: Path) -> None:
        run = train_two(folder, "bf16", "strategy=ddp", "strategy.communication=bf16")
        assert logged(run, "train/sent_bytes")[-1] * 2 == logged(plain, "train/sent_bytes")[-1]
        assert same_weights(run, plain, tolerance=1e-2)
        assert not same_weights(run, plain)

    def test_powersgd_is_plain_at_first_and_then_sends_less(
        self, folder: Path, plain: Path
    ) -> None:
        settings = ["communication=powersgd", "start_step=4", "powersgd_rank=1"]
        run = train_two(folder, "low", "strategy=ddp", *[f"strategy.{word}" for word in settings])
        sent, expected = logged(run, "train/sent_bytes"), logged(plain, "train/sent_bytes")
        assert sent[:4] == expected[:4]
        assert (sent[-1] - sent[3]) * 2 < expected[-1] - expected[3]
        losses, plain_losses = logged(run, "train/loss"), logged(plain, "train/loss")
        assert losses[:5] == plain_losses[:5]
        assert sum(losses[-4:]) < sum(losses[:4])
        assert not same_weights(run, plain)

    def test_powersgd_goes_on_after_two_updates_of_plain_exchange(
        self, folder: Path, plain: Path
    ) -> None:
        settings = ["communication=powersgd", "start_step=2", "powersgd_rank=1"]
        words = ["strategy=ddp", *[f"strategy.{word}" for word in settings]]
        run = train_two(folder, "resumed", *words, "trainer.max_epochs=1")
        resume(run, "trainer.max_epochs=2")
        sent = logged(run, "train/sent_bytes")
        assert len(sent) == NUM_UPDATES
        half = NUM_UPDATES // 2  # Counted anew from there on.
        assert sent[half:] == sent[:half]
        assert sent[1] == 2 * model_bytes(plain)
        assert sent[2] - sent[1] < model_bytes(plain) / 2

    def test_averaging_weights_at_every_update_is_averaging_gradients(
        self, folder: Path, plain: Path
    ) -> None:
        settings = ["communication=local_sgd", "start_step=0", "average_every_n_steps=1"]
        run = train_two(folder, "one", "strategy=ddp", *[f"strategy.{word}" for word in settings])
        assert same_weights(run, plain, tolerance=1e-6)
        assert logged(run, "train/loss") == pytest.approx(logged(plain, "train/loss"), rel=1e-5)

    def test_averaging_every_fourth_time_sends_a_quarter(self, folder: Path, plain: Path) -> None:
        settings = ["communication=local_sgd", "start_step=0", "average_every_n_steps=4"]
        run = train_two(folder, "four", "strategy=ddp", *[f"strategy.{word}" for word in settings])
        assert logged(run, "train/sent_bytes")[-1] * 4 == logged(plain, "train/sent_bytes")[-1]
        assert same_weights(run, plain, tolerance=1e-2)
        assert not same_weights(run, plain)

    def test_local_updates_resume_as_if_nothing_had_happened(self, folder: Path) -> None:
        words = ["communication=local_sgd", "start_step=2", "average_every_n_steps=3"]
        settings = ["strategy=ddp", "optimizer.momentum=0.9", *[f"strategy.{w}" for w in words]]
        whole = train_two(folder, "whole", *settings)
        parts = train_two(folder, "parts", *settings, "trainer.max_epochs=1")
        resume(parts, "trainer.max_epochs=2")
        assert same_weights(parts, whole)

    def test_rows_are_the_same_numbers_and_fewer(self, folder: Path, plain: Path) -> None:
        run = train_two(folder, "rows", "strategy=ddp", "strategy.sparse_embeddings=true")
        assert same_weights(run, plain)
        assert logged(run, "train/loss") == logged(plain, "train/loss")
        assert logged(run, "train/sent_bytes")[-1] < logged(plain, "train/sent_bytes")[-1]


def weights_and_moments_meet() -> None:
    rank = dist.get_rank()
    weight = nn.Parameter(torch.full((3, 2), float(rank)))
    idle = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight, idle], lr=0.1, weight_decay=0.0)
    traffic = Traffic()
    communication = LocalCommunication(traffic, start_step=1, period=2)
    own: list[Tensor] = []
    for update in range(3):  # The first is exchanged, the third is where processes meet.
        weight.grad = torch.full((3, 2), float(rank + update))
        optimizer.step()
        own = [weight.detach().clone(), optimizer.state[weight]["exp_avg"].clone()]
        communication.end_update([optimizer])
        assert traffic.num_bytes == (0 if update < 2 else 4 * (6 + 2 + 6 + 6))
    both = [torch.empty(2, 3, 2) for _ in own]
    for values, value in zip(both, own, strict=True):
        dist.all_gather_into_tensor(values.view(6, 2), value)
    torch.testing.assert_close(weight.detach(), both[0].mean(0))
    torch.testing.assert_close(optimizer.state[weight]["exp_avg"], both[1].mean(0))
    assert optimizer.state[weight]["step"] == 3
    communication.meet([optimizer])
    assert traffic.num_bytes == 80  # Nobody has moved since.


def rows_become_means() -> None:
    rank, traffic = dist.get_rank(), Traffic()
    torch.manual_seed(rank)
    weights = [nn.Parameter(torch.zeros(50, 4)) for _ in range(4)]
    rows = [[3, 0], [], range(50), None] if rank == 0 else [[3, 7, 49], [5], range(40), None]
    for weight, touched in zip(weights, rows, strict=True):
        if touched is not None:
            weight.grad = torch.zeros(50, 4)
            weight.grad[list(touched)] = torch.randn(len(touched), 4)
    if rank == 0:
        weights[1].grad = None  # A gradient that only the other process has.
    expected = []
    for weight in weights[:3]:
        mean = torch.zeros(50, 4) if weight.grad is None else weight.grad.clone()
        dist.all_reduce(mean)
        expected.append(mean / 2)
    SparseRows(list(weights), traffic).exchange()
    for weight, mean in zip(weights, expected, strict=False):
        assert weight.grad is not None
        assert torch.equal(weight.grad, mean)
    assert weights[3].grad is None
    # Counts; three rows and one row with their numbers; a whole table.
    assert traffic.num_bytes == 4 * 8 + 3 * (8 + 16) + 1 * (8 + 16) + 50 * 16


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("function", [weights_and_moments_meet, rows_become_means])
def test_two_processes_agree(function: object, tmp_path: Path) -> None:
    assert callable(function)
    in_two_processes(function, tmp_path / "store")


def test_only_embeddings_of_their_own_travel_as_rows() -> None:
    tied, own, frozen = (TokenEmbedding(vocab_size=5, size=3) for _ in range(3))
    output = nn.Linear(3, 5)
    output.weight = tied.weight
    frozen.weight.requires_grad = False
    table = nn.Embedding(5, 3)
    model = nn.ModuleDict(
        {"tied": tied, "own": own, "frozen": frozen, "output": output, "table": table}
    )
    found = private_embeddings(model)
    assert list(found) == ["own.weight", "table.weight"]
    assert found["own.weight"] is own.weight


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"communication": "fp8"}, "strategy.communication=fp8: it is unknown; use one of plain"),
        (
            {"communication": "powersgd", "start_step": 1},
            "strategy.start_step=1: powersgd needs 2 updates of plain exchange before it; write 2",
        ),
        ({"communication": "local_sgd", "start_step": -1}, "strategy.start_step=-1"),
        ({"average_every_n_steps": 0}, "strategy.average_every_n_steps=0: it is too small"),
        ({"powersgd_rank": 0}, "strategy.powersgd_rank=0"),
        ({"bucket_size_mib": 0.0}, "strategy.bucket_size_mib=0.0: it is not positive"),
        ({"timeout_s": -1.0}, "strategy.timeout_s=-1.0"),
        (
            {"communication": "local_sgd", "sparse_embeddings": True},
            "strategy.sparse_embeddings=true: local_sgd averages whole weights",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, str | int | float | bool], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(DataParallel(), **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (DataParallel(static_graph=True), {"num_accumulated": 2}, "strategy.static_graph=true"),
        (DataParallel(static_graph=True), {"has_idle_parameters": True}, "strategy.static_graph"),
        (
            DataParallel(communication="local_sgd"),
            {"averages_weights": True},
            "callbacks.ema_decay: under strategy=ddp with local_sgd no process",
        ),
    ],
)
def test_runs_that_cannot_be_are_refused(
    options: DataParallel, changes: dict[str, int | bool], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        options.for_run(dataclasses.replace(TWO, **changes))  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
