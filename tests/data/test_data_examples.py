"""Small data sets in memory: what their generators promise, and how examples become batches."""

import numpy as np
import pytest
import torch
from data_fakes import examples, loader, rows

from seqloom.data.batching import Bucketed, PaddedBatches
from seqloom.data.embedded import symbols
from seqloom.data.embedded.cldr_places import place_names
from seqloom.data.examples import ExampleDataset, Examples, Ragged
from seqloom.data.images import Digits
from seqloom.data.place_names import PlaceNames
from seqloom.data.spec import ClassSide, DataSpec, FeatureSide, TokenSide
from seqloom.data.synthetic import Adding, CopyMemory, Parity, Reverse
from seqloom.data.tokenizers import TokenizerOptions, train_tokenizer
from seqloom.data.vocabulary import load_spec, save_spec
from seqloom.data.windows import StreamBatches
from seqloom.errors import ConfigError, DataError
from seqloom.sequences import EOS_ID, UNK_ID

SPLITS = ("train", "val", "test")
BATCHING = PaddedBatches(batch_size=16)
SIZES = {"num_train": 300, "num_val": 40, "num_test": 50, "batching": BATCHING}
CHARACTERS = TokenizerOptions(kind="character", vocab_size=300, shared=False)
DEFAULTS = {
    Adding: {"num_steps": 9},
    CopyMemory: {"num_steps": 7, "num_symbols": 4},
    Reverse: {"min_length": 1, "max_length": 6, "num_symbols": 5},
    Parity: {"min_length": 1, "max_length": 12, "test_max_length": None},
    Digits: {"batching": BATCHING, "num_train": 300, "num_val": 40, "num_test": 50},
    PlaceNames: {"languages": ["de", "fi"], "tokenizer": CHARACTERS},
}
every_data = pytest.mark.parametrize("kind", DEFAULTS, ids=lambda kind: kind.__name__)


def ready(kind, **options):
    datamodule = kind(**(SIZES | DEFAULTS.get(kind, {}) | options))
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def same(one, other):
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))


@every_data
def test_the_seed_decides_everything(kind):
    one, again, other = ready(kind), ready(kind), ready(kind, seed=2)
    assert one.fingerprint == again.fingerprint != other.fingerprint
    for split in SPLITS:
        assert len(examples(one, split)) == one.num_examples[split]
        assert same(examples(one, split), examples(again, split))
        assert not same(examples(one, split), examples(other, split))


@every_data
def test_evaluation_carries_text_that_reads_back(kind):
    datamodule = ready(kind)
    batch = next(iter(loader(datamodule, "test")))
    for side, values, lines in (
        (datamodule.spec.source, batch.source, batch.source_text),
        (datamodule.spec.target, batch.target, batch.target_text),
    ):
        for value, line in zip(rows(values), lines, strict=True):
            read = side.parse(line)
            if isinstance(side, TokenSide):
                assert read.tolist() == value.tolist()[:-1] or UNK_ID in value
            else:
                assert torch.allclose(read.flatten(), value.flatten(), atol=1e-5)
    training = next(iter(loader(datamodule, "train")))
    assert training.source_text == training.target_text == ()
    assert training.continues is None


@every_data
def test_both_sides_are_saved_and_read_again(kind, tmp_path):
    datamodule = ready(kind)
    for folder in ("one", "two"):
        datamodule.save_vocabulary(tmp_path / folder)
    files = [sorted((tmp_path / folder).iterdir()) for folder in ("one", "two")]
    assert [path.name for path in files[0]] == ["source.json", "target.json"]
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()
    again = ready(kind, vocabulary_dir=tmp_path / "one")
    for side, other in (
        (datamodule.spec.source, again.spec.source),
        (datamodule.spec.target, again.spec.target),
    ):
        assert isinstance(side, TokenSide) or side == other
    assert same(examples(datamodule, "test"), examples(again, "test"))


@every_data
def test_a_batching_of_streams_is_refused(kind):
    with pytest.raises(ConfigError, match=r"batching: StreamBatches: .*batching=bucketed"):
        ready(kind, batching=StreamBatches(batch_size=2, window=3))


@pytest.mark.parametrize("kind", [Adding, CopyMemory, Reverse, Parity])
@pytest.mark.parametrize(
    ("options", "why"),
    [({"num_val": 0}, r"data\.num_val=0: is no"), ({"num_test": None}, r"data\.num_test=null")],
)
def test_how_many_examples_must_be_said(kind, options, why):
    with pytest.raises(ConfigError, match=why):
        ready(kind, **options)


