"""Length and coverage penalties: what makes scores of unequal hypotheses comparable.

Both of Wu et al. 2016, "Google's Neural Machine Translation System", equation 14:
score = log P / length_penalty + coverage_penalty.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from seqloom.errors import ConfigError

LengthPenaltyKind = Literal["gnmt", "average"]
COVERAGE_FLOOR = 1e-6  # a source position without any attention costs log(1e-6), not infinity


class LengthPenalty:
    """`gnmt`: ((5 + n) / 6) ** alpha; `average`: n ** alpha; n tokens with the end symbol.

    Neither falls as n grows, which the stopping rule of a beam search builds on; alpha 0 is no
    penalty.
    """

    def __init__(self, *, alpha: float, kind: LengthPenaltyKind) -> None:
        if alpha < 0:
            raise ConfigError(
                f"length_penalty={alpha}", "it would reward shortness", "set it to 0 (off) or more"
            )
        if kind not in get_args(LengthPenaltyKind):
            raise ConfigError(
                f"length_penalty_kind={kind}", "there is no such kind", "choose gnmt or average"
            )
        self.alpha, self.kind = alpha, kind

    def __call__(self, lengths: Tensor) -> Tensor:
        """Divisors in float32, of the shape of `lengths` (int64, at least 1, on the CPU: the powers
        are taken in float64, which not every device has).
        """
        base = lengths.double() if self.kind == "average" else (lengths.double() + 5) / 6
        return base.pow(self.alpha).float()


def coverage_penalty(coverage: Tensor, source_mask: Tensor, beta: float) -> Tensor:
    """beta * sum_s log(min(coverage_s, 1)) over the real source positions; never above 0.

    Args:
        coverage: [..., S], attention summed over the output tokens, the end symbol's included.
        source_mask: bool, broadcastable to `coverage`, True where a position is real.
        beta: weight, at least 0.

    Returns [...] in float32.
    """
    logs = coverage.float().clamp(COVERAGE_FLOOR, 1).log()
    return beta * logs.masked_fill(~source_mask, 0).sum(-1)
