"""Handwritten digits as sequences, from scikit-learn and from idx files."""

import gzip
import struct

import numpy as np
import pytest
import torch
from data_fakes import examples
from sklearn.datasets import load_digits

from seqloom.data.batching import PaddedBatches
from seqloom.data.embedded.digits import rows_of
from seqloom.data.images import Digits, Mnist
from seqloom.data.spec import ClassSide, FeatureSide
from seqloom.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")
BATCHING = PaddedBatches(batch_size=16)


def ready(kind, **options):
    datamodule = kind(**({"batching": BATCHING} | options))
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize("steps", ["rows", "pixels"])
def test_digits_are_those_of_scikit_learn(steps):
    datamodule = ready(Digits, steps=steps)
    known = load_digits()
    assert datamodule.spec.source == FeatureSide(8 if steps == "rows" else 1)
    assert datamodule.spec.target == ClassSide(tuple("0123456789"))
    seen = []
    for split in SPLITS:
        own = rows_of(known.target, split, seed=1)
        seen += own.tolist()
        for row, (source, target) in zip(own, examples(datamodule, split), strict=True):
            shape = (8, 8) if steps == "rows" else (64, 1)
            assert source.shape == shape
            np.testing.assert_allclose(source, known.images[row].reshape(shape) / 16, rtol=1e-6)
            assert target == known.target[row]
        shares = np.bincount(known.target[own]) / len(own)
        assert abs(shares - 0.1).max() < 0.01
    assert sorted(seen) == list(range(1797))


def test_permuted_pixels_are_the_same_pixels_in_one_order():
    plain, permuted = (ready(Digits, steps="pixels", permuted=flag) for flag in (False, True))
    order = permuted.permutation()
    assert sorted(order.tolist()) == list(range(64))
    assert order.tolist() != list(range(64))
    for split in SPLITS:
        pairs = zip(examples(plain, split), examples(permuted, split), strict=True)
        assert all(torch.equal(one[0][order], other[0]) for one, other in pairs)
    assert plain.fingerprint != permuted.fingerprint
    as_rows = ready(Digits, permuted=True)
    for one, other in zip(examples(as_rows, "val"), examples(permuted, "val"), strict=True):
        assert torch.equal(one[0].flatten(), other[0].flatten())


def idx(array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist_root(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for stem, number in (("train", 30), ("t10k", 12)):
        images = rng.integers(256, size=(number, 28, 28))
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(idx(np.arange(number) % 10))
        )
    return folder


def mnist(root, **options):
    sizes = {"num_train": None, "num_val": 10, "num_test": None}
    return ready(Mnist, root=str(root), **(sizes | options))


def test_the_last_training_pictures_are_for_validation(mnist_root):
    datamodule = mnist(mnist_root, num_train=15)
    data = (mnist_root / "train-images-idx3-ubyte").read_bytes()[16:]
    images = np.frombuffer(data, dtype=np.uint8).reshape(-1, 28, 28)
    for split, first, number in (("train", 0, 15), ("val", 20, 10), ("test", 0, 12)):
        found = examples(datamodule, split)
        assert [int(target) for _, target in found] == [(first + i) % 10 for i in range(number)]
        if split != "test":
            stacked = torch.stack([source for source, _ in found]).numpy()
            np.testing.assert_allclose(
                stacked, images[first : first + number] / np.float32(255), rtol=1e-6
            )
    assert datamodule.padding_fractions() == {}


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("train-images-idx3-ubyte", lambda b: b[:-1], r"its header says 23536; copy"),
        ("train-images-idx3-ubyte", lambda b: b + b"x", r"it has 23537 bytes"),
        ("train-images-idx3-ubyte", lambda b: b[:9], r"its header has 9 of 16 bytes"),
        ("train-images-idx3-ubyte", lambda b: b"", r"begins with nothing"),
        ("train-images-idx3-ubyte", lambda b: b"\x89PNG" + b, r"begins with 89504e47"),
        ("train-labels-idx1-ubyte.gz", lambda b: b[:-9], r"the gzip file is truncated"),
        (
            "train-labels-idx1-ubyte.gz",
            lambda b: gzip.compress(idx(np.zeros(29))),
            r"it has 29 labels, and train-images-idx3-ubyte 30 images",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            lambda b: gzip.compress(idx(np.full(30, 10))),
            r"a label is 10",
        ),
        (
            "train-images-idx3-ubyte",
            lambda b: idx(np.zeros((30, 8, 8))),
            r"8 x 8 pixels, not 28 x 28",
        ),
    ],
)
def test_a_damaged_picture_file_is_named(mnist_root, name, change, why):
    path = mnist_root / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=rf"{name}: .*{why}"):
        mnist(mnist_root)


def test_mnist_without_files_or_with_too_many_for_validation(mnist_root):
    with pytest.raises(ConfigError, match=r"data\.num_val=30: there are only 30 pictures"):
        mnist(mnist_root, num_val=30)
    with pytest.raises(ConfigError, match=r"data\.root=null"):
        Mnist(batching=BATCHING, root=None)
    (mnist_root / "t10k-images-idx3-ubyte").rename(mnist_root / "test-images-idx3-ubyte")
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte: no such file"):
        mnist(mnist_root)


def test_mnist_itself(shared_data):
    datamodule = ready(Mnist, root=str(shared_data / "mnist"), num_val=None)
    sizes = [len(datamodule._datasets[split].lengths(0)) for split in SPLITS]
    assert sizes == [55_000, 5000, 10_000]
    batch = next(iter(datamodule.train_dataloader()))
    assert batch.source.values.shape == (16, 28, 28)
    assert batch.source.values.max() == 1
