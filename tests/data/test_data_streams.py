"""Texts of language models: how they are read, encoded and handed out; see `windows` for plans."""

import gzip
import logging
import random
from itertools import chain

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from seqloom.data import python_library
from seqloom.data.batching import Bucketed
from seqloom.data.embedded import standard_library
from seqloom.data.python_library import PythonLibrary
from seqloom.data.text_file import TextFile
from seqloom.data.text_stream import StreamDataset, encoded, parts
from seqloom.data.tokenizers import TokenizerOptions, train_tokenizer
from seqloom.data.tokenizers.options import KINDS
from seqloom.data.windows import StreamBatches, WindowBatches
from seqloom.errors import ConfigError, DataError
from seqloom.sequences import UNK_ID

# Lightning 2.6 beside torch 2.13.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

CHARACTERS = TokenizerOptions(kind="character", vocab_size=300)
WORDS = [
    "while",
    "return",
    "lambda",
    "x",
    "y12",
    "\u00e9t\u00e9",
    "0.5",
    "(",
    ")",
    "=",
    "==",
    "#",
    "\t",
]


def code(num_lines: int, seed: int = 0) -> str:
    """Lines of words, some indented, some empty."""
    rng = random.Random(seed)
    lines = [" " * rng.choice((0, 0, 4)) + " ".join(rng.choices(WORDS, k=k)) for k in range(9)]
    return "".join(f"{rng.choice(lines)}\n" for _ in range(num_lines))


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_in_parts_is_encoded_as_a_whole(kind, monkeypatch):
    monkeypatch.setattr("seqloom.data.text_stream.PART_CHARACTERS", 40)
    text = "\n\n  " + code(60)
    assert len(list(parts(text))) > 10
    assert "".join(parts(text)) == text
    tokenizer = train_tokenizer(parts(text), TokenizerOptions(kind=kind, vocab_size=330))
    ids = np.concatenate(list(encoded(tokenizer, text)))
    assert ids.dtype == np.int32
    assert ids.tolist() == tokenizer.encode(text)
    if kind not in ("word", "whitespace"):
        assert tokenizer.decode(ids.tolist()) == text


def test_a_window_is_what_the_text_says():
    data = StreamDataset(np.arange(100, 120, dtype=np.int32))
    batch = data[0, np.array([[3, 4, 1], [10, 2, 0], [5, 0, 1]])]
    source, target = batch.pair()
    assert [row.tolist() for row in source.to_list()] == [[103, 104, 105, 106], [110, 111], []]
    assert [row.tolist() for row in target.to_list()] == [[104, 105, 106, 107], [111, 112], []]
    assert source.values[1].tolist() == [110, 111, 0, 0]
    assert source.values.dtype == target.values.dtype == torch.int64
    assert batch.index.tolist() == [3, 10, 5]
    assert batch.continues.tolist() == [True, False, True]
    assert batch.source_text == batch.target_text == ()
    assert data[0, np.array([[3, 4]])].continues is None


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "train.txt").write_text(code(80), encoding="utf-8", newline="")
    (folder / "val.txt.gz").write_bytes(gzip.compress(code(20, seed=1).encode()))
    return folder


def module(folder, **options):
    given = {
        "root": str(folder),
        "train": "train",
        "val": "val",
        "cache_dir": str(folder.parent / "cache"),
        "tokenizer": CHARACTERS,
        "batching": StreamBatches(batch_size=4, window=16),
    }
    return TextFile(**(given | options))


def ready(folder, **options):
    datamodule = module(folder, **options)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_the_windows_of_a_row_are_the_text(root):
    datamodule = ready(root)
    rows = [[], [], [], []]
    for batch in datamodule.train_dataloader():
        for row, values in zip(rows, batch.source.to_list(), strict=True):
            row += values.tolist()
    last = batch.target.to_list()[-1][-1:].tolist() or []
    text = datamodule.spec.target.format(torch.tensor([*chain(*rows), *last]))
    assert text in (root / "train.txt").read_text()
    assert len(text) in (len(code(80)), len(code(80)) - 1)
    assert datamodule.spec.shared_vocabulary
    assert datamodule.padding_fractions() == {}


def test_an_evaluation_covers_the_text_with_any_tokenizer(root):
    for kind in ("character", "bpe"):
        datamodule = ready(root, tokenizer=TokenizerOptions(kind=kind, vocab_size=300))
        found = {}
        for batch in datamodule.val_dataloader():
            for begin, row in zip(batch.index.tolist(), batch.target.to_list(), strict=True):
                found |= {begin + i: token for i, token in enumerate(row.tolist())}
        ids = [found[i] for i in range(len(found))]
        text = code(20, seed=1)
        assert ids == datamodule.spec.target.tokenizer.encode(text)[1:]


