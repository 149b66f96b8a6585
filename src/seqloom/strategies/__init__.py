"""How a model is spread over devices, and in which precision it multiplies."""

from seqloom.strategies.setting import Setting, StrategyOptions

__all__ = ["Setting", "StrategyOptions"]
