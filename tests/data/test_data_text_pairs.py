"""The DataModules of text pairs: what they prepare, keep, refuse and hand out."""

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from data_fakes import RowRecorder
from lightning.pytorch import Trainer

from seqloom.data.batching import Bucketed, PaddedBatches
from seqloom.data.cldr_phrases import CldrPhrases
from seqloom.data.parallel_text import ParallelText
from seqloom.data.tokenizers import TokenizerOptions
from seqloom.errors import ConfigError, DataError
from seqloom.sequences import EOS_ID

# Lightning 2.6 beside torch 2.13.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

WORDS = ("the", "red", "house", "sees", "small", "rivers", "under", "every", "bridge")
OPTIONS = TokenizerOptions(kind="word", vocab_size=100)


def write_split(root: Path, stem: str, sources: list[str], targets: list[str]) -> None:
    root.mkdir(exist_ok=True)
    for language, lines in (("en", sources), ("de", targets)):
        (root / f"{stem}.{language}").write_text("".join(f"{line}\n" for line in lines))


def sentences(num: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(num)]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "text"
    for split, num in (("train", 60), ("val", 7), ("test", 9)):
        lines = sentences(num, seed=num)
        write_split(folder, split, lines, [line.upper() for line in reversed(lines)])
    return folder


def module(folder, **options):
    given = {
        "source_language": "en",
        "target_language": "de",
        "root": str(folder),
        "train": "train",
        "val": "val",
        "test": "test",
        "cache_dir": str(folder.parent / "cache"),
        "tokenizer": OPTIONS,
        "batching": Bucketed(batch_size=8),
    }
    return ParallelText(**(given | options))


def ready(root, **options):
    datamodule = module(root, **options)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def texts(loader, side="source_text"):
    """Lines of a split in their own order."""
    found = {}
    for batch in loader:
        found |= dict(zip(batch.index.tolist(), getattr(batch, side), strict=True))
    return [found[i] for i in range(len(found))]


def decoded(datamodule, loader):
    spec = datamodule.spec
    return sorted(
        (spec.source.tokenizer.decode(s.tolist()), spec.target.tokenizer.decode(t.tolist()))
        for batch in loader
        for s, t in zip(batch.source.to_list(), batch.target.to_list(), strict=True)
    )


def modified(cache):
    return {path: path.stat().st_mtime_ns for path in Path(cache).rglob("*") if path.is_file()}


def test_training_batches_hold_the_pairs_of_the_files(root):
    datamodule = ready(root)
    sources, targets = ((root / f"train.{name}").read_text().splitlines() for name in ("en", "de"))
    loader = datamodule.train_dataloader()
    assert decoded(datamodule, loader) == sorted(zip(sources, targets, strict=True))
    batch = next(iter(loader))
    assert batch.source_text == batch.target_text == ()
    assert (batch.target.values.gather(1, batch.target.lengths[:, None] - 1) == EOS_ID).all()


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_keeps_every_untouched_line(root, split):
    write_split(root, split, ["", "  two  ", "a" * 99, "x y z " * 9], ["", "\u00c4 b", "", "c"])
    datamodule = ready(root, lowercase=True, max_source_length=4, max_target_length=3)
    loader = getattr(datamodule, f"{split}_dataloader")()
    assert texts(loader) == (root / f"{split}.en").read_text().split("\n")[:-1]
    assert texts(loader, "target_text") == ["", "\u00c4 b", "", "c"]
    lengths = torch.cat([batch.source.lengths for batch in loader])
    assert lengths.min() == 1
    assert lengths.max() > 4


def test_truncation_shortens_sources_everywhere_and_targets_in_training(root):
    datamodule = ready(root, too_long="truncate", max_source_length=3, max_target_length=4)
    longest = {"train": (3, 4), "val": (3, 10)}
    for split, (source, target) in longest.items():
        for batch in getattr(datamodule, f"{split}_dataloader")():
            assert batch.source.lengths.max() <= source
            assert batch.target.lengths.max() <= target
            assert (batch.source.values.gather(1, batch.source.lengths[:, None] - 1) == 2).all()


