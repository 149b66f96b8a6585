"""Names of places in many languages, from the Unicode CLDR that Babel carries: countries and
territories, and the cities that time zones are named after.

The idea: which split a name belongs to is a hash of the name, whatever the language, so that a name
that is trained on is never tested, also not as a name of another language. Names of one or two
letters are left out. The price: only a few hundred names a language, and half of them are names in
several of a dozen European languages.
"""

from __future__ import annotations

import hashlib
import unicodedata

from babel import Locale

from seqloom.data.embedded.cldr import find_locale, split_of
from seqloom.data.embedded.cldr_speaker import DIRECTION_MARKS


def place_names(language: str, split: str) -> list[str]:
    """The names of the split `train`, `val` or `test`, each once, in a fixed mixed order.

    Raises ConfigError for a language that CLDR does not have.
    """
    names = sorted(_names(find_locale(language)), key=_hash)
    return [name for name in names if split_of(name) == split]


def _names(locale: Locale) -> set[str]:
    territories = (name for code, name in locale.territories.items() if not code.isdigit())
    cities = (zone.get("city") for zone in locale.time_zones.values())
    cleaned = (_cleaned(name) for name in (*territories, *cities) if name)
    return {name for name in cleaned if len(name) > 2 and any(map(str.isalpha, name))}


def _cleaned(name: str) -> str:
    plain = " ".join(DIRECTION_MARKS.sub("", name).split())
    return unicodedata.normalize("NFC", plain)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
