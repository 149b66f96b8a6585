"""`TextStream`: the DataModule of language models, one long text a split; its subclasses say where
the text comes from.

The one idea: a split is one array of ids on disk, exactly what its tokenizer makes of the whole
text, and a batch is windows of it: source the ids of steps, target the ids one further. Ends of
lines are characters like others; for words they are a token of their own. What does not fit the
vocabulary is the unknown symbol. The price: each start reads the texts, to see whether they have
changed. Refuses BPE dropout, since a text is cut once.
"""

from __future__ import annotations

import hashlib
import logging
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from seqloom.data import cache
from seqloom.data.batch import Batch
from seqloom.data.batching import Batches
from seqloom.data.loader import Key
from seqloom.data.prepared import PreparedData
from seqloom.data.spec import DataSpec, TokenSide
from seqloom.data.tokenizers import Tokenizer, TokenizerOptions, train_tokenizer
from seqloom.data.vocabulary import save_spec
from seqloom.data.windows import Windowing
from seqloom.errors import ConfigError, DataError
from seqloom.sequences import PAD_ID, Padded

_log = logging.getLogger(__name__)

# Between two words that touch the end of a line no tokenizer joins anything.
SAFE_CUT = re.compile(r"(?<=\S)\n(?=\S)")
PART_CHARACTERS = 1 << 16
PARTS_AT_ONCE = 64


class StreamDataset:
    """Windows of one array of ids; an item is a whole batch, asked for by its spans (`windows`).

    Args:
        ids: [N] int32, N at least 2.
    """

    def __init__(self, ids: np.ndarray) -> None:
        self._ids = ids

    @property
    def num_tokens(self) -> int:
        return len(self._ids)

    def __getitem__(self, key: Key) -> Batch:
        """Source and target [B, T] int64; `index` is the first step of each window."""
        _, spans = key
        begins, lengths = spans[:, 0], spans[:, 1]
        steps = np.arange(lengths.max())
        is_real = steps < lengths[:, None]
        places = (begins[:, None] + steps) % (len(self._ids) - 1)
        source, target = (
            Padded(
                torch.from_numpy(np.where(is_real, self._ids[at], PAD_ID).astype(np.int64)),
                torch.from_numpy(lengths.astype(np.int64)),
            )
            for at in (places, places + 1)
        )
        continues = torch.from_numpy(spans[:, 2] > 0) if spans.shape[1] > 2 else None
        index = torch.from_numpy(begins.astype(np.int64))
        return Batch(index, source, target, continues=continues)


class TextStream(PreparedData):
    """One long text a split, as windows of ids.

    Args:
        tokenizer: what to train on the training text.
        batching: how a text becomes windows.
        num_train, num_val, num_test: at most so many characters, the first ones; None: all.

    The others are those of `PreparedData`.
    """

    cut_by = Windowing

    def __init__(
        self,
        *,
        tokenizer: TokenizerOptions,
        batching: Windowing,
        num_train: int | None = None,
        num_val: int | None = None,
        num_test: int | None = None,
        seed: int = 1,
        num_workers: int = 0,
        cache_dir: str | None = None,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            cache_dir=cache_dir,
            vocabulary_dir=vocabulary_dir,
        )
        if tokenizer.bpe_dropout:
            raise ConfigError(
                f"tokenizer.bpe_dropout={tokenizer.bpe_dropout}",
                "a stream of text is cut once",
                "write tokenizer.bpe_dropout=0",
            )
        self.tokenizer = tokenizer
        self._digests: dict[str, str] = {}
        self._streams: dict[str, StreamDataset] = {}

    @abstractmethod
    def read(self, split: str) -> str:
        """The text of `split` (train, val or test)."""

    def vocabulary_parts(self) -> dict[str, object]:
        """See `PreparedData.vocabulary_parts`."""
        return {"options": asdict(self.tokenizer), "text": self._digest("train")}

    def split_parts(self, split: str) -> dict[str, object]:
        """See `PreparedData.split_parts`."""
        return {"text": self._digest(split)}

    def make_vocabulary(self, folder: Path) -> cache.Facts:
        """See `PreparedData.make_vocabulary`."""
        side = TokenSide(train_tokenizer(parts(self._text("train")), self.tokenizer))
        save_spec(DataSpec(source=side, target=side, shared_vocabulary=True), folder)
        return {"tokens": side.vocab_size}

    def make_split(self, split: str, folder: Path, spec: DataSpec) -> cache.Facts:
        """See `PreparedData.make_split`."""
        source, _ = spec.tokens()
        text = self._text(split)
        ids = np.concatenate([*encoded(source.tokenizer, text)])
        if len(ids) < 2:
            raise DataError(
                f"data.{split}",
                f"the text has {len(ids)} tokens, and the first is never written",
                "give more text",
            )
        np.save(folder / "ids.npy", ids, allow_pickle=False)
        return {"characters": len(text), "tokens": len(ids)}

    def load_split(self, split: str, folder: Path) -> StreamDataset:
        """See `PreparedData.load_split`."""
        facts = cache.facts_of(folder)
        _log.info("%s: %d tokens of %d characters", split, facts["tokens"], facts["characters"])
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
        self._streams[split] = StreamDataset(ids)
        return self._streams[split]

    def training_plan(self, world_size: int) -> Callable[[int], Batches]:
        """See `SequenceData.training_plan`."""
        assert isinstance(self.batching, Windowing)
        cut, num_tokens, seed = self.batching, self._streams["train"].num_tokens, self.seed
        return lambda epoch: cut.spans(num_tokens, seed=seed, epoch=epoch, world_size=world_size)

    def evaluation_plan(self, split: str, world_size: int) -> Batches:
        """See `SequenceData.evaluation_plan`."""
        assert isinstance(self.batching, Windowing)
        num_tokens = self._streams[split].num_tokens
        return self.batching.evaluation_spans(num_tokens, world_size=world_size)

    def padding_fractions(self) -> dict[str, float]:
        """Nothing: only the last windows of an epoch may be padded, by a step."""
        return {}

    def _text(self, split: str) -> str:
        return self.read(split)[: self.num_examples[split]]

    def _digest(self, split: str) -> str:
        if split not in self._digests:
            self._digests[split] = hashlib.sha256(self._text(split).encode()).hexdigest()
        return self._digests[split]


def parts(text: str) -> Iterator[str]:
    """The text in parts of about `PART_CHARACTERS`, cut only where no tokenizer joins anything;
    each but the first begins with the end of a line.
    """
    begin = 0
    while begin < len(text):
        cut = SAFE_CUT.search(text, begin + PART_CHARACTERS)
        end = cut.start() if cut else len(text)
        yield text[begin:end]
        begin = end


def encoded(tokenizer: Tokenizer, text: str) -> Iterator[np.ndarray]:
    """`tokenizer.encode(text)` in int32 arrays one after the other, without holding all of what
    the tokenizer makes on its way.
    """
    # A tokenizer may treat the beginning of a text in its own way (words get a space in front), so
    # each later part is encoded behind a word, whose ids are left out again.
    stand_in, pieces = "a", parts(text)
    num_left_out = len(tokenizer.encode(stand_in))
    yield np.array(tokenizer.encode(next(pieces, "")), dtype=np.int32)
    while batch := [f"{stand_in}{part}" for part in islice(pieces, PARTS_AT_ONCE)]:
        for ids in tokenizer.encode_batch(batch):
            yield np.array(ids[num_left_out:], dtype=np.int32)
