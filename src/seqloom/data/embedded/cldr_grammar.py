"""`Grammar`: draws phrases, from a bare name to lists of dates, prices and places.

The idea: a phrase is a function from a speaker to text, so that a content is drawn once and said in
two languages, and parts nest: a list asks its parts. Three phrases of five are one part, the others
join two to four.
The price: contents are drawn at random and mean nothing together. `Unsayable` where a language's
data has no pattern or no names of a kind; the caller draws again.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeVar

from seqloom.data.embedded.cldr_lexicon import Lexicon
from seqloom.data.embedded.cldr_speaker import DATE_STYLES, DateWidth, Speaker, TimeUnit, Unsayable

Phrase = Callable[[Speaker], str]
Item = TypeVar("Item")

FIRST_YEAR, NUM_YEARS = 1980, 60
# Seconds in a unit as Babel counts them, and the largest count drawn.
DURATION_UNITS: dict[TimeUnit, tuple[int, int]] = {
    "year": (31_536_000, 99),
    "month": (2_592_000, 24),
    "week": (604_800, 20),
    "day": (86_400, 30),
    "hour": (3600, 47),
    "minute": (60, 59),
    "second": (1, 59),
}
LIST_SIZES = (2, 2, 2, 3, 3, 4)
SHARE_JOINED = 0.4


class Grammar:
    """Draws from one random stream over one lexicon."""

    def __init__(self, rng: random.Random, lexicon: Lexicon) -> None:
        self._rng, self._lexicon = rng, lexicon
        self._single, self._single_weights = _weighted(
            {
                self._date: 16,
                self._time: 6,
                self._span: 10,
                self._relative: 12,
                self._duration: 5,
                self._measure: 14,
                self._rate: 5,
                self._price: 9,
                self._amount: 5,
                self._number: 5,
                self._percent: 3,
                self._compact: 3,
                self._scientific: 1,
                self._territory: 2,
                self._language: 2,
                self._locale: 3,
                self._calendar_name: 1,
            }
        )
        self._joined, self._joined_weights = _weighted(
            {
                self._list_of_one_kind: 55,
                self._list_of_many_kinds: 20,
                self._moment: 15,
                self._long_duration: 10,
            }
        )
        self._listable = (
            self._territory,
            self._territory,
            self._language,
            self._locale,
            self._calendar_name,
            self._date,
            self._relative,
            self._measure,
            self._price,
            self._amount,
            self._percent,
        )

    def draw(self) -> Phrase:
        """The next phrase of the stream; `Unsayable` where the lexicon is empty."""
        if self._rng.random() < SHARE_JOINED:
            return self._rng.choices(self._joined, cum_weights=self._joined_weights)[0]()
        return self._rng.choices(self._single, cum_weights=self._single_weights)[0]()

    # What is drawn from.

    def _choice(self, items: Sequence[Item]) -> Item:
        if not items:
            raise Unsayable
        return self._rng.choice(items)

    def _value(self) -> Decimal:
        """Mostly one or two digits; one in seven has a decimal, one in ten four digits."""
        kind = self._rng.random()
        if kind < 0.55:
            return Decimal(self._rng.randint(1, 99))
        if kind < 0.75:
            return Decimal(self._rng.randint(100, 999))
        if kind < 0.85:
            return Decimal(self._rng.randint(1000, 9999))
        return Decimal(self._rng.randint(1, 999)) / 10

    def _day(self) -> datetime.date:
        first = datetime.date(FIRST_YEAR, 1, 1).toordinal()
        last = datetime.date(FIRST_YEAR + NUM_YEARS, 1, 1).toordinal()
        return datetime.date.fromordinal(self._rng.randrange(first, last))

    def _time_of_day(self, first_hour: int = 0) -> datetime.time:
        minute = (
            5 * self._rng.randrange(12) if self._rng.random() < 0.5 else self._rng.randrange(60)
        )
        return datetime.time(self._rng.randrange(first_hour, 24), minute)

    # One part.

    def _dated(self) -> tuple[datetime.date, str]:
        day = self._day()
        return day, self._choice(self._lexicon.date_styles[day.month])

    def _date(self) -> Phrase:
        day, style = self._dated()
        return lambda speaker: speaker.date(day, style)

    def _time(self) -> Phrase:
        time, style = self._time_of_day(), "short"
        if self._rng.random() < 0.3:
            time, style = time.replace(second=self._rng.randrange(60)), "medium"
        return lambda speaker: speaker.time(time, style)

    def _span(self) -> Phrase:
        kind = self._rng.random()
        if kind < 0.4:
            start = self._time_of_day()
            end = self._time_of_day(start.hour)
            if start >= end:
                raise Unsayable
            return lambda speaker: speaker.time_span(start, end)
        first = self._day()
        skeleton, days = ("yMMMd", 60) if kind < 0.8 else ("yMMMM", 600)
        last = first + datetime.timedelta(days=self._rng.randint(1, days))
        if skeleton == "yMMMM" and (first.year, first.month) == (last.year, last.month):
            raise Unsayable
        return lambda speaker: speaker.date_span(first, last, skeleton)

    def _relative(self) -> Phrase:
        return self._counted(self._rng.choice(tuple(DURATION_UNITS)), relative=True)

    def _duration(self) -> Phrase:
        return self._counted(self._rng.choice(tuple(DURATION_UNITS)), relative=False)

    def _counted(self, unit: TimeUnit, relative: bool) -> Phrase:
        seconds, most = DURATION_UNITS[unit]
        count = self._rng.randint(1, most)
        if relative and self._rng.random() < 0.5:
            count = -count
        delta = datetime.timedelta(seconds=count * seconds)
        return lambda speaker: speaker.duration(delta, unit, relative)

    def _measure(self) -> Phrase:
        value, (unit, width) = self._value(), self._choice(self._lexicon.measures)
        return lambda speaker: speaker.measure(value, unit, width)

    def _rate(self) -> Phrase:
        value, unit = self._value(), self._choice(self._lexicon.rate_units)
        per = self._choice(self._lexicon.per_units)
        return lambda speaker: speaker.rate(value, unit, per)

    def _price(self) -> Phrase:
        value, currency = self._value().quantize(Decimal("0.01")), self._choice(self._lexicon.signs)
        if self._rng.random() < 0.4:
            value += Decimal(self._rng.randrange(100)) / 100
        per = self._choice(self._lexicon.per_units) if self._rng.random() < 0.25 else None
        return lambda speaker: speaker.price(value, currency, per)

    def _amount(self) -> Phrase:
        value, currency = self._rng.randint(1, 999), self._choice(self._lexicon.currencies)
        return lambda speaker: speaker.amount(value, currency)

    def _number(self) -> Phrase:
        value = (
            Decimal(self._rng.randint(1000, 99_999)) if self._rng.random() < 0.4 else self._value()
        )
        if self._rng.random() < 0.15:
            value = -value
        return lambda speaker: speaker.number(value)

    def _percent(self) -> Phrase:
        value = Decimal(self._rng.randint(1, 200)) / (200 if self._rng.random() < 0.3 else 100)
        return lambda speaker: speaker.percent(value)

    def _compact(self) -> Phrase:
        value = self._choice(self._lexicon.compact_values)
        return lambda speaker: speaker.compact(value)

    def _scientific(self) -> Phrase:
        value = Decimal(self._rng.randint(101, 999)).scaleb(self._rng.randint(1, 9))
        return lambda speaker: speaker.scientific(value)

    def _territory(self) -> Phrase:
        return self._named("territories", self._lexicon.territories)

    def _language(self) -> Phrase:
        return self._named("languages", self._lexicon.languages)

    def _locale(self) -> Phrase:
        return self._named("locales", self._lexicon.locales)

    def _named(self, kind: str, codes: Sequence[str]) -> Phrase:
        code = self._choice(codes)
        return lambda speaker: speaker.name(kind, code)

    def _calendar_name(self) -> Phrase:
        names = [("months", n) for n in self._lexicon.months]
        names += [("days", n) for n in self._lexicon.days]
        kind, number = self._choice(names)
        return lambda speaker: speaker.calendar_name(kind, number)

    # Several parts.

    def _list_of_one_kind(self) -> Phrase:
        kind = self._rng.choice(self._listable)
        return self._list([kind() for _ in range(self._rng.choice(LIST_SIZES))])

    def _list_of_many_kinds(self) -> Phrase:
        kinds = self._rng.sample(self._listable, self._rng.choice(LIST_SIZES))
        return self._list([kind() for kind in kinds])

    def _list(self, parts: Sequence[Phrase]) -> Phrase:
        style = self._choice(self._lexicon.list_styles)
        return lambda speaker: speaker.listed([part(speaker) for part in parts], style)

    def _moment(self) -> Phrase:
        (day, style), time = self._dated(), self._time()
        glue: DateWidth = next((width for width in DATE_STYLES if width == style), "medium")
        return lambda speaker: speaker.moment(speaker.date(day, style), time(speaker), glue)

    def _long_duration(self) -> Phrase:
        """Two or three neighbouring units, the largest first: "3 hours, 20 minutes"."""
        units, size = tuple(DURATION_UNITS), self._rng.choice((2, 2, 3))
        first = self._rng.randrange(len(units) - size + 1)
        parts = [self._counted(unit, relative=False) for unit in units[first : first + size]]
        return lambda speaker: speaker.listed([part(speaker) for part in parts], "unit")


def _weighted(
    weights: dict[Callable[[], Phrase], int],
) -> tuple[list[Callable[[], Phrase]], list[int]]:
    """Kinds and their cumulative weights."""
    cumulative, total = [], 0
    for weight in weights.values():
        total += weight
        cumulative.append(total)
    return list(weights), cumulative
