"""Rooms import only upward: the table of the design, proved on the imports of every file."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "seqloom"
TABLE = [
    "__init__",
    "_torchvision",
    "errors",
    "sequences",
    "config",
    "runs",
    "sweeps",
    "cells",
    "unrolling",
    "layers",
    "topologies",
    "decoding",
    "data",
    "metrics",
    "learners",
    "strategies",
    "tracking",
    "commands",
    "entry",
    "__main__",
]
MODELS = {"cells", "unrolling", "layers", "topologies"}
IGNORANT = {
    "sequences": MODELS,
    "runs": {"config"},
    "cells": {"config", "runs", "sweeps"},
    "unrolling": {"config", "runs", "sweeps"},
    "layers": {"config", "runs", "sweeps"},
    "topologies": {"config", "runs", "sweeps"},
    "decoding": {"data", "config", "runs", "sweeps"},
    "data": {*MODELS, "decoding", "config", "runs", "sweeps"},
    "metrics": {*MODELS, "decoding", "data", "config", "runs", "sweeps"},
    "learners": {"config", "runs", "sweeps"},
    "strategies": {"learners", "config", "runs", "sweeps"},
}
TORCH_FREE = ("errors", "config", "runs", "sweeps", "entry", "__main__", "__init__", "_torchvision")
HEAVY = {"torch", "lightning", "torchmetrics", "torchvision", "wandb", "matplotlib", "tokenizers"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules that `tree` imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(tree: ast.AST) -> set[str]:
    names = {name for name in imports(tree) if name.split(".")[0] == "seqloom"}
    rooms = {name.split(".")[1] if "." in name else "__init__" for name in names}
    return {room if room in TABLE else "__init__" for room in rooms}


def top_level(tree: ast.Module) -> ast.Module:
    """The statements that run on import, without the insides of functions."""
    kept = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return ast.Module(body=kept, type_ignores=[])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_table(file: Path) -> None:
    room = room_of(file)
    assert room in TABLE, f"{room} is a room that the table does not have"
    imported = rooms_imported(ast.parse(file.read_text())) - {room, "__init__"}
    below = {other for other in imported if TABLE.index(other) > TABLE.index(room)}
    if room == "__init__":
        below -= {"_torchvision"}
    assert not below, f"{room} imports from below: {below}"
    known = imported & IGNORANT.get(room, set())
    assert not known, f"{room} should know nothing of {known}"


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if room_of(file) in TORCH_FREE],
    ids=lambda file: str(file.relative_to(PACKAGE)),
)
def test_nothing_heavy_is_imported_before_it_is_needed(file: Path) -> None:
    roots = {name.split(".")[0] for name in imports(top_level(ast.parse(file.read_text())))}
    assert not roots & HEAVY


def test_torch_free_rooms_stay_so_with_everything_they_import() -> None:
    modules = [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for file in FILES
        if room_of(file) in TORCH_FREE
    ]
    lines = [f"import {module}" for module in modules]
    code = "\n".join(["import sys", *lines, f"print(sorted(set(sys.modules) & {HEAVY!r}))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