def test_one_file_is_divided_and_tested_on_its_validation_part(root, caplog):
    with caplog.at_level(logging.INFO, logger="seqloom"):
        datamodule = ready(root, train=None, val=None, path="train")
    text = code(80)
    end = int(len(text) * 0.9)
    assert datamodule.read("train") == text[:end]
    assert datamodule.read("val") == datamodule.read("test") == text[end:]
    assert "data.test=null: the validation text is the test text" in caplog.messages
    val, test = (
        [batch.target.values.tolist() for batch in loader]
        for loader in (datamodule.val_dataloader(), datamodule.test_dataloader())
    )
    assert val == test
    absolute = module(root, root=None, train=None, val=None, path=str(root / "train.txt"))
    assert absolute.fingerprint == datamodule.fingerprint


def test_num_is_characters_and_the_cache_is_found_again(root):
    datamodule = ready(root, num_train=500, num_val=40)
    cache = root.parent / "cache"
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    again = ready(root, num_train=500, num_val=40, batching=WindowBatches(batch_size=2, window=9))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")} == before
    assert sum(len(b.index) for b in again.train_dataloader()) == -(-499 // 9)
    assert sum(b.target.num_elements for b in again.val_dataloader()) == 39
    assert datamodule.fingerprint == again.fingerprint != module(root).fingerprint


def test_a_byte_order_mark_is_dropped_and_line_ends_are_kept(root):
    (root / "train.txt").write_bytes(b"\xef\xbb\xbfab\r\n" + b"c\n" * 99)
    assert module(root).read("train") == "ab\r\n" + "c\n" * 99


def test_a_name_may_have_any_ending(root):
    (root / "wiki.train.tokens").write_text(" = Title = \n The <unk> said \n" * 30)
    datamodule = ready(
        root, train="wiki.train.tokens", tokenizer=TokenizerOptions(kind="word", vocab_size=99)
    )
    ids = datamodule.spec.source.tokenizer.encode("The said \n The")
    assert 3 not in ids


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (b"", r"train\.txt: the file is empty"),
        (b"\xef\xbb\xbf", r"train\.txt: the file is empty"),
        (b"good\nline \xff bad\n", r"train\.txt:2: byte 0xff is not UTF-8"),
        (b"a", r"data\.train: the text has 1 tokens"),
    ],
)
def test_a_file_that_cannot_be_is_named(root, contents, why):
    (root / "train.txt").write_bytes(contents)
    with pytest.raises(DataError, match=why):
        ready(root)


def test_a_damaged_archive_and_a_missing_file_are_named(root):
    (root / "val.txt.gz").write_bytes((root / "val.txt.gz").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"val\.txt\.gz: the gzip file is truncated"):
        ready(root)
    with pytest.raises(DataError, match=r"trian: no such file.*nearest name is train\.txt"):
        ready(root, train="trian")
    with pytest.raises(DataError, match="no such file"):
        ready(root / "nowhere")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"train": None}, r"data\.train=null: .*no file"),
        ({"val": None}, r"data\.val=null: .*no file"),
        ({"root": None}, r"data\.root=null"),
        ({"path": "train"}, r"data\.path=train: one file for all"),
        ({"num_test": 0}, r"data\.num_test=0"),
        ({"batching": Bucketed(batch_size=4)}, r"batching: Bucketed: .*batching=stream"),
        (
            {"tokenizer": TokenizerOptions(kind="bpe", bpe_dropout=0.1)},
            r"tokenizer\.bpe_dropout=0\.1",
        ),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_work(root, options, why):
    with pytest.raises(ConfigError, match=why):
        module(root, **options)


def test_a_run_reads_another_text_with_its_own_vocabulary(root, tmp_path):
    ready(root).save_vocabulary(tmp_path / "vocabulary")
    assert [path.name for path in (tmp_path / "vocabulary").iterdir()] == ["tokenizer.json"]
    (root / "other.txt").write_text("while x", encoding="utf-8")
    datamodule = module(
        root, train=None, val=None, test="other", vocabulary_dir=tmp_path / "vocabulary"
    )
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    model = StreamRecorder()
    trainer.test(model, datamodule=datamodule, verbose=False)
    assert sum(model.lengths) == len("while x") - 1


