"""`Speaker`: says one content in one language, by CLDR's patterns and names (through Babel).

The idea: a content is the same arguments to two speakers, so what they say is a translation of each
other. White space of every kind becomes a plain space and direction marks are dropped: they are
typography that no one types, and would make the same phrase two. Digits are ASCII in every language
(Babel's default numbering).
The price: nothing here is said that CLDR has no pattern for. A speaker raises `Unsayable` where a
language's data lacks it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

from babel import Locale
from babel.dates import (
    format_date,
    format_interval,
    format_skeleton,
    format_time,
    format_timedelta,
    get_datetime_format,
)
from babel.lists import format_list
from babel.numbers import (
    format_compact_decimal,
    format_currency,
    format_decimal,
    format_percent,
    format_scientific,
)

DateWidth = Literal["full", "long", "medium", "short"]
Width = Literal["long", "short"]
TimeUnit = Literal["year", "month", "week", "day", "hour", "minute", "second"]

DATE_STYLES: tuple[DateWidth, ...] = ("full", "long", "medium", "short")
DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
NO_PROMOTION = 1e9  # durations stay in the unit they were drawn in


class Unsayable(Exception):
    """The language has no pattern for the content."""


def cleaned(text: str | None) -> str:
    """One line with single plain spaces and no direction marks; `Unsayable` if nothing is left."""
    words = DIRECTION_MARKS.sub("", text or "").split()
    if not words:
        raise Unsayable
    return " ".join(words)


class Speaker:
    """One language's voice."""

    def __init__(self, locale: Locale) -> None:
        self.locale = locale
        short_time = str(locale.time_formats["short"].pattern)
        self.hour_skeleton = "Hm" if "H" in short_time else "hm"
        self.compact_style: Width = "long" if "long" in locale.compact_decimal_formats else "short"

    def date(self, day: datetime.date, style: str) -> str:
        """In one of `DATE_STYLES`, or with the fields of a CLDR skeleton (`yMMMM`)."""
        if style in DATE_STYLES:
            return cleaned(format_date(day, style, self.locale))
        if style not in self.locale.datetime_skeletons:
            raise Unsayable
        return cleaned(format_skeleton(style, day, locale=self.locale))

    def time(self, time: datetime.time, style: str) -> str:
        return cleaned(format_time(time, style, locale=self.locale))

    def moment(self, day: str, time: str, style: DateWidth) -> str:
        """Date and time, already said, joined as the language joins them."""
        pattern = str(get_datetime_format(style, locale=self.locale))
        return cleaned(pattern.replace("'", "").replace("{1}", day).replace("{0}", time))

    def date_span(self, first: datetime.date, last: datetime.date, skeleton: str) -> str:
        return cleaned(format_interval(first, last, skeleton, locale=self.locale))

    def time_span(self, first: datetime.time, last: datetime.time) -> str:
        try:
            return cleaned(format_interval(first, last, self.hour_skeleton, locale=self.locale))
        except (
            NotImplementedError
        ) as error:  # Babel knows no spans with parts of the day ("morning")
            raise Unsayable from error

    def duration(self, delta: datetime.timedelta, unit: TimeUnit, relative: bool) -> str:
        """As "3 days"; with `relative` as "in 3 days" or "3 days ago"."""
        text = format_timedelta(
            delta, unit, threshold=NO_PROMOTION, add_direction=relative, locale=self.locale
        )
        return cleaned(text)

    def measure(self, value: Decimal, unit: str, width: Width) -> str:
        # Babel's own `format_unit` says the unit's bare name where a plural form is not listed;
        # CLDR means the form `other` then.
        patterns = self._unit_patterns(unit, width)
        pattern = patterns.get(self.locale.plural_form(value)) or patterns.get("other")
        return cleaned(pattern and pattern.replace("{0}", self.number(value)))

    def measure_words(self, unit: str, width: Width) -> tuple[str, ...]:
        """The patterns of all plural forms; `Unsayable` without any."""
        patterns = self._unit_patterns(unit, width)
        forms = sorted(patterns.keys() & (self.locale.plural_form.tags | {"other"}))
        if "other" not in forms:
            raise Unsayable
        return tuple(cleaned(patterns[form]) for form in forms)

    def rate(self, value: Decimal, unit: str, per: str) -> str:
        """By the pattern of the whole ("miles per hour") if there is one, else of "per hour"."""
        whole = f"{unit.split('-', 1)[1]}-per-{per.split('-', 1)[1]}"
        for category in ("speed", "consumption"):
            if f"{category}-{whole}" in self.locale._data["unit_patterns"]:
                return self.measure(value, f"{category}-{whole}", "long")
        return self._per(per, self.measure(value, unit, "long"))

    def price(self, value: Decimal, currency: str, per: str | None) -> str:
        text = cleaned(format_currency(value, currency, locale=self.locale))
        return text if per is None else self._per(per, text)

    def per_word(self, unit: str) -> str:
        """The pattern "per hour"."""
        return cleaned(self._unit_patterns(unit, "long").get("per"))

    def _per(self, unit: str, amount: str) -> str:
        return cleaned(self.per_word(unit).replace("{0}", amount))

    def _unit_patterns(self, unit: str, width: Width) -> Mapping[str, str]:
        patterns: Mapping[str, str] = (
            self.locale._data["unit_patterns"].get(unit, {}).get(width, {})
        )
        return patterns

    def amount(self, value: int, currency: str) -> str:
        """With the currency's name: "12 euros"."""
        return cleaned(
            format_currency(
                value, currency, locale=self.locale, format_type="name", currency_digits=False
            )
        )

    def number(self, value: Decimal) -> str:
        return cleaned(format_decimal(value, locale=self.locale))

    def percent(self, value: Decimal) -> str:
        return cleaned(format_percent(value, locale=self.locale, decimal_quantization=False))

    def compact(self, value: int) -> str:
        return cleaned(
            format_compact_decimal(
                value, format_type=self.compact_style, locale=self.locale, fraction_digits=1
            )
        )

    def scientific(self, value: Decimal) -> str:
        return cleaned(format_scientific(value, locale=self.locale, decimal_quantization=False))

    def name(self, kind: str, code: str) -> str:
        """Of a territory, a language, a currency or a language in a territory (`de_CH`)."""
        if kind == "locales":
            return cleaned(Locale.parse(code).get_display_name(self.locale))
        return cleaned(getattr(self.locale, kind).get(code))

    def calendar_name(self, kind: str, number: int) -> str:
        """Of a month (1..12) or a weekday (0..6, Monday first), standing alone."""
        return cleaned(getattr(self.locale, kind)["stand-alone"]["wide"].get(number))

    def listed(self, parts: Sequence[str], style: str) -> str:
        """Joined as "and" (`standard`), as "or", or as measures of one thing (`unit`)."""
        if not self._can_list(style):
            style = "standard"
        if not self._can_list(style):
            raise Unsayable
        return cleaned(format_list(parts, style, self.locale))  # type: ignore[arg-type]

    def _can_list(self, style: str) -> bool:
        return {"2", "start", "middle", "end"} <= self.locale.list_patterns.get(style, {}).keys()
