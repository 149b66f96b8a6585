"""Errors that a user can cause, told in one line: what was given, why it cannot be, what to write
instead.

`ConfigError` is a wrong call (exit code 2), `DataError` is bad input found while running (exit
code 1). The commands print the line and exit; nothing else in Seqloom catches them, but for data
that is told to leave out what is bad.
"""


class SeqloomError(ValueError):
    """An error in three parts: the value at fault, the reason, and the mend.

    Args:
        value: what was given, as the user wrote it (`trainer.devices=3`, `train.de:17`).
        why: why that cannot be.
        instead: what to write or do instead.
    """

    exit_code = 1

    def __init__(self, value: str, why: str, instead: str) -> None:
        super().__init__(value, why, instead)
        self.value, self.why, self.instead = value, why, instead

    def __str__(self) -> str:
        return f"{self.value}: {self.why}; {self.instead}"


class ConfigError(SeqloomError):
    """A setting that cannot be; found before any work is done."""

    exit_code = 2


class DataError(SeqloomError):
    """Input that cannot be used; `value` names file and line."""


class TrainingError(SeqloomError):
    """A training that cannot go on; `value` names what was seen, and when."""


def one_line(error: BaseException) -> str:
    """An error as summary.json keeps it; one that nobody expected with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SeqloomError) else f"{type(error).__name__}: {text}"
