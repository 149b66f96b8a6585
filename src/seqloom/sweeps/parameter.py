"""`Parameter`: one key of a search and the values it may have, from Hydra's syntax of sweeps.

The one idea: the same words mean the same in a list of jobs and in a search. `a,b` and
`choice(a,b)` are words without an order (`glob(...)`: some options of a group), `range(start, stop,
step)` numbers with one (without `stop`, as in Python), `interval(low, high)` everything between two
numbers, both ends included, `int(...)` whole numbers only, `tag(log, ...)` equally many in each
decade. A range on a logarithmic scale is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    RangeSweep,
    Transformer,
)

from seqloom.config.overrides import parse, swept
from seqloom.errors import ConfigError

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Parameter:
    """One key that is searched.

    Attributes:
        key: `optimizer.lr`, or a group such as `cell`.
        text: its values as they were written.
        source: the file that says so, or COMMAND_LINE.
        texts: each value as on a command line; () for an interval.
        is_ordered: it is a number; else one of some words.
        low, high: ends, both included; 0 for words.
        step: between neighbours; None for an interval.
        log: equally many values in each decade.
        is_int: whole numbers only.
        when: for groups that are searched too, the options with which this key is.
    """

    key: str
    text: str
    source: str = COMMAND_LINE
    texts: tuple[str, ...] = ()
    is_ordered: bool = False
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    is_int: bool = False
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The key, and with which options: as the study calls it."""
        needs = [f"{group}={'|'.join(options)}" for group, options in self.when.items()]
        return f"{self.key} ({', '.join(needs)})" if needs else self.key

    def setting(self, value: object) -> str:
        """`key=value` for a value that a sampler chose."""
        if not self.is_ordered:
            return f"{self.key}={value}"
        assert isinstance(value, int | float)
        if self.step is not None:
            return f"{self.key}={self.texts[round((value - self.low) / self.step)]}"
        return f"{self.key}={round(value) if self.is_int else repr(float(value))}"

    def value_of(self, plain: object) -> str | float | None:
        """What a sampler calls the value `plain` of a config; None where it is none of them."""
        if not self.is_ordered:
            return next((text for text in self.texts if _read(text) == plain), None)
        if isinstance(plain, bool) or not isinstance(plain, int | float):
            return None
        if not self.low <= plain <= self.high or (self.is_int and plain != round(plain)):
            return None
        if self.step is not None:
            place = (plain - self.low) / self.step
            if abs(place - round(place)) > 1e-6:
                return None
        return round(plain) if self.is_int else float(plain)

    def applies(self, chosen: Mapping[str, object]) -> bool:
        """Whether a trial that chose these options of groups has this key."""
        return all(chosen.get(group) in options for group, options in self.when.items())

    def ends(self) -> list[str]:
        """Settings whose validity makes all others valid: both ends, or every word."""
        if self.texts and not self.is_ordered:
            return [self.setting(text) for text in self.texts]
        return [self.setting(self.low), self.setting(self.high)]

    def all_values(self) -> list[str | float] | None:
        """Every value in order; None for an interval of numbers that are not whole."""
        if not self.is_ordered:
            return list(self.texts)
        if self.step is not None:
            return [self.low + self.step * place for place in range(len(self.texts))]
        return list(range(int(self.low), int(self.high) + 1)) if self.is_int else None


def read_parameter(text: str, source: str = COMMAND_LINE) -> Parameter | None:
    """Reads `key=VALUES`; None where it is a single value.

    Raises ConfigError for values that a search cannot have.
    """
    override = parse(text)
    if not override.is_sweep_override():
        return None
    key, values = override.get_key_element(), override.value()
    written = override.get_value_string()
    where = text if source == COMMAND_LINE else f"{source}: {text}"
    if isinstance(values, ChoiceSweep | Glob):
        texts = tuple(dict.fromkeys(map(str, swept(override, Transformer.encode))))
        return Parameter(key, written, source, texts)
    if isinstance(values, RangeSweep):
        if "log" in values.tags:
            raise ConfigError(where, "a range has equal steps", "write tag(log, interval(A, B))")
        count = len(swept(override, Transformer.encode))
        return _of_range(Parameter(key, written, source, is_ordered=True), values, count, where)
    assert isinstance(values, IntervalSweep)
    return _of_interval(key, written, source, values, where)


def _of_range(blank: Parameter, values: RangeSweep, count: int, where: str) -> Parameter:
    if count == 0:
        raise ConfigError(where, "the range is empty", "write range(START, STOP, STEP)")
    # In decimals, as they were written: 0.3 and not 0.30000000000000004.
    start, step = Decimal(str(values.start)), Decimal(str(values.step))
    numbers = sorted(start + place * step for place in range(count))
    is_int = isinstance(values.start, int) and isinstance(values.step, int)
    texts = tuple(str(int(n)) if is_int else repr(float(n)) for n in numbers)
    low, high, step = numbers[0], numbers[-1], abs(step)
    number = int if is_int else float
    return dataclasses.replace(
        blank, texts=texts, low=number(low), high=number(high), step=number(step), is_int=is_int
    )


def _of_interval(
    key: str, written: str, source: str, values: IntervalSweep, where: str
) -> Parameter:
    low, high = values.start, values.end
    assert low is not None
    assert high is not None
    log = "log" in values.tags
    unknown = sorted(values.tags - {"log"})
    if unknown:
        raise ConfigError(where, f"the tag {unknown[0]} means nothing here", "write tag(log, ...)")
    if low > high:
        raise ConfigError(where, f"{low} is above {high}", f"write interval({high}, {low})")
    if log and low <= 0:
        raise ConfigError(where, f"{low} has no logarithm", "begin above 0, or leave out tag(log)")
    is_int = isinstance(low, int) and isinstance(high, int)
    return Parameter(
        key, written, source, is_ordered=True, low=low, high=high, log=log, is_int=is_int
    )


def _read(text: str) -> object:
    """A value as the config has it."""
    return parse(f"x={text}").value()