def test_sums_are_those_of_two_marked_values_one_in_each_half():
    for num_steps in (2, 3, 9):
        datamodule = ready(Adding, num_steps=num_steps)
        for source, target in examples(datamodule, "train"):
            assert source.shape == (num_steps, 2)
            assert source.dtype == target.dtype == torch.float32
            values, markers = source.T.tolist()
            assert set(markers) <= {0.0, 1.0}
            assert all(0 <= value < 1 for value in values)
            marked = [i for i, marker in enumerate(markers) if marker]
            first, second = marked
            assert first < num_steps // 2 <= second
            assert target.item() == pytest.approx(values[first] + values[second], abs=1e-6)
    assert datamodule.padding_fractions() == {}


def test_markers_and_values_are_spread_evenly():
    places = np.concatenate(
        [source[:, 1].nonzero().flatten() for source, _ in examples(ready(Adding), "train")]
    )
    assert set(places.tolist()) == set(range(9))


def test_copy_memory_holds_symbols_over_the_blanks():
    datamodule = ready(CopyMemory, num_steps=7, num_symbols=4)
    assert datamodule.spec.source == datamodule.spec.target
    assert datamodule.spec.source.names == ("_", *"12345678", ":")
    for source, target in examples(datamodule, "train"):
        held = source[:4].tolist()
        assert set(held) <= set(range(1, 9))
        assert source.tolist() == [*held, *[0] * 6, 9, *[0] * 4]
        assert target.tolist() == [*[0] * 11, *held]
        assert len(source) == 7 + 2 * 4
    for source, target in examples(ready(CopyMemory, num_steps=1, num_symbols=2), "train"):
        assert source.tolist() == [*target[-2:], 9, 0, 0]
    with pytest.raises(ConfigError, match=r"data\.num_\w+=\d+: there are too few different"):
        ready(CopyMemory, num_symbols=1)


def test_reversal_is_reversed_behind_the_delimiter():
    datamodule = ready(Reverse, batching=Bucketed(batch_size=16))
    assert datamodule.spec.source.names == ("_", *"12345", ":")
    lengths = set()
    for source, target in examples(datamodule, "train"):
        length = len(source) // 2
        lengths.add(length)
        given = source[:length].tolist()
        assert source.tolist() == [*given, 6, *[0] * length]
        assert target.tolist() == [*[0] * (length + 1), *reversed(given)]
        assert set(given) <= {1, 2, 3, 4, 5}
    assert lengths == set(range(1, 7))
    assert set(datamodule.padding_fractions()) == {"train/source_padding", "train/target_padding"}


def test_parity_counts_ones():
    datamodule = ready(Parity, min_length=3, max_length=8, test_max_length=30)
    longest = {}
    for split in SPLITS:
        for source, target in examples(datamodule, split):
            assert int(source.sum()) % 2 == target
            assert len(source) >= 3
            longest[split] = max(longest.get(split, 0), len(source))
    assert longest == {"train": 8, "val": 8, "test": 30}
    assert set(datamodule.padding_fractions()) == {"train/source_padding"}


@pytest.mark.parametrize("kind", [CopyMemory, Reverse, Parity])
def test_splits_are_disjoint_whatever_the_seed(kind):
    data = [ready(kind, seed=seed) for seed in (1, 2)]
    texts = [
        {tuple(source.tolist()) for datamodule in data for source, _ in examples(datamodule, split)}
        for split in SPLITS
    ]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]


