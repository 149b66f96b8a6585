"""A cell from a file outside the package: the one of docs/cells.md trains, and is never loaded from
a run that the command line does not vouch for."""

import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from seqloom.cells import Cell
from seqloom.cells.user import UserCell
from seqloom.config import build
from seqloom.config.build import trust_file
from seqloom.errors import ConfigError
from seqloom.sequences import Padded
from seqloom.unrolling import Dynamic, Static

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "cells.md"


@pytest.fixture
def cell_file(tmp_path: Path) -> Path:
    """The cell that docs/cells.md shows, in a file."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    file = tmp_path / "my_cell.py"
    file.write_text(code)
    return file


def node(file: Path, **changes: object) -> object:
    values = {"file": str(file), "name": "LeakyCell", "options": {"leak": 0.3}, **changes}
    return OmegaConf.create({"_target_": "seqloom.cells.user.UserCell", **values})


def test_the_documented_cell_runs_in_every_loop(cell_file: Path) -> None:
    trust_file(str(cell_file))
    cell = build(node(cell_file))(input_size=3, hidden_size=5)  # type: ignore[arg-type]
    assert isinstance(cell, Cell)
    assert cell.leak == 0.3
    inputs = Padded(torch.randn(3, 4, 3), torch.tensor([4, 0, 2]))
    state = cell.initial_state(inputs.values, 3)
    outputs, final = Dynamic()(cell, inputs, state)
    others, last = Static(num_steps=6)(cell, inputs, state)
    torch.testing.assert_close(outputs.values, others.values)
    torch.testing.assert_close(final[0], last[0])
    assert bool((final[0][1] == 0).all())


def test_a_config_alone_loads_no_code(tmp_path: Path) -> None:
    file = tmp_path / "evil.py"
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ConfigError, match=r"add cell\.file="):
        build(node(file))  # type: ignore[arg-type]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("code", "changes", "named"),
    [
        ("x = 1", {}, "defines no such cell"),
        ("1 / 0", {}, "ZeroDivisionError"),
        ("", {"name": "Other"}, "cell.name=Other"),
    ],
)
def test_a_wrong_file_is_named(
    tmp_path: Path, code: str, changes: dict[str, str], named: str
) -> None:
    file = tmp_path / "wrong_cell.py"
    file.write_text(code)
    with pytest.raises(ConfigError, match=named):
        UserCell(file=str(file), name=changes.get("name", "LeakyCell"), options={})


def test_a_missing_file_and_wrong_options_are_named(cell_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        UserCell(file=str(tmp_path / "none.py"), name="LeakyCell", options={})
    recipe = UserCell(file=str(cell_file), name="LeakyCell", options={"lek": 1})
    with pytest.raises(ConfigError, match=r"cell\.options"):
        recipe(input_size=2, hidden_size=2)
