"""`Lexicon`: which names, units, currencies and date styles a pair of languages talks about.

The idea: codes are chosen by rules on CLDR data, never by hand in one language, and few enough that
each is met often in 20,000 phrases. A code is kept only if both languages have a word for it and
the source word (or pattern) was not taken by an earlier code: so no source word has two
translations.
The price: of two codes with one name in the source language, the second is never spoken of.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from babel import Locale, localedata
from babel.core import get_global
from babel.numbers import get_territory_currencies

from seqloom.data.embedded.cldr_speaker import DATE_STYLES, Speaker, Unsayable, Width, cleaned

NUM_TERRITORIES, NUM_LANGUAGES, NUM_LOCALES, NUM_CURRENCIES = 120, 60, 60, 24
SIMPLE_UNIT = re.compile(
    "(length|mass|volume|area|speed|digital|power|energy)-(square-|cubic-)?[a-z]+(-per-[a-z]+)?"
)
SKELETONS = ("MMMMd", "yMMMM", "yQQQQ", "MMMEd", "yMMMEd", "Md")
COMPACT_VALUES = tuple(
    tenths * 10 ** (power - 1)
    for power in (6, 9, 12)
    for tenths in (*range(10, 100, 5), *range(100, 1000, 10))
)
RATE_CATEGORIES = ("length", "mass", "volume", "digital", "energy")
PER_UNITS = (
    "duration-hour",
    "duration-day",
    "mass-kilogram",
    "volume-liter",
    "area-square-meter",
    "length-kilometer",
)

Code = TypeVar("Code")


@dataclass(frozen=True)
class Lexicon:
    """Codes that both languages have words for; any may be empty where data is thin."""

    territories: tuple[str, ...]
    languages: tuple[str, ...]
    locales: tuple[str, ...]
    currencies: tuple[str, ...]
    signs: tuple[str, ...]
    measures: tuple[tuple[str, Width], ...]
    rate_units: tuple[str, ...]
    per_units: tuple[str, ...]
    months: tuple[int, ...]
    days: tuple[int, ...]
    date_styles: dict[int, tuple[str, ...]]
    compact_values: tuple[int, ...]
    list_styles: tuple[str, ...]


def build_lexicon(source: Speaker, target: Speaker) -> Lexicon:
    """The lexicon of a direction; a function of Babel's data alone."""
    words = _Words(source, target)
    ranked_territories, ranked_languages, ranked_locales = _ranked()
    months = words.keep(range(1, 13), lambda s, m: (s.calendar_name("months", m),))
    days = words.keep(range(7), lambda s, d: (s.calendar_name("days", d),))
    territories = words.keep(ranked_territories, _named("territories"), NUM_TERRITORIES)
    languages = words.keep(ranked_languages, _named("languages"), NUM_LANGUAGES)
    measures = words.keep(_measures(source.locale, target.locale), lambda s, m: s.measure_words(*m))
    known = [
        code
        for code in ranked_locales
        if code.split("_")[0] in languages and code.split("_")[1] in territories
    ]
    return Lexicon(
        territories=territories,
        languages=languages,
        locales=words.keep(known, _named("locales"), NUM_LOCALES),
        currencies=words.keep(_currencies(territories), _currency_words, NUM_CURRENCIES),
        signs=words.keep(_currencies(ranked_territories), _currency_sign),
        measures=measures,
        rate_units=tuple(
            unit
            for unit, width in measures
            if width == "long" and unit.split("-")[0] in RATE_CATEGORIES
        ),
        per_units=words.keep(PER_UNITS, lambda s, unit: (s.per_word(unit),)),
        months=months,
        days=days,
        date_styles={month: _date_styles(source, target, month) for month in range(1, 13)},
        compact_values=_Words(source, target).keep(COMPACT_VALUES, lambda s, v: (s.compact(v),)),
        list_styles=_Words(source, target).keep(
            ("standard", "or", "unit"), lambda s, style: (s.listed(["1", "2", "3"], style),)
        ),
    )