def test_the_split_of_a_sequence_does_not_depend_on_its_padding():
    rng = np.random.default_rng(0)
    drawn, lengths = symbols.random_sequences(
        200, rng, split="train", num_symbols=4, min_length=1, max_length=9
    )
    wider = np.pad(drawn, ((0, 0), (0, 5)))
    assert (symbols.split_of(wider, lengths) == symbols.split_of(drawn, lengths)).all()
    block = rng.integers(2, size=(20_000, 20))
    tenths = symbols.split_of(block, np.full(20_000, 20))
    shares = np.bincount(tenths.astype(int), minlength=10) / 20_000
    assert shares.min() > 0.09
    assert shares.max() < 0.11


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        (Adding, {"num_steps": 1}, r"data\.num_steps=1: .*write 2 or more"),
        (CopyMemory, {"num_steps": 0}, r"data\.num_steps=0"),
        (CopyMemory, {"num_symbols": 0}, r"data\.num_symbols=0"),
        (Reverse, {"min_length": 0}, r"data\.min_length=0"),
        (Reverse, {"max_length": 0}, r"data\.max_length=0"),
        (Reverse, {"num_symbols": 1}, r"data\.num_symbols=1"),
        (Parity, {"test_max_length": 0}, r"data\.test_max_length=0"),
        (Parity, {"max_length": 1}, r"data\.num_\w+=\d+: there are too few different"),
        (Digits, {"steps": "columns"}, r"data\.steps=columns: .*rows or pixels"),
        (PlaceNames, {"languages": []}, r"data\.languages=\[\]"),
        (PlaceNames, {"languages": ["de", "de"]}, r"data\.languages=\[de,de\]"),
        (PlaceNames, {"languages": ["klingon"]}, "klingon: CLDR has no language"),
        (
            PlaceNames,
            {"tokenizer": TokenizerOptions(kind="bpe", bpe_dropout=0.1)},
            r"tokenizer\.bpe_dropout",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(kind, options, why):
    with pytest.raises(ConfigError, match=why):
        ready(kind, **options)


def test_place_names_end_and_are_disjoint_across_languages():
    datamodule = ready(PlaceNames, num_train=None, num_val=None, num_test=None)
    spec = datamodule.spec
    assert spec.source == ClassSide(("de", "fi"))
    found = {split: set() for split in SPLITS}
    for split in SPLITS:
        for source, target in examples(datamodule, split):
            assert source.dtype == torch.int64
            assert source.shape == ()
            assert target[-1] == EOS_ID
            assert (target[:-1] > EOS_ID).all()
            name = spec.target.format(target)
            found[split].add(name)
            if split == "train":
                assert name in place_names(spec.source.format(source), "train")
    assert not found["train"] & found["test"]
    assert not found["train"] & found["val"]
    assert len(found["train"]) > 300 < 10 * len(found["test"])


def test_a_language_that_a_run_does_not_know_is_named(tmp_path):
    ready(PlaceNames).save_vocabulary(tmp_path)
    with pytest.raises(DataError, match=r"fr: is no class of this run; write one of de, fi"):
        ready(PlaceNames, languages=["fr"], vocabulary_dir=tmp_path)


def test_rows_of_any_length_are_padded_with_zeros():
    sequences = [np.arange(n * 2, dtype=np.float32).reshape(n, 2) + 1 for n in (3, 0, 1)]
    spec = DataSpec(source=FeatureSide(2), target=ClassSide(("a", "b")))
    data = ExampleDataset(
        Examples(Ragged.from_rows(sequences), np.array([0, 1, 1]), scale=0.5), spec, with_text=True
    )
    assert data.lengths(0).tolist() == [[3, 1], [0, 1], [1, 1]]
    batch = data[0, np.array([2, 0, 1, 2])]
    for row, index in zip(batch.source.to_list(), (2, 0, 1, 2), strict=True):
        np.testing.assert_array_equal(row, sequences[index] / 2)
    assert batch.source.values[0, 1:].eq(0).all()
    assert batch.target.tolist() == [1, 0, 1, 1]
    assert batch.target_text == ("b", "a", "b", "b")
    empty = data[0, np.array([1])]
    assert empty.source.values.shape == (1, 0, 2)


@pytest.mark.parametrize(
    "contents",
    [
        '{"kind": "classes"}',
        '{"kind": "classes", "names": [1]}',
        '{"kind": "features", "size": 0, "binary": false}',
        '{"kind": "features", "size": 2, "binary": 3}',
        '{"kind": "video"}',
        "{",
        "[]",
    ],
)
def test_a_damaged_side_is_named(tmp_path, contents):
    spec = DataSpec(source=FeatureSide(2, binary=True), target=ClassSide(("\u00e4", "b")))
    save_spec(spec, tmp_path)
    assert load_spec(tmp_path) == spec
    (tmp_path / "target.json").write_text(contents)
    with pytest.raises(DataError, match=r"target\.json: "):
        load_spec(tmp_path)
    (tmp_path / "target.json").unlink()
    with pytest.raises(DataError, match=r"target\.json: cannot be read"):
        load_spec(tmp_path)


def test_text_beside_classes_is_saved(tmp_path):
    tokenizer = train_tokenizer(["ab", "ba"], CHARACTERS)
    save_spec(DataSpec(source=TokenSide(tokenizer), target=ClassSide(("x",))), tmp_path)
    again = load_spec(tmp_path)
    assert again.source.parse("abba").tolist() == tokenizer.encode("abba")
    assert again.target == ClassSide(("x",))
    assert not again.shared_vocabulary
