"""How a model is spread over devices, and in which precision it multiplies."""

from seqloom.strategies.setting import Setting, StrategyRecipe

__all__ = ["Setting", "StrategyRecipe"]
