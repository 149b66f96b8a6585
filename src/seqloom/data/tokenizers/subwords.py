"""Subword tokenisers over the bytes of words: BPE and unigram.

The pieces are byte strings and all 256 bytes are pieces, so that every text has ids and comes back
exactly; the price is that a character outside the training texts costs one to four ids. Training
gives a list of pieces; the `tokenizers` library only searches the segmentation, and knows no
special token by a name that a text could spell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.pre_tokenizers import Sequence as Chain
from tokenizers.trainers import BpeTrainer

from seqloom.data.tokenizers import text as text_forms
from seqloom.data.tokenizers.base import SPECIAL_TOKENS, UNK_ID
from seqloom.data.tokenizers.files import write_tokenizer
from seqloom.data.tokenizers.options import NUM_BYTES, TokenizerOptions

NUM_SPECIAL = len(SPECIAL_TOKENS)


def _byte_letters() -> list[str]:
    """The printable character by which the library writes each byte (none of them a space)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(NUM_BYTES) if byte not in visible]
    letters = {byte: chr(byte) for byte in visible}
    letters |= {byte: chr(NUM_BYTES + number) for number, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(NUM_BYTES)]


BYTE_LETTERS = _byte_letters()
BYTE_OF_LETTER = {letter: byte for byte, letter in enumerate(BYTE_LETTERS)}
SINGLE_BYTES = [bytes([byte]) for byte in range(NUM_BYTES)]
# A space is no byte letter: these names cannot come from a text.
SPECIAL_NAMES = [f" {token}" for token in SPECIAL_TOKENS]


def to_letters(piece: bytes) -> str:
    return "".join(BYTE_LETTERS[byte] for byte in piece)


def from_letters(letters: str) -> bytes:
    """Undoes `to_letters`; KeyError for a character that stands for no byte."""
    return bytes(BYTE_OF_LETTER[letter] for letter in letters)


def _library_tokenizer(model: Any) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = Chain(
        [text_forms.WORD_SPLIT, ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return library


class SubwordTokenizer:
    """What BPE and unigram share: ids are 4 special ones, 256 bytes in order, then the longer
    pieces.

    Args:
        options: how texts are normalised, and what to write into the file.
        longer_pieces: the pieces of more than one byte, in the order of their ids.
        model: the library's model over `library_vocabulary(longer_pieces)`.
    """

    def __init__(
        self, *, options: TokenizerOptions, longer_pieces: Sequence[bytes], model: Any
    ) -> None:
        self.options = options
        nothing = [b""] * NUM_SPECIAL
        nothing[UNK_ID] = SPECIAL_TOKENS[UNK_ID].encode()
        self._bytes = [*nothing, *SINGLE_BYTES, *longer_pieces]
        self._library = _library_tokenizer(model)

    @property
    def vocab_size(self) -> int:
        return len(self._bytes)

    def normalize(self, text: str) -> str:
        return text_forms.normalized(text, self.options)

    def words(self, text: str) -> list[str]:
        """The words of the normalised text, as they are segmented one by one."""
        return text_forms.split_words(self._marked(text))

    def encode(self, text: str) -> list[int]:
        return self._library.encode(self._marked(text)).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._library.encode_batch_fast([self._marked(text) for text in texts])
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        # A model may write bytes that are no UTF-8; they read as the replacement character.
        text = b"".join([self._bytes[index] for index in ids]).decode(errors="replace")
        return text_forms.unmarked(text)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [
            SPECIAL_TOKENS[index]
            if index < NUM_SPECIAL
            else self._bytes[index]
            .decode(errors="backslashreplace")
            .replace(" ", text_forms.VISIBLE_SPACE)
            for index in ids
        ]

    def _marked(self, text: str) -> str:
        return text_forms.marked(self.normalize(text))


def library_vocabulary(longer_pieces: Iterable[bytes]) -> list[str]:
    """Every id's name in the library."""
    return [*SPECIAL_NAMES, *BYTE_LETTERS, *map(to_letters, longer_pieces)]


class BpeTokenizer(SubwordTokenizer):
    """Byte-pair encoding (Sennrich et al. 2016): pairs of pieces are merged in the order they were
    learnt.

    Args:
        options: of kind bpe.
        merges: pairs of pieces, first learnt first; ValueError where a pair uses a piece that is
            not yet there.
    """

    def __init__(self, *, options: TokenizerOptions, merges: Sequence[tuple[bytes, bytes]]) -> None:
        ids = {piece: NUM_SPECIAL + byte for byte, piece in enumerate(SINGLE_BYTES)}
        table = []
        for left, right in merges:
            if left not in ids or right not in ids:
                raise ValueError("a merge of pieces that no merge before it makes")
            result = ids.setdefault(left + right, NUM_SPECIAL + len(ids))
            table.append((ids[left], ids[right], result))
        if len(set(merges)) < len(merges):
            raise ValueError("a merge stands there twice")
        longer = list(ids)[NUM_BYTES:]
        names = {name: index for index, name in enumerate(library_vocabulary(longer))}
        letters = [(to_letters(left), to_letters(right)) for left, right in merges]
        super().__init__(options=options, longer_pieces=longer, model=BPE(names, letters))
        self._letters = letters
        self._table = np.array(table, dtype=np.int32).reshape(-1, 3)

    @property
    def merges(self) -> np.ndarray:
        """[M, 3] int32, by rank: left id, right id and the id they become."""
        return self._table

    def save(self, path: Path) -> None:
        write_tokenizer(path, self.options, {"merges": self._letters})


class UnigramTokenizer(SubwordTokenizer):
    """The most probable segmentation under a unigram model of pieces (Kudo 2018).

    Args:
        options: of kind unigram.
        pieces: longer pieces, in the order of their ids, each once.
        scores: log probabilities, of the 256 bytes in order and then of `pieces`.
    """

    def __init__(
        self, *, options: TokenizerOptions, pieces: Sequence[bytes], scores: Sequence[float]
    ) -> None:
        if len(scores) != NUM_BYTES + len(pieces):
            raise ValueError("not one score a piece")
        if not all(-1e30 < score <= 0 for score in scores):
            raise ValueError("a score is no log probability")
        if len({*SINGLE_BYTES, *pieces}) != len(scores) or b"" in pieces:
            raise ValueError("a piece is empty or stands there twice")
        scored = zip(library_vocabulary(pieces), [*[0.0] * NUM_SPECIAL, *scores], strict=True)
        super().__init__(options=options, longer_pieces=pieces, model=Unigram(list(scored)))
        self._pieces, self._scores = list(pieces), [float(score) for score in scores]

    @property
    def scores(self) -> np.ndarray:
        """[vocab_size - 4] float64: log probabilities of the ids from 4 on."""
        return np.array(self._scores)

    def save(self, path: Path) -> None:
        content = {"pieces": list(map(to_letters, self._pieces)), "scores": self._scores}
        write_tokenizer(path, self.options, content)


def train_bpe(texts: Iterable[str], options: TokenizerOptions) -> BpeTokenizer:
    """Learns merges with the library; its choice between equal pairs is fixed, so the result is
    too.

    Args:
        texts: normalised and marked.
    """
    library = _library_tokenizer(BPE())
    trainer = BpeTrainer(
        vocab_size=options.vocab_size - NUM_SPECIAL,
        min_frequency=options.min_frequency,
        initial_alphabet=BYTE_LETTERS,
        special_tokens=[],
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    merges = json.loads(library.to_str())["model"]["merges"]
    pairs = [(from_letters(left), from_letters(right)) for left, right in merges]
    return BpeTokenizer(options=options, merges=pairs)
