"""Layers of a vocabulary on two processes are those of one: losses, gradients, looked-up rows."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs import sharded
from seqloom.layers.outputs.categorical import Categorical
from seqloom.layers.sharded_embedding import RowShard
from seqloom.strategies.vocabulary import make_whole, split_vocabulary

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

# Words: more than the processes divide, one each, and fewer than processes.
SIZES = (7, 64, 2, 1)


class Model(nn.Module):
    """Next words by an embedding alone."""

    def __init__(self, num_words: int, *, is_tied: bool) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(vocab_size=num_words, size=5)
        self.output = Categorical(
            input_size=5, output_size=num_words, embedding=self.embedding if is_tied else None
        )


class Shapes(TorchDispatchMode):
    """Notes the sizes of all tensors that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.sizes.update(tensor.shape)
        return made


def in_processes(function: Any, folder: Path) -> None:
    multiprocessing.start_processes(
        _enter, args=(function, str(folder / "store")), nprocs=2, start_method="spawn"
    )


def _enter(rank: int, function: Any, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    function()
    dist.destroy_process_group()


def a_pair(num_words: int, *, is_tied: bool) -> tuple[Model, Model, dict[str, RowShard]]:
    """A whole model and one in parts, of the same weights in float64."""
    torch.manual_seed(0)
    whole = Model(num_words, is_tied=is_tied).double()
    with torch.no_grad():
        whole.output.projection.bias.normal_()
    parts = copy.deepcopy(whole)
    return whole, parts, split_vocabulary(parts, init_device_mesh("cpu", (2,)))


def close(found: Any, expected: Any, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def independent_loss(
    model: Model, ids: Tensor, targets: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """The loss by torch's own functions, and looked-up rows."""
    rows = F.embedding(ids, model.embedding.weight) * 5**0.5
    hidden = rows.tanh() * model.output.scale
    scores = F.linear(hidden, model.output.projection.weight, model.output.projection.bias)
    loss = F.cross_entropy(scores, targets, label_smoothing=smoothing, reduction="sum")
    return loss, rows


def check_losses() -> None:
    for num_words in SIZES:
        for is_tied in (True, False):
            for smoothing in (0.0, 0.1):
                for num_rows in (9, 0):
                    _check_loss(num_words, num_rows, smoothing, is_tied=is_tied)


def _check_loss(num_words: int, num_rows: int, smoothing: float, *, is_tied: bool) -> None:
    whole, parts, shards = a_pair(num_words, is_tied=is_tied)
    sharded.ROWS_PER_PRODUCT = 4  # so that there are several chunks
    ids, targets = torch.randint(num_words, (2, num_rows))
    expected, rows = independent_loss(whole, ids, targets, smoothing)
    (expected * 3).backward()
    found_rows = parts.embedding(ids)
    found = parts.output.loss(found_rows.tanh(), targets, smoothing=smoothing)
    (found.loss * 3).backward()
    close(found_rows, rows, 1e-10)
    close(found.loss, expected, 1e-10)
    plain, _ = independent_loss(whole, ids, targets, 0.0)
    close(found.nll, plain.detach(), 1e-10)
    for (name, parameter), other in zip(whole.named_parameters(), parts.parameters(), strict=True):
        grad = parameter.grad
        assert grad is not None
        assert other.grad is not None
        close(shards[name].join(other.grad), grad, 1e-10)


def test_loss_and_gradients_of_word_shards_are_those_of_one_softmax(tmp_path: Path) -> None:
    in_processes(check_losses, tmp_path)


def check_logits() -> None:
    whole, parts, _ = a_pair(7, is_tied=True)
    hidden = torch.randn(2, 3, 5, dtype=torch.float64)
    both = [hidden.clone().requires_grad_() for _ in range(2)]
    expected, found = whole.output.logits(both[0]), parts.output.logits(both[1])
    close(found, expected, 1e-6)
    assert torch.equal(parts.output.predict(hidden), whole.output.predict(hidden))
    for logits in (expected, found):
        logits.square().sum().backward()
    close(both[1].grad, both[0].grad, 1e-5)


def test_logits_of_word_shards_are_whole_everywhere(tmp_path: Path) -> None:
    in_processes(check_logits, tmp_path)


def check_sizes() -> None:
    _, parts, _ = a_pair(64, is_tied=True)
    ids, targets = torch.randint(64, (2, 9))
    with Shapes() as shapes:
        loss = parts.output.loss(parts.embedding(ids), targets, smoothing=0.1)
        loss.loss.backward()
    assert 32 in shapes.sizes
    assert 64 not in shapes.sizes


def test_training_on_word_shards_makes_nothing_as_large_as_the_vocabulary(tmp_path: Path) -> None:
    in_processes(check_sizes, tmp_path)


def check_whole() -> None:
    whole, parts, shards = a_pair(7, is_tied=True)
    assert parts.embedding.weight is parts.output.projection.weight
    assert len(parts.embedding.weight) == (4 if dist.get_rank() == 0 else 3)
    assert shards.keys() == {
        "embedding.weight",
        "output.projection.weight",
        "output.projection.bias",
    }
    values = {name: shards[name].join(p.detach()) for name, p in parts.named_parameters()}
    make_whole(parts, values)
    assert [type(module) for module in parts.modules()] == [type(m) for m in whole.modules()]
    assert parts.embedding.weight is parts.output.projection.weight
    for name, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], value)


def test_word_shards_join_to_the_model_that_was_cut(tmp_path: Path) -> None:
    in_processes(check_whole, tmp_path)


def check_foreign() -> None:
    model = Model(7, is_tied=True)
    model.other = nn.Linear(5, 7)
    model.other.weight = model.embedding.weight
    assert split_vocabulary(model, init_device_mesh("cpu", (2,))) == {}
    assert type(model.embedding) is TokenEmbedding


def test_a_weight_that_another_layer_reads_is_not_cut(tmp_path: Path) -> None:
    in_processes(check_foreign, tmp_path)
