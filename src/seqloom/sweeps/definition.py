"""`Definition`: what makes a sweep the same sweep again, as `sweep.yaml` in its folder.

The one idea: a sweep's folder is an identity. The same command finds its folder and goes on there;
another definition in the same folder is refused with what differs, since jobs are known by their
numbers. What a search may try is part of it, wherever it stands, so a changed file of spaces is
noticed. What only says how or how far the sweep is run (jobs at a time, trials in all) is no part,
and no password is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from seqloom.errors import ConfigError
from seqloom.runs.files import write_atomic
from seqloom.runs.surroundings import without_passwords

FILE = "sweep.yaml"
# Keys of the group `sweep` that may change between sessions.
CHANGEABLE = ("dry_run", "restart", "retry_failed", "num_trials", "take_over")


@dataclass(frozen=True)
class Definition:
    """Settings of the jobs in their order, how jobs are chosen, and what a search may try: for
    each key its values; {} for a list."""

    settings: tuple[str, ...]
    sweep: Mapping[str, Any]
    space: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        settings: Sequence[str],
        sweep: Mapping[str, Any],
        space: Mapping[str, str] | None = None,
    ) -> Definition:
        """Of a command's settings, its group `sweep` as plain values, and its space."""
        kept = {
            key: without_passwords(value) if isinstance(value, str) else value
            for key, value in sweep.items()
            if key not in CHANGEABLE
        }
        return cls(tuple(settings), kept, dict(space or {}))

    @classmethod
    def read(cls, folder: Path) -> Definition | None:
        """That of the sweep in `folder`; None where none is. Raises ConfigError for a torn file."""
        try:
            plain = yaml.safe_load((folder / FILE).read_text(encoding="utf-8"))
            return cls(tuple(plain["settings"]), dict(plain["sweep"]), dict(plain.get("space", {})))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (yaml.YAMLError, OSError, TypeError, KeyError, ValueError) as error:
            why = f"is not the definition of a sweep ({' '.join(str(error).split())})"
            raise ConfigError(str(folder / FILE), why, "choose another folder") from None

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        plain: dict[str, Any] = {"settings": list(self.settings), "sweep": dict(self.sweep)}
        if self.space:
            plain["space"] = dict(self.space)
        write_atomic(folder / FILE, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))

    def differences(self, other: Definition) -> list[str]:
        """What `other` has instead, in words; [] where they are the same."""
        found = [f"without {text}" for text in self.settings if text not in other.settings]
        found += [f"with {text}" for text in other.settings if text not in self.settings]
        if not found and self.settings != other.settings:
            found = ["its settings are in another order"]
        for key in dict.fromkeys([*self.sweep, *other.sweep]):
            before, now = self.sweep.get(key), other.sweep.get(key)
            if before != now:
                found.append(f"sweep.{key}={now} instead of {before}")
        return found or _space_differences(self.space, other.space)


def _space_differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """For the same command: what files of spaces, or the config under them, make different."""
    found = [f"{key} not searched any more" for key in before if key not in now]
    for key, values in now.items():
        if before.get(key) != values:
            instead = f"instead of {before[key]}" if key in before else "searched too"
            found.append(f"{key}={values} {instead}")
    return found


def sweep_folder(root: Path, definition: Definition, *, restart: bool = False) -> Path:
    """The newest folder under `root` that holds this sweep, else the name of a new one.

    Args:
        restart: a new one in any case.
    """
    if not restart and root.is_dir():
        for folder in sorted(root.iterdir(), reverse=True):
            if (folder / FILE).is_file() and Definition.read(folder) == definition:
                return folder
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = root / stamp, 1
    while folder.exists():
        number += 1
        folder = root / f"{stamp}-{number}"
    return folder


def check_definition(folder: Path, definition: Definition) -> None:
    """Raises ConfigError where `folder` holds another sweep, or runs that no sweep began."""
    before = Definition.read(folder)
    if before is not None:
        found = before.differences(definition)
        if found:
            raise ConfigError(
                f"hydra.sweep.dir={folder}",
                f"it holds another sweep; this one is {', '.join(found)}",
                "type the command of that sweep again, or choose another folder",
            )
    elif folder.is_dir() and any(folder.glob("*/config.yaml")):
        raise ConfigError(
            f"hydra.sweep.dir={folder}", "it holds runs of no known sweep", "choose another folder"
        )
