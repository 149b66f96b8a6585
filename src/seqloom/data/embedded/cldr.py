"""Parallel phrases of any two languages of the Unicode CLDR, made on the spot.

Dates, times, spans, durations, measures, prices, numbers and names, alone and joined to lists, said
in both languages by CLDR's own patterns (see `cldr_grammar`). Translating them takes reordering
("May 3, 2024", "3. Mai 2024"), agreement ("in 1 day", "vor 3 Tagen"), copying and reformatting
numbers, and a few hundred names.
The idea: which split a phrase belongs to is a stable hash of its source text. So splits are
disjoint, whatever their sizes and seeds, and a seed only chooses which phrases of its split are
drawn. No source is given twice.
The price: of ten phrases drawn for validation or test nine are thrown away.
"""

from __future__ import annotations

import copy
import difflib
import functools
import hashlib
import random
import unicodedata
from collections.abc import Iterator

from babel import Locale, UnknownLocaleError, localedata

from seqloom.data.buffers import TextBuffer
from seqloom.data.embedded.cldr_grammar import Grammar
from seqloom.data.embedded.cldr_lexicon import build_lexicon
from seqloom.data.embedded.cldr_speaker import Speaker, Unsayable
from seqloom.errors import ConfigError

SPLIT_TENTHS = {"train": range(8), "val": range(8, 9), "test": range(9, 10)}
MAX_FAILURES = 20_000  # phrases drawn in a row that are of no use: the supply is exhausted


def phrase_pairs(
    source_language: str, target_language: str, num: int, *, seed: int, split: str
) -> tuple[TextBuffer, TextBuffer]:
    """`num` pairs of the split `train`, `val` or `test`, line i of both buffers a pair.

    The same for the same arguments on every machine with the same Babel; the first n pairs do not
    depend on `num`.
    Text has plain single spaces and no direction marks. Languages are CLDR codes: `en`, `zh-Hant`.
    Raises `ConfigError` for an unknown language, twice the same one, or more pairs than there are.
    """
    source, target = find_locale(source_language), find_locale(target_language)
    if str(source) == str(target):
        raise ConfigError(
            f"{source_language} to {target_language}",
            "source and target are one language",
            "set data.source_language or data.target_language to another",
        )
    return TextBuffer.from_pairs(_pairs(Speaker(source), Speaker(target), num, seed, split))


def find_locale(language: str) -> Locale:
    """The language's CLDR data; an unknown one is a `ConfigError` with the nearest codes."""
    try:
        locale = Locale.parse(language.replace("-", "_"))
        _keep_apart(str(locale))
        return locale
    except (UnknownLocaleError, ValueError, TypeError):
        pass
    codes = {code.casefold(): code for code in localedata.locale_identifiers()}
    english = Locale("en").languages
    codes |= {english[code].casefold(): code for code in codes.keys() & english.keys()}
    near = difflib.get_close_matches(language.casefold(), codes, n=3)
    found = list(dict.fromkeys(codes[word] for word in near)) or ["en", "de", "fr"]
    why = "CLDR has no language of this code"
    raise ConfigError(language, why, f"the nearest codes are {', '.join(found)}")


@functools.cache
def _keep_apart(name: str) -> None:
    """Babel writes what it looks up for one language into tables that it shares with others which
    are loaded later; so each gets tables of its own, before anything is looked up."""
    localedata._cache[name] = copy.deepcopy(localedata.load(name))


def split_of(source_text: str) -> str:
    """The split of a phrase; case and compatible forms of characters (NFKC) make no difference."""
    plain = unicodedata.normalize("NFKC", source_text).casefold()
    tenth = int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=4).digest(), "big") % 10
    return next(split for split, tenths in SPLIT_TENTHS.items() if tenth in tenths)


def _pairs(
    source: Speaker, target: Speaker, num: int, seed: int, split: str
) -> Iterator[tuple[str, str]]:
    grammar = Grammar(random.Random(f"cldr {seed} {split}"), build_lexicon(source, target))
    given: set[str] = set()
    failures = 0
    while len(given) < num:
        if failures > MAX_FAILURES:
            raise ConfigError(
                f"data.num_{split}={num}",
                f"{source.locale} to {target.locale} has about {len(given)} phrases in this split",
                "ask for fewer",
            )
        failures += 1
        try:
            phrase = grammar.draw()
            text = phrase(source)
            if text in given or split_of(text) != split:
                continue
            pair = text, phrase(target)
        except Unsayable:
            continue
        given.add(text)
        failures = 0
        yield pair
