"""Loggers, callbacks and the report page. The loggers that conf/ names are found here.

They are imported when asked for: the report page needs no Lightning.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("CsvLogger", "MlflowLogger", "TensorboardLogger", "WandbLogger"):
        from seqloom.tracking import loggers

        return getattr(loggers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
