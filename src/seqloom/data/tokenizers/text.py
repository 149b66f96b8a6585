"""Text before it is tokenised: its normal form, and the words it is cut into.

A word carries the space before it, so that the words of a text, joined, are the text: cutting loses
nothing. Each text is given one space in front (and loses it again in `unmarked`), so that a word is
the same at the beginning and inside. Digits stand alone, which lets a model copy numbers it has
never seen.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, cast

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from seqloom.data.tokenizers.options import TokenizerOptions
from seqloom.errors import DataError

WORD_START = " "
VISIBLE_SPACE = "\u2581"
WORD_PATTERN = Regex(
    r" ?[\p{L}\p{M}]+"  # letters with their marks
    r"| ?\p{N}"  # one digit
    r"| ?[^\s\p{L}\p{M}\p{N}]+"  # punctuation and symbols
    r"|\s+(?!\S)|\s+"  # more spaces; the last one belongs to the word behind it
)
WORD_SPLIT = Split(WORD_PATTERN, "isolated")
# The end of a line is one token with the space before it: the `<eos>` of WikiText's perplexities.
SPACED_TOKEN = re.compile(r" ?\S+| ?\n|\s")


def normalized(text: str, options: TokenizerOptions) -> str:
    """The text as it is encoded. Raises DataError for half a surrogate pair, which no encoding can
    write.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            ascii(text[max(error.start - 20, 0) : error.start + 20]),
            "half a surrogate pair is no character",
            "write the whole character in the input",
        ) from None
    if options.normalization == "none":
        return text.lower() if options.lowercase else text
    form = cast(Literal["NFC", "NFKC"], options.normalization.upper())
    text = unicodedata.normalize(form, text)
    return unicodedata.normalize(form, text.lower()) if options.lowercase else text


def marked(text: str) -> str:
    """The text with its space in front; an empty text stays empty."""
    return WORD_START + text if text else text


def unmarked(text: str) -> str:
    """Undoes `marked`; a text without the space (a model may write one) stays as it is."""
    return text.removeprefix(WORD_START)


def split_words(text: str) -> list[str]:
    """The words of a marked text; joined they are the text."""
    return [word for word, _ in WORD_SPLIT.pre_tokenize_str(text)]


def split_at_spaces(text: str) -> list[str]:
    """What lies between spaces in a marked text; joined it is the text."""
    return SPACED_TOKEN.findall(text)
