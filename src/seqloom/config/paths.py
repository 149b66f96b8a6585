"""Where the YAML files of `conf/` are: beside `train.py` in a checkout, inside the package in an
installed wheel.

The checkout's come first, so that an edited file is the one that is used.
"""

from __future__ import annotations

from pathlib import Path

ROOT_FILE = "train.yaml"


def config_dir() -> Path:
    """The folder that holds `train.yaml` and a folder for every config group."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    if (checkout / "train.py").is_file() and (checkout / "conf" / ROOT_FILE).is_file():
        return checkout / "conf"
    return package / "conf"


def groups(directory: Path) -> dict[str, list[str]]:
    """The config groups under `directory`, folders, with their options, files; both sorted."""
    return {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in sorted(directory.iterdir())
        if folder.is_dir()
    }
