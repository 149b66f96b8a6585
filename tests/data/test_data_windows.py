"""Laws of how one long text is cut into windows and shared out over ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data.text_stream import StreamDataset
from seqloom.data.windows import StreamBatches, WindowBatches
from seqloom.errors import ConfigError


def ranks(batches, world_size):
    return [batches[rank::world_size] for rank in range(world_size)]


def steps_of(spans):
    """All steps of a batch's spans, row by row."""
    return [list(range(begin, begin + length)) for begin, length in spans[:, :2].tolist()]


streams = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(0, 60), st.integers(1, 3))


@given(streams)
def test_a_stream_holds_every_step_once_and_its_rows_go_on(stream):
    batch_size, window, extra, world_size = stream
    num_rows = batch_size * world_size
    num_tokens = num_rows * window + 1 + extra
    cut = StreamBatches(batch_size=batch_size, window=window)
    batches = cut.spans(num_tokens, seed=0, epoch=0, world_size=world_size)
    assert len(batches) % world_size == 0
    seen = []
    for share in ranks(batches, world_size):
        rows = [[] for _ in range(batch_size)]
        for number, spans in enumerate(share):
            assert len(spans) == batch_size
            assert spans[:, 1].max() <= window
            assert (spans[:, 2] == (number > 0)).all()
            for row, steps in zip(rows, steps_of(spans), strict=True):
                row += steps
        for row in rows:
            assert row == list(range(row[0], row[0] + len(row)))
            seen += row
    assert len(seen) == len(set(seen))
    assert set(range(num_tokens - 1)) >= set(seen)
    assert num_tokens - 1 - len(seen) < world_size
    if world_size == 1:
        assert sorted(seen) == list(range(num_tokens - 1))
        assert all((spans[:, 1] == window).all() for spans in batches[:-1])


@given(streams, st.booleans())
def test_an_evaluation_holds_every_step_once_on_any_number_of_ranks(stream, carry):
    batch_size, window, num_steps, world_size = stream
    num_steps = max(num_steps, 1)
    cut = WindowBatches(batch_size=batch_size, window=window, carry=carry)
    batches = cut.evaluation_spans(num_steps + 1, world_size=world_size)
    assert min(len(share) for share in ranks(batches, world_size)) >= 1
    steps = [step for spans in batches for row in steps_of(spans) for step in row]
    assert sorted(steps) == list(range(num_steps))
    # Without a step is only a batch that keeps its rank in time with the others.
    assert all(spans[:, 1].any() for spans in batches if len(spans))
    assert len(batches) <= world_size or len(batches[-1])
    assert all(spans.shape[1] == (3 if carry else 2) for spans in batches)
    alone = cut.evaluation_spans(num_steps + 1, world_size=1)
    assert rows_together(batches) == rows_together(alone)


def rows_together(batches):
    return sorted(tuple(row) for spans in batches for row in spans.tolist() if row[1])


def test_a_shifted_stream_holds_every_step_once_from_another_place():
    cut = StreamBatches(batch_size=3, window=4, shift=True)
    plans = [cut.spans(50, seed=1, epoch=epoch, world_size=1) for epoch in range(4)]
    begins = {int(plan[0][0, 0]) for plan in plans}
    assert len(begins) == 4
    for plan in plans:
        steps = [step % 49 for spans in plan for row in steps_of(spans) for step in row]
        assert sorted(steps) == list(range(49))
        assert len(plan) == len(plans[0])
    again = cut.spans(50, seed=1, epoch=2, world_size=1)
    assert all((one == other).all() for one, other in zip(again, plans[2], strict=True))


def test_the_next_epoch_of_a_shifted_stream_reads_over_the_end():
    ids = np.arange(10, 60, dtype=np.int32)
    data = StreamDataset(ids)
    cut = StreamBatches(batch_size=2, window=7, shift=True)
    for epoch in range(6):
        for spans in cut.spans(50, seed=0, epoch=epoch, world_size=1):
            source, target = data[epoch, spans].pair()
            for reads, writes in zip(source.to_list(), target.to_list(), strict=True):
                assert (writes == reads + 1).all()


def test_windows_are_drawn_anew_in_each_epoch():
    cut = WindowBatches(batch_size=4, window=5)
    plans = [cut.spans(101, seed=0, epoch=epoch, world_size=1) for epoch in (0, 1, 0)]
    assert [len(plan) for plan in plans] == [5, 5, 5]
    first, second, again = (np.concatenate(plan) for plan in plans)
    assert (first == again).all()
    assert (first != second).any()
    assert (first[:, 0] >= 0).all()
    assert (first[:, 0] + 5 <= 100).all()
    assert (first[:, 1] == 5).all()
    shorter = WindowBatches(batch_size=4, window=5, windows_per_epoch=9)
    sizes = [len(spans) for spans in shorter.spans(6, seed=0, epoch=0, world_size=1)]
    assert sizes == [4, 4, 1]
    assert len(shorter.spans(6, seed=0, epoch=0, world_size=2)) == 2


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        (
            StreamBatches(batch_size=8, window=10),
            r"batch_size=8 .*8 rows .*81 tokens.*batch_size=4 or",
        ),
        (StreamBatches(batch_size=2, window=60), r"window=60: 2 rows .*121 tokens.*lower"),
        (WindowBatches(batch_size=2, window=60), r"window=60: 1 rows .*61 tokens.*lower"),
    ],
)
def test_a_text_that_does_not_fill_its_rows_is_refused(cut, why):
    with pytest.raises(ConfigError, match=why):
        cut.spans(50, seed=0, epoch=0, world_size=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: StreamBatches(batch_size=0, window=3),
        lambda: StreamBatches(batch_size=3, window=0),
        lambda: WindowBatches(batch_size=3, window=3, windows_per_epoch=0),
    ],
)
def test_numbers_that_cannot_be_are_refused(make):
    with pytest.raises(ConfigError, match=r"batching\.\w+=0: must be positive"):
        make()


def test_more_processes_than_rows_to_evaluate_have_empty_batches():
    batches = StreamBatches(batch_size=2, window=3).evaluation_spans(4, world_size=5)
    assert [spans.tolist() for spans in batches] == [[[0, 3, 0]], [], [], [], []]


def test_a_text_without_a_step_to_evaluate_is_refused():
    with pytest.raises(ConfigError, match=r"only 1 tokens; give at least 2"):
        StreamBatches(batch_size=2, window=3).evaluation_spans(1, world_size=1)