def test_training_drops_long_and_empty_pairs_and_says_so_once_a_split(root, caplog):
    lines = ["a b c d", "a", "", "a b", "a b"]
    write_split(root, "train", lines, ["x", "x", "x", "", "x y z w"])
    with caplog.at_level(logging.INFO, logger="seqloom"):
        datamodule = ready(root, max_source_length=4, max_target_length=4)
        datamodule.setup("fit")
    assert decoded(datamodule, datamodule.train_dataloader()) == [("a", "x")]
    said = [record.getMessage() for record in caplog.records if "pairs" in record.getMessage()]
    assert said[0] == "train: 1 of 5 pairs, 2 empty (left out), 2 too long (left out)"
    assert len(said) == 3


def test_a_long_pair_can_be_an_error_that_names_it(root):
    write_split(root, "train", ["a", "a b c d"], ["x", "y"])
    with pytest.raises(DataError, match=r"data\.train, pair 2: .*5 source and 2 target tokens"):
        ready(root, too_long="error", max_source_length=4)


def test_the_header_of_a_table_is_no_pair(root):
    (root / "train.tsv").write_text("de\ten\nx\ta\ny\ta b c d\n")
    with pytest.raises(DataError, match=r"data\.train, pair 2: .*5 source and 2 target tokens"):
        ready(root, train="train.tsv", too_long="error", max_source_length=4)


def test_nothing_left_is_an_error(root):
    write_split(root, "train", ["a b"] * 60, ["x y"] * 60)
    with pytest.raises(DataError, match=r"data\.train: none of its 60 pairs is left"):
        ready(root, max_target_length=2)


def test_one_pair_a_split(root):
    for split in ("train", "val", "test"):
        write_split(root, split, ["hello"], ["x"])
    datamodule = ready(root)
    for split in ("train", "val", "test"):
        (batch,) = getattr(datamodule, f"{split}_dataloader")()
        assert batch.source.values.shape == (1, 2)


def test_num_takes_the_first_pairs(root):
    datamodule = ready(root, num_train=5, num_val=3, num_test=100)
    first = (root / "train.en").read_text().splitlines()[:5]
    assert [s for s, _ in decoded(datamodule, datamodule.train_dataloader())] == sorted(first)
    assert texts(datamodule.val_dataloader()) == (root / "val.en").read_text().splitlines()[:3]
    assert len(texts(datamodule.test_dataloader())) == 9


def test_a_second_start_writes_nothing(root):
    ready(root)
    before = modified(root.parent / "cache")
    again = ready(root, batching=PaddedBatches(batch_size=4), num_workers=0)
    assert modified(root.parent / "cache") == before
    assert len(list(again.train_dataloader())) == 15


@pytest.mark.parametrize(
    "options",
    [
        {"lowercase": True},
        {"normalization": "nfkc"},
        {"tokenizer": TokenizerOptions(kind="word", vocab_size=9)},
        {"tokenizer": TokenizerOptions(kind="word", vocab_size=100, shared=False)},
        {"max_source_length": 7},
        {"num_train": 50},
        {"source_language": "de", "target_language": "en"},
    ],
    ids=str,
)
def test_the_fingerprint_follows_every_option_that_shapes_the_data(root, options):
    assert module(root, **options).fingerprint != module(root).fingerprint


def test_the_fingerprint_follows_contents_and_not_times(root):
    before = module(root).fingerprint
    path = root / "val.de"
    path.write_text(path.read_text())
    assert module(root).fingerprint == before
    path.write_text(path.read_text().replace("THE", "TEH"))
    assert module(root).fingerprint != before
    ready(root)
    path.write_text(path.read_text().replace("TEH", "HET"))
    assert "HET" in " ".join(texts(ready(root).val_dataloader(), "target_text"))


class CountingText(ParallelText):
    """Counts how often the files of each split are hashed."""

    def fingerprint_parts(self, split):
        HASHED.append(split)
        return super().fingerprint_parts(split)


HASHED: list[str] = []


def test_a_run_hashes_its_sources_once(root):
    plain = module(root)
    datamodule = CountingText(
        source_language="en",
        target_language="de",
        root=str(root),
        train="train",
        val="val",
        test="test",
        cache_dir=str(root.parent / "cache"),
        tokenizer=OPTIONS,
        batching=Bucketed(batch_size=8),
    )
    HASHED.clear()
    for stage in ("fit", "test"):
        datamodule.prepare_data()
        datamodule.setup(stage)
        list(datamodule.test_dataloader())
    assert datamodule.fingerprint == plain.fingerprint
    assert sorted(HASHED) == ["test", "train", "val"]


