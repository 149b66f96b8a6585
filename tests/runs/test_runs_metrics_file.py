import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqloom.runs import MetricsFile, read_metrics


def rows(path: Path) -> list[dict[str, float]]:
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in read_metrics(path)
    ]


def test_a_row_a_step_and_new_names_widen_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    file.append(1, {"epoch": 0, "train/loss": 2.5})
    assert rows(path) == [{"step": 1, "epoch": 0, "train/loss": 2.5}]
    file.append(2, {"epoch": 0, "train/loss": 2.0})
    file.append(2, {"val/loss": 3.0})
    file.append(3, {"epoch": 1, "train/loss": 1e-9})
    assert rows(path) == [
        {"step": 1, "epoch": 0, "train/loss": 2.5},
        {"step": 2, "epoch": 0, "train/loss": 2.0, "val/loss": 3.0},
        {"step": 3, "epoch": 1, "train/loss": 1e-9},
    ]
    assert path.read_text().splitlines()[0] == "step,epoch,seconds,train/loss,val/loss"
    file.close()


def test_a_torn_line_is_dropped_and_the_clock_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,seconds,a\n1,0,10.0,5\n2,0,20.0,6\n3,0,3")
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
    file = MetricsFile(path)
    file.append(3, {"a": 7})
    file.close()
    assert [row["a"] for row in read_metrics(path)] == [5, 6, 7]
    assert 20 <= read_metrics(path)[-1]["seconds"] < 50


def test_truncation_drops_what_will_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    for step in range(5):
        file.append(step, {"a": step})
    file.truncate_after(2)
    file.append(3, {"a": 30})
    file.close()
    assert [row["a"] for row in read_metrics(path)] == [0, 1, 2, 30]


def test_dropped_rows_have_taken_their_time(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,seconds,a\n1,0,10.0,5\n2,0,20.0,6\n")
    file = MetricsFile(path)
    file.truncate_after(0)
    file.append(1, {"a": 7})
    file.close()
    assert [row["seconds"] >= 20 for row in read_metrics(path)] == [True]


def test_no_file_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == []


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.dictionaries(st.sampled_from("abc"), st.floats(allow_nan=False), min_size=1),
        ),
        max_size=12,
    )
)
def test_the_file_says_what_was_appended(
    tmp_path_factory: object, entries: list[tuple[int, dict[str, float]]]
) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.csv"  # type: ignore[attr-defined]
    file = MetricsFile(path)
    expected: dict[int, dict[str, float]] = {}
    for step, metrics in sorted(entries, key=lambda entry: entry[0]):
        file.append(step, metrics)
        expected.setdefault(step, {"step": step, "epoch": 0}).update(metrics)
    file.close()
    assert rows(path) == list(expected.values())


def test_a_row_never_becomes_shorter_than_it_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    file.append(1, {"a": 0.123456789012})
    size = path.stat().st_size
    file.append(1, {"a": 7})  # A kill before a cut would leave the end of the longer row.
    assert path.stat().st_size == size
    file.close()
    assert rows(path) == [{"step": 1, "epoch": 0, "a": 7}]
    assert path.read_text().count("\n") == 2


def test_a_row_that_grows_while_it_is_read_is_not_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    file.append(0, {"a": 1, "b": 2})
    file.append(1, {"a": 0.5})
    stat = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        found = stat(descriptor)
        monkeypatch.undo()
        file.append(1, {"b": 0.25})
        return found

    monkeypatch.setattr(os, "fstat", grow)
    assert rows(path) == [{"step": 0, "epoch": 0, "a": 1, "b": 2}]
    assert rows(path)[1] == {"step": 1, "epoch": 0, "a": 0.5, "b": 0.25}
    file.close()
