"""What becomes of pairs that are too long or empty, decided once when a split is prepared, with
counts.

Training may leave pairs out. Validation and test keep every pair, so that scores cover all lines:
there `drop` does nothing, `truncate` shortens the source only (the reference of a score is the text
itself), `error` refuses as anywhere. Lengths are steps, the end symbol included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqloom.data.buffers import TokenBuffer
from seqloom.errors import ConfigError, DataError

CHOICES = ("drop", "truncate", "error")


@dataclass(frozen=True, kw_only=True)
class LengthPolicy:
    """Bounds and what to do beyond them.

    Attributes:
        max_source_length, max_target_length: steps with the end symbol; None: no limit.
        too_long: drop, truncate or error.
    """

    max_source_length: int | None
    max_target_length: int | None
    too_long: str

    def __post_init__(self) -> None:
        if self.too_long not in CHOICES:
            raise ConfigError(
                f"data.too_long={self.too_long}", "is not known", f"use {', '.join(CHOICES)}"
            )
        for name in ("max_source_length", "max_target_length"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise ConfigError(
                    f"data.{name}={value}",
                    "leaves no room beside the end symbol",
                    "write 2 or more",
                )

    def apply(
        self, source: TokenBuffer, target: TokenBuffer, *, split: str
    ) -> tuple[np.ndarray, TokenBuffer, TokenBuffer, dict[str, int]]:
        """The rows of `split` that stay (ascending), their tokens on both sides, and counts by what
        happened.

        Raises DataError when no row stays, or for the first long pair under `error`. Pairs are
        counted from 1; the header of a table is none.
        """
        long_source = _beyond(source, self.max_source_length)
        long_target = _beyond(target, self.max_target_length)
        too_long = long_source | long_target
        if self.too_long == "error" and too_long.any():
            raise self._first_error(source, target, too_long, split)
        counts = {"pairs": len(source), "too_long": int(too_long.sum())}
        rows = np.arange(len(source))
        if split == "train":
            empty = (source.lengths == 0) | (target.lengths == 0)
            counts |= {"empty": int(empty.sum()), "too_long": int((too_long & ~empty).sum())}
            drops = self.too_long == "drop"
            rows = rows[~empty & ~too_long] if drops else rows[~empty]
        if not len(rows):
            raise DataError(
                f"data.{split}",
                f"none of its {len(source)} pairs is left ({_listed(counts)})",
                "raise data.max_source_length and data.max_target_length, or give other lines",
            )
        if len(rows) < len(source):
            source, target = source.take(rows), target.take(rows)
        if self.too_long == "truncate":
            source = _truncated(source, self.max_source_length)
            if split == "train":
                target = _truncated(target, self.max_target_length)
        return rows, source, target, counts | {"kept": len(rows)}

    def describe(self, split: str, counts: dict[str, int]) -> str:
        """One line about the split, for the log."""
        action = self.too_long if split == "train" or self.too_long == "truncate" else "keep"
        parts = [f"{split}: {counts['kept']} of {counts['pairs']} pairs"]
        if counts.get("empty"):
            parts.append(f"{counts['empty']} empty (left out)")
        if counts["too_long"]:
            done = {"drop": "left out", "truncate": "truncated", "keep": "kept"}[action]
            parts.append(f"{counts['too_long']} too long ({done})")
        return ", ".join(parts)

    def _first_error(
        self, source: TokenBuffer, target: TokenBuffer, too_long: np.ndarray, split: str
    ) -> DataError:
        row = int(too_long.argmax())
        steps = f"{source.lengths[row] + 1} source and {target.lengths[row] + 1} target tokens"
        limits = f"data.max_source_length={self.max_source_length}"
        limits += f" data.max_target_length={self.max_target_length}"
        return DataError(
            f"data.{split}, pair {row + 1}",
            f"it has {steps}, {limits}",
            "raise the limits, or set data.too_long=drop or truncate",
        )


def _beyond(tokens: TokenBuffer, limit: int | None) -> np.ndarray:
    if limit is None:
        return np.zeros(len(tokens), dtype=bool)
    return tokens.lengths + 1 > limit


def _truncated(tokens: TokenBuffer, limit: int | None) -> TokenBuffer:
    if not _beyond(tokens, limit).any():
        return tokens
    assert limit is not None
    return TokenBuffer.from_rows(row[: limit - 1].tolist() for row in tokens)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())
