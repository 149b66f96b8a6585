"""Names: an evaluation's folder follows from what was asked, the list of tasks from conf/."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.commands.evaluate import MAX_NAME_LENGTH, evaluation_name
from seqloom.commands.tasks import read_tasks, tasks
from seqloom.config import config_dir

OVERRIDES = st.lists(st.text(alphabet="ab/._=, \u00e9", max_size=80).map("data.root={}".format))


@given(OVERRIDES)
def test_a_name_is_one_folder(overrides: list[str]) -> None:
    name = evaluation_name(overrides)
    assert "/" not in name
    assert name not in ("", ".", "..")
    assert len(name) <= MAX_NAME_LENGTH + 9
    assert name == evaluation_name(list(reversed(overrides)))


def test_different_questions_have_different_names() -> None:
    asked = [[], ["data.root=/a"], ["data.root=-a"], ["data.root=/a", "decoding.beam_size=2"]]
    assert len({evaluation_name(overrides) for overrides in asked}) == len(asked)


def test_every_task_is_listed_with_its_default_data_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {line.name: line for line in read_tasks(config_dir())}
    assert found["translation"].data[0] == "cldr"
    assert set(found["translation"].data) >= {"cldr", "multi30k", "parallel_text"}
    tasks()
    assert len(capsys.readouterr().out.splitlines()) == len(found)