@pytest.mark.parametrize("damage", ["truncate", "remove", "edit", "manifest", "interrupt"])
def test_a_damaged_cache_is_made_again(root, damage):
    expected = decoded(first := ready(root), first.train_dataloader())
    cache = root.parent / "cache"
    (train,) = cache.glob("train-*[!k]")
    (vocabulary,) = cache.glob("vocabulary-*/tokenizer.json")
    values = train / "source.values.npy"
    if damage == "truncate":
        values.write_bytes(values.read_bytes()[:-4])
    elif damage == "remove":
        values.unlink()
    elif damage == "edit":
        vocabulary.write_text(vocabulary.read_text().replace("house", "mouse"))
    elif damage == "manifest":
        (train / "manifest.json").write_text("{")
    else:
        train.rename(train.with_name(f"{train.name}.partial"))
    again = ready(root)
    assert decoded(again, again.train_dataloader()) == expected
    assert not list(cache.glob("*.partial"))


@pytest.mark.parametrize("shared", [True, False])
def test_a_vocabulary_is_saved_and_used_again_for_another_file(root, tmp_path, shared):
    options = TokenizerOptions(kind="word", vocab_size=100, shared=shared)
    first = ready(root, tokenizer=options)
    first.save_vocabulary(tmp_path / "vocabulary")
    assert first.spec.shared_vocabulary is shared
    other = tmp_path / "other"
    write_split(other, "test", ["the red mouse"], ["THE"])
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    datamodule = module(other, vocabulary_dir=tmp_path / "vocabulary")
    model = RowRecorder()
    model.weight = torch.nn.Parameter(torch.zeros(100, 4))
    trainer.test(model, datamodule=datamodule, verbose=False)
    assert model.tested == [[0]]
    assert datamodule.spec.shared_vocabulary is shared
    ids = datamodule.spec.source.tokenizer.encode("the red mouse")
    assert ids == first.spec.source.tokenizer.encode("the red mouse")


def test_bpe_dropout_cuts_training_anew_and_leaves_evaluation_alone(root):
    options = TokenizerOptions(kind="bpe", vocab_size=300, bpe_dropout=0.3)
    datamodule = ready(root, tokenizer=options, batching=Bucketed(max_tokens=300))
    loader, seen = datamodule.train_dataloader(), []
    for epoch in range(3):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader)
        for batch in batches:
            longest = max(batch.source.max_length, batch.target.max_length)
            assert len(batch.index) * longest <= 300
        assert decoded(datamodule, batches) == decoded(datamodule, loader)
        seen.append(sorted(str(row.tolist()) for b in batches for row in b.source.to_list()))
    assert seen[0] != seen[1] != seen[2]
    usual = ready(root, tokenizer=TokenizerOptions(kind="bpe", vocab_size=300))
    for one, other in zip(datamodule.val_dataloader(), usual.val_dataloader(), strict=True):
        assert torch.equal(one.source.values, other.source.values)
    assert datamodule.fingerprint != usual.fingerprint


class Place:
    """What a DataModule asks of a Trainer."""

    def __init__(self, rank, world_size):
        self.global_rank, self.world_size, self.current_epoch = rank, world_size, 0
        self.distributed_sampler_kwargs = None
        self.state = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False).state


def test_ranks_share_training_evenly_and_evaluation_exactly(root):
    world_size = 4
    loaders = []
    for rank in range(world_size):
        datamodule = ready(root)
        datamodule.trainer = Place(rank, world_size)
        loaders.append((datamodule.train_dataloader(), datamodule.val_dataloader()))
    assert [len(train) for train, _ in loaders] == [2] * world_size
    assert sorted(int(i) for _, val in loaders for b in val for i in b.index) == list(range(7))
    assert min(len(val) for _, val in loaders) == 1