class StreamRecorder(LightningModule):
    """Carries a number through the windows, and learns from it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 300))
        self.lengths: list[int] = []
        self.batches: list[tuple] = []

    def training_step(self, batch, batch_idx):
        source, target = batch.pair()
        self.batches.append((batch.index.tolist(), batch.continues.tolist()))
        values = self.weight[source.values] * self.weight[target.values].tanh()
        return (values[source.mask()] - 1).square().mean()

    def validation_step(self, batch, batch_idx):
        pass

    def test_step(self, batch, batch_idx):
        self.lengths.append(batch.pair()[0].num_elements)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def fit(datamodule, folder, *, max_steps, ckpt_path=None):
    model = StreamRecorder()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
        callbacks=[SaveAt(11, folder)],
    )
    trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
    return model


class SaveAt(Callback):
    """Saves after one batch."""

    def __init__(self, step, folder):
        self.step, self.folder = step, folder

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.folder / "middle.ckpt")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_stream_repeats_an_undisturbed_one(root, tmp_path, num_workers):
    def data():
        return module(
            root,
            num_train=600,
            num_workers=num_workers,
            batching=StreamBatches(batch_size=4, window=16, shift=True),
        )

    whole = fit(data(), tmp_path, max_steps=25)
    resumed = fit(data(), tmp_path, max_steps=25, ckpt_path=tmp_path / "middle.ckpt")
    assert resumed.batches == whole.batches[11:]
    assert torch.equal(resumed.weight, whole.weight)
    starts = [i for i, (_, continues) in enumerate(whole.batches) if not any(continues)]
    assert starts == [0, 10, 20]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_own_rows_of_the_text(root, world_size):
    class Place:
        def __init__(self, rank):
            self.global_rank, self.world_size, self.current_epoch = rank, world_size, 0
            self.distributed_sampler_kwargs = None
            self.state = Trainer(accelerator="cpu", logger=False).state

    steps, counts = [], []
    for rank in range(world_size):
        datamodule = ready(root)
        datamodule.trainer = Place(rank)
        loader = datamodule.train_dataloader()
        counts.append(len(loader))
        assert len(loader) == len(list(loader))
        for batch in datamodule.val_dataloader():
            for begin, length in zip(batch.index.tolist(), batch.target.lengths, strict=True):
                steps += range(begin, begin + int(length))
    assert len(set(counts)) == 1
    assert sorted(steps) == list(range(len(code(20, seed=1)) - 1))


@pytest.fixture
def small_library(tmp_path, monkeypatch):
    folder = tmp_path / "lib"
    for number in range(60):
        path = folder / ("pkg" if number % 2 else "test") / f"m{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"x = {number}".encode() + (b"\xff" if number == 7 else b""))
    paths = {"stdlib": str(folder)}
    monkeypatch.setattr(standard_library.sysconfig, "get_paths", lambda: paths)
    standard_library.library_text.cache_clear()
    yield folder
    standard_library.library_text.cache_clear()


def test_the_library_is_divided_by_file_without_tests(small_library):
    texts = {split: standard_library.library_text(split) for split in ("train", "val", "test")}
    lines = {split: set(text.splitlines()) for split, text in texts.items()}
    numbers = set(range(1, 60, 2)) - {7}
    assert set.union(*lines.values()) == {f"x = {number}" for number in numbers}
    assert sum(map(len, lines.values())) == len(numbers)
    assert len(lines["train"]) > 20


def test_the_library_is_a_text_of_so_many_characters(tmp_path):
    datamodule = PythonLibrary(
        tokenizer=CHARACTERS,
        batching=StreamBatches(batch_size=4, window=32),
        num_train=20_000,
        num_val=2000,
        num_test=2000,
        cache_dir=str(tmp_path),
    )
    datamodule.prepare_data()
    datamodule.setup()
    assert sum(batch.target.num_elements for batch in datamodule.test_dataloader()) == 1999
    many = python_library.PythonLibrary(
        tokenizer=CHARACTERS, batching=datamodule.batching, num_train=10**9
    )
    with pytest.raises(ConfigError, match=r"data\.num_train=1000000000: .*characters in this"):
        many.prepare_data()


def test_tiny_shakespeare_comes_back_character_by_character(shared_data, tmp_path):
    datamodule = TextFile(
        path=str(shared_data / "tinyshakespeare" / "input.txt"),
        cache_dir=str(tmp_path),
        tokenizer=CHARACTERS,
        batching=StreamBatches(batch_size=1, window=1000),
    )
    datamodule.prepare_data()
    datamodule.setup()
    text = (shared_data / "tinyshakespeare" / "input.txt").read_text()
    assert datamodule.spec.source.vocab_size == 65 + 4
    ids = torch.cat([batch.target.values[0] for batch in datamodule.train_dataloader()])
    assert text[1 : int(len(text) * 0.9)] == datamodule.spec.target.format(ids)


def test_wikitext_has_the_tokens_of_its_literature(shared_data, tmp_path):
    datamodule = TextFile(
        root=str(shared_data / "wikitext2"),
        train="valid",
        val="test",
        cache_dir=str(tmp_path),
        tokenizer=TokenizerOptions(kind="whitespace", vocab_size=50_000),
        batching=StreamBatches(batch_size=1, window=1000),
    )
    datamodule.prepare_data()
    datamodule.setup()
    # 245,569 words and ends of lines; the space in front of the text adds a token and the first
    # one is not written.
    num_written = sum(batch.target.num_elements for batch in datamodule.val_dataloader())
    assert num_written == 245_569
    side = datamodule.spec.source
    assert UNK_ID not in side.parse(" the <unk> of \n the")
    assert side.format(side.parse(" the <unk> of \n the")) == " the <unk> of \n the"