class _Words:
    """Source words that are taken."""

    def __init__(self, source: Speaker, target: Speaker) -> None:
        self._source, self._target = source, target
        self._taken: set[str] = set()

    def keep(
        self,
        codes: Iterable[Code],
        words: Callable[[Speaker, Code], tuple[str, ...]],
        most: int | None = None,
    ) -> tuple[Code, ...]:
        """The first `most` codes that both languages say, in words that were free until now."""
        kept: list[Code] = []
        for code in codes:
            if len(kept) == most:
                break
            try:
                found = {word.casefold() for word in words(self._source, code)}
                words(self._target, code)
            except (Unsayable, KeyError):
                continue
            if self._taken.isdisjoint(found):
                self._taken |= found
                kept.append(code)
        return tuple(kept)


def _named(kind: str) -> Callable[[Speaker, str], tuple[str, ...]]:
    return lambda speaker, code: (speaker.name(kind, code),)


def _ranked() -> tuple[list[str], list[str], list[str]]:
    """Territories, languages and locales of CLDR, each from the most to the least spoken of.

    A territory must be the likely home of a language, and ranks by its number of locales; a
    language ranks by the percentages of all territories' people who speak it; a locale by both.
    """
    locales = [code.split("_") for code in localedata.locale_identifiers()]
    have_data = {parts[0] for parts in locales}
    likely = get_global("likely_subtags")
    homes = {likely[code].split("_")[-1] for code in have_data if code in likely}
    regions = Counter(part for _, *rest in locales for part in rest if part in homes)
    spoken: Counter[str] = Counter()
    for speakers in get_global("territory_languages").values():
        for language, facts in speakers.items():
            spoken[language] += facts["population_percent"]
    territories = sorted(regions, key=lambda code: (-regions[code], code))
    languages = sorted(spoken.keys() & have_data, key=lambda code: (-spoken[code], code))
    rank = {code: place for codes in (territories, languages) for place, code in enumerate(codes)}
    pairs = [p for p in locales if len(p) == 2 and p[0] in rank and p[1] in rank]
    pairs.sort(key=lambda pair: (rank[pair[0]] + rank[pair[1]], pair))
    return territories, languages, ["_".join(pair) for pair in pairs]


def _currencies(territories: Iterable[str]) -> list[str]:
    """Legal tender of a fixed day: data must not change with the calendar."""
    day = datetime.date(2024, 1, 1)
    tender = (get_territory_currencies(territory, day, day) for territory in territories)
    return list(dict.fromkeys(code for codes in tender for code in codes))


def _currency_words(speaker: Speaker, code: str) -> tuple[str, ...]:
    return speaker.name("currencies", code), *(speaker.amount(n, code) for n in (1, 2, 5))


def _currency_sign(speaker: Speaker, code: str) -> tuple[str, ...]:
    """A sign such as the euro's; codes alone would be letters to copy."""
    sign = speaker.locale.currency_symbols.get(code, code)
    if sign == code:
        raise Unsayable
    return (cleaned(sign),)


def _measures(source: Locale, target: Locale) -> list[tuple[str, Width]]:
    """Units of both; compound names ("light-year", "gallon-imperial") are rare and left out."""
    shared = source._data["unit_patterns"].keys() & target._data["unit_patterns"].keys()
    units = sorted(unit for unit in shared if SIMPLE_UNIT.fullmatch(unit))
    widths: tuple[Width, ...] = ("long", "short")
    return [(unit, width) for width in widths for unit in units]


def _date_styles(source: Speaker, target: Speaker, month: int) -> tuple[str, ...]:
    """Styles that the source tells apart in this month: "May 20, 2024" is long, not medium."""
    day = datetime.date(2024, month, 20)
    return _Words(source, target).keep(
        (*DATE_STYLES, *SKELETONS), lambda speaker, style: (speaker.date(day, style),)
    )