def test_more_processes_than_batches_are_refused_and_than_pairs_evaluate_nothing(root):
    datamodule = ready(root)
    datamodule.trainer = Place(0, 9)
    with pytest.raises(ConfigError, match=r"trainer\.devices=9: .*fewer batches"):
        datamodule.train_dataloader()
    indices = []
    for rank in range(9):
        datamodule.trainer = Place(rank, 9)
        (batch,) = datamodule.val_dataloader()
        assert batch.is_empty == (rank >= 7)
        indices += batch.index.tolist()
    assert sorted(indices) == list(range(7))


def test_a_fit_goes_through_our_loaders_with_workers_and_ends_them(root):
    datamodule, model = module(root, num_workers=2), RowRecorder()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
    )
    trainer.fit(model, datamodule=datamodule)
    epochs = [model.rows[:8], model.rows[8:]]
    assert epochs[0] != epochs[1]
    for epoch in epochs:
        assert sorted(row for batch in epoch for row in batch) == list(range(60))
    assert torch.multiprocessing.active_children() == []


def test_padding_fractions_are_those_of_the_first_epoch(root):
    datamodule = ready(root)
    real, steps = np.zeros(2), np.zeros(2)
    for batch in datamodule.train_dataloader():
        sides = batch.source, batch.target
        real += [side.num_elements for side in sides]
        steps += [side.values.numel() for side in sides]
    expected = 1 - real / steps
    fractions = datamodule.padding_fractions()
    assert list(fractions) == ["train/source_padding", "train/target_padding"]
    np.testing.assert_allclose(list(fractions.values()), expected)


def test_a_prepared_split_holds_its_tokens_and_sixteen_bytes_a_pair(root):
    lines = sentences(3000, seed=0)
    write_split(root, "train", lines, lines)
    ready(root)
    (train,) = (root.parent / "cache").glob("train-*[!k]")
    num_tokens = 2 * sum(len(line.split()) for line in lines)
    arrays = sum(path.stat().st_size for path in train.glob("*.npy"))
    assert arrays <= 4 * num_tokens + 16 * (len(lines) + 1) + 4 * 128  # .npy headers
    facts = json.loads((train / "manifest.json").read_text())["facts"]
    assert facts == {"pairs": 3000, "too_long": 0, "empty": 0, "kept": 3000}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"root": None}, r"data\.root=null"),
        ({"preset": "multi40k"}, r"data\.preset=multi40k"),
        ({"download": True}, r"data\.download=true"),
        ({"test": None}, r"data\.test=null"),
        ({"too_long": "skip"}, r"data\.too_long=skip"),
        ({"max_source_length": 1}, r"data\.max_source_length=1"),
        ({"num_val": 0}, r"data\.num_val=0"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_work(root, options, why):
    with pytest.raises(ConfigError, match=why):
        module(root, **options)


def test_cldr_phrases_are_the_same_for_the_same_seed(tmp_path):
    def phrases(**options):
        given = {"num_train": 200, "num_val": 20, "num_test": 30, "seed": 1}
        datamodule = CldrPhrases(
            source_language="en",
            target_language="fr",
            cache_dir=str(tmp_path),
            tokenizer=TokenizerOptions(vocab_size=400),
            batching=Bucketed(batch_size=32),
            **(given | options),
        )
        datamodule.prepare_data()
        datamodule.setup()
        return datamodule

    one, same, other = phrases(), phrases(), phrases(seed=2)
    assert len(texts(one.test_dataloader())) == 30
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert texts(one.val_dataloader()) == texts(same.val_dataloader())
    assert texts(one.val_dataloader()) != texts(other.val_dataloader())
    with pytest.raises(ConfigError, match=r"data\.num_train=null"):
        phrases(num_train=None)


def test_multi30k_pads_little_on_both_sides(shared_data, tmp_path):
    datamodule = ParallelText(
        source_language="en",
        target_language="de",
        root=str(shared_data / "multi30k"),
        preset="multi30k",
        cache_dir=str(tmp_path),
        tokenizer=TokenizerOptions(vocab_size=10_000),
        batching=Bucketed(batch_size=64),
    )
    datamodule.prepare_data()
    datamodule.setup()
    fractions = datamodule.padding_fractions()
    assert fractions["train/source_padding"] <= 0.02
    assert fractions["train/target_padding"] <= 0.08
    assert len(texts(datamodule.test_dataloader())) == 1000
