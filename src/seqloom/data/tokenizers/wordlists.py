"""Tokenisers over a list of known tokens: words, what lies between spaces, or characters. What is
not on the list is `<unk>`.

The tokens of a text, joined, are the text, so that known tokens come back exactly, spaces too.
The price is that an unknown word keeps neither its letters nor the space before it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from seqloom.data.tokenizers import text as text_forms
from seqloom.data.tokenizers.base import SPECIAL_TOKENS, UNK_ID
from seqloom.data.tokenizers.files import write_tokenizer
from seqloom.data.tokenizers.options import TokenizerOptions
from seqloom.errors import ConfigError

logger = logging.getLogger(__name__)
NUM_SPECIAL = len(SPECIAL_TOKENS)


class WordlistTokenizer:
    """Words (kind word), what lies between spaces (kind whitespace) or characters (kind character)
    from a fixed list.

    Args:
        options: of kind word, whitespace or character.
        tokens: in the order of their ids, from id 4 on; ValueError where one is empty or stands
            there twice.
    """

    def __init__(self, *, options: TokenizerOptions, tokens: Sequence[str]) -> None:
        self.options = options
        self._tokens = list(tokens)
        self._ids = {token: NUM_SPECIAL + number for number, token in enumerate(tokens)}
        if len(self._ids) < len(self._tokens) or "" in self._ids:
            raise ValueError("a token is empty or stands there twice")
        self._is_word = options.kind != "character"
        self._split = splitter(options)
        nothing = [""] * NUM_SPECIAL
        unknown = SPECIAL_TOKENS[UNK_ID]
        nothing[UNK_ID] = text_forms.marked(unknown) if self._is_word else unknown
        self._texts = [*nothing, *self._tokens]

    @property
    def vocab_size(self) -> int:
        return len(self._texts)

    def normalize(self, text: str) -> str:
        return text_forms.normalized(text, self.options)

    def encode(self, text: str) -> list[int]:
        return [self._ids.get(token, UNK_ID) for token in self._split(self.normalize(text))]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        text = "".join([self._texts[index] for index in ids])
        return text_forms.unmarked(text) if self._is_word else text

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [
            SPECIAL_TOKENS[index]
            if index < NUM_SPECIAL
            else self._texts[index].replace(" ", text_forms.VISIBLE_SPACE)
            for index in ids
        ]

    def save(self, path: Path) -> None:
        write_tokenizer(path, self.options, {"tokens": self._tokens})


def splitter(options: TokenizerOptions) -> Callable[[str], list[str]]:
    """What cuts a normalised text into tokens."""
    if options.kind == "character":
        return list
    split = text_forms.split_words if options.kind == "word" else text_forms.split_at_spaces
    return lambda text: split(text_forms.marked(text))


def train_wordlist(texts: Iterable[str], options: TokenizerOptions) -> WordlistTokenizer:
    """The most frequent tokens, equal ones in the order of their characters.

    Args:
        texts: normalised.
    """
    split = splitter(options)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split(text))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    tokens = [token for token, count in ranked if count >= options.min_frequency]
    if not tokens:
        raise ConfigError(
            f"tokenizer.min_frequency={options.min_frequency}",
            f"nothing in the training texts is that frequent, by {options.kind}",
            f"write at most {ranked[0][1]}",
        )
    tokens = tokens[: options.vocab_size - NUM_SPECIAL]
    if len(tokens) < len(ranked):
        share = 1 - sum(counts[token] for token in tokens) / counts.total()
        logger.warning(
            "tokenizer.vocab_size and min_frequency leave %d of %d different tokens (%s) unknown,"
            " %.2f%% of the text",
            len(ranked) - len(tokens),
            len(ranked),
            options.kind,
            100 * share,
        )
    return WordlistTokenizer(options=options, tokens=tokens)
