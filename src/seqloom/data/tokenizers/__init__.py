"""Tokenisers: trained on texts, kept in one JSON file each, loaded without running anything from
it.

The same texts and options give the same tokeniser, bit for bit, in whatever process.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from seqloom.data.tokenizers.base import Tokenizer
from seqloom.data.tokenizers.files import malformed, read_tokenizer
from seqloom.data.tokenizers.options import TokenizerOptions
from seqloom.data.tokenizers.segmentation import SegmentationTable
from seqloom.data.tokenizers.subwords import (
    BpeTokenizer,
    UnigramTokenizer,
    from_letters,
    train_bpe,
)
from seqloom.data.tokenizers.text import marked, normalized
from seqloom.data.tokenizers.unigram import train_unigram
from seqloom.data.tokenizers.wordlists import WordlistTokenizer, train_wordlist
from seqloom.errors import DataError

__all__ = [
    "SegmentationTable",
    "Tokenizer",
    "TokenizerOptions",
    "load_tokenizer",
    "train_tokenizer",
]


def train_tokenizer(texts: Iterable[str], options: TokenizerOptions) -> Tokenizer:
    """Trains on `texts`, read once; DataError where they hold no character."""
    not_empty = (text for text in (normalized(text, options) for text in texts) if text)
    first = next(not_empty, None)
    if first is None:
        raise DataError(
            "the training texts", "they hold no character to learn from", "give at least one text"
        )
    prepared = chain([first], not_empty)
    if options.kind == "bpe":
        return train_bpe(map(marked, prepared), options)
    if options.kind == "unigram":
        return train_unigram(map(marked, prepared), options)
    return train_wordlist(prepared, options)


def load_tokenizer(path: Path | str) -> Tokenizer:
    """The tokeniser that `save` wrote; DataError, naming the file, where it is not one."""
    path = Path(path)
    record = read_tokenizer(path)
    try:
        return _from_record(record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise malformed(path, f"is no sound tokeniser ({error})") from None


def _from_record(record: dict[str, Any]) -> Tokenizer:
    options = TokenizerOptions(**record["options"])
    if options.kind == "bpe":
        merges = [(from_letters(left), from_letters(right)) for left, right in record["merges"]]
        return BpeTokenizer(options=options, merges=merges)
    if options.kind == "unigram":
        pieces = [from_letters(piece) for piece in record["pieces"]]
        return UnigramTokenizer(options=options, pieces=pieces, scores=record["scores"])
    tokens = record["tokens"]
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise TypeError("its tokens are not a list of texts")
    return WordlistTokenizer(options=options, tokens=tokens)
