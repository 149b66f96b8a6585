"""Laws of the ragged buffers, against plain Python lists."""

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data import buffers
from seqloom.data.buffers import TextBuffer, TokenBuffer
from seqloom.errors import DataError

LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=30)
ROWS = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9), max_size=30)


@given(LINES)
def test_text_reads_back_as_given(lines: list[str]) -> None:
    buffer = TextBuffer.from_lines(iter(lines))
    assert list(buffer) == lines == [buffer[i] for i in range(len(buffer))]
    assert buffer.lengths.tolist() == [len(line.encode()) for line in lines]
    assert buffer.num_bytes == sum(len(line.encode()) for line in lines) + 8 * (len(lines) + 1)


@given(ROWS)
def test_tokens_read_back_as_given(rows: list[list[int]]) -> None:
    buffer = TokenBuffer.from_rows(iter(rows))
    assert [row.tolist() for row in buffer] == rows
    assert all(row.dtype == np.int32 for row in buffer)
    assert buffer.lengths.dtype == np.int64
    assert buffer.lengths.tolist() == [len(row) for row in rows]


@pytest.mark.parametrize("chunk_rows", [1, 3, 1000])
@given(lines=LINES, data=st.data())
def test_take_is_list_indexing(chunk_rows: int, lines: list[str], data: st.DataObject) -> None:
    rows = st.lists(st.integers(0, len(lines) - 1)) if lines else st.just([])
    indices = data.draw(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buffers, "CHUNK_ROWS", chunk_rows)
        taken = TextBuffer.from_lines(lines).take(indices)
        assert list(taken) == [lines[i] for i in indices]


def test_indices_outside_are_refused() -> None:
    buffer = TextBuffer.from_lines(["a", "b"])
    assert buffer[-1] == "b"
    with pytest.raises(IndexError):
        buffer[2]
    with pytest.raises(IndexError):
        buffer.take([0, 2])
    with pytest.raises(IndexError):
        buffer.take([-1])


def test_pairs_are_two_buffers_of_one_pass() -> None:
    source, target = TextBuffer.from_pairs(iter([("a", "x"), ("", "yy")]))
    assert (list(source), list(target)) == (["a", ""], ["x", "yy"])


@pytest.mark.parametrize("lines", [[], [""], ["", "\u00e4\n\u65e5", ""]])
def test_saved_and_memory_mapped(tmp_path: Path, lines: list[str]) -> None:
    TextBuffer.from_lines(lines).save(tmp_path, "train.en")
    TokenBuffer.from_rows([list(line.encode()) for line in lines]).save(tmp_path, "ids")
    loaded = TextBuffer.load(tmp_path, "train.en")
    assert list(loaded) == lines
    assert isinstance(loaded._offsets, np.memmap)
    assert [bytes(row.tolist()) for row in TokenBuffer.load(tmp_path, "ids")] == [
        line.encode() for line in lines
    ]


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    TokenBuffer.from_rows([[1, 2, 3], [4]]).save(tmp_path, "ids")
    with pytest.raises(DataError, match="not a saved TextBuffer"):
        TextBuffer.load(tmp_path, "ids")
    with pytest.raises(DataError, match="absent"):
        TokenBuffer.load(tmp_path, "absent")
    path = tmp_path / "ids.values.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match="not a saved TokenBuffer"):
        TokenBuffer.load(tmp_path, "ids")
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a saved TokenBuffer"):
        TokenBuffer.load(tmp_path, "ids")


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes only on Linux")
def test_building_costs_little_more_than_the_bytes() -> None:
    line = "x" * 100
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    buffer = TextBuffer.from_lines(line for _ in range(1_000_000))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert buffer.num_bytes == 100_000_000 + 8 * 1_000_001
    assert grown < 1.35 * buffer.num_bytes  # a list of str would cost half as much again
