"""`UserCell`: a cell that a user wrote, from one file outside the package.

The file is imported as it is, so it runs with the user's rights. `config.build` therefore loads it
only where the command line that runs now has named it: a run folder from elsewhere that names a
file is refused.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from seqloom.cells.base import Cell
from seqloom.errors import ConfigError


class UserCell:
    """A recipe of cells: called with sizes, it gives one.

    Args:
        file: Python file that defines the class.
        name: of a class in it that is a `Cell`.
        options: handed to the class beside `input_size` and `hidden_size`.

    Raises:
        ConfigError: no such file or class, a file that fails, or options that the class refuses.
    """

    def __init__(self, *, file: str, name: str, options: dict[str, Any]) -> None:
        self.file, self.name, self.options = file, name, options
        self._class = _load(Path(file), name)

    def __call__(self, *, input_size: int, hidden_size: int) -> Cell:
        try:
            return self._class(input_size=input_size, hidden_size=hidden_size, **self.options)
        except TypeError as error:
            raise ConfigError(
                f"cell.options={self.options}",
                f"{self.name} refuses them ({error})",
                f"see its constructor in {self.file}",
            ) from error


def _load(file: Path, name: str) -> type[Cell]:
    if not file.is_file():
        raise ConfigError(f"cell.file={file}", "there is no such file", "name a Python file")
    spec = importlib.util.spec_from_file_location(f"seqloom_user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"cell.file={file}", "is no Python file", "name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        why = f"cannot be imported ({type(error).__name__}: {error})"
        raise ConfigError(f"cell.file={file}", why, "mend the file") from error
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Cell)):
        cells = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, Cell)
            and value.__module__ == module.__name__
        ]
        why = f"{file} defines no such cell"
        mend = f"write cell.name={' or '.join(cells)}" if cells else "make it a subclass of Cell"
        raise ConfigError(f"cell.name={name}", why, mend)
    return found
