"""Laws of batch plans and of their share over ranks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqloom.data.batching import (
    Bucketed,
    PaddedBatches,
    SortedBatches,
    TrainingPlan,
    WorldBatchSampler,
    padded_steps,
    padding_fractions,
    share_out,
)
from seqloom.errors import ConfigError

BATCHINGS = (
    Bucketed(batch_size=4),
    Bucketed(batch_size=3, pool_size=7),
    Bucketed(max_tokens=60, longest_first=True),
    Bucketed(max_tokens=60, max_rows=2, pool_size=5),
    PaddedBatches(batch_size=5),
    PaddedBatches(max_tokens=64),
    SortedBatches(batch_size=2),
    SortedBatches(max_tokens=61),
)
lengths_of_rows = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=60).map(
    lambda rows: np.array(rows, dtype=np.int64).reshape(-1, 2)
)
any_batching = st.sampled_from(BATCHINGS)


def rows_of(batches):
    return [int(row) for batch in batches for row in batch]


def as_lists(batches):
    return [batch.tolist() for batch in batches]


def random_lengths(num_rows, seed=0, longest=40):
    rng = np.random.default_rng(seed)
    source = rng.integers(1, longest, num_rows)
    return np.stack([source, np.clip(source + rng.integers(-3, 9, num_rows), 1, None)], axis=1)


@given(any_batching, lengths_of_rows, st.integers(0, 5), st.integers(0, 5))
def test_a_plan_holds_every_row_once_within_its_limits(batching, lengths, seed, epoch):
    for batches in (
        batching.plan(lengths, seed=seed, epoch=epoch),
        batching.evaluation_plan(lengths),
    ):
        assert sorted(rows_of(batches)) == list(range(len(lengths)))
        for batch in batches:
            assert 1 <= len(batch) <= min(batching.batch_size or 99, batching.max_rows or 99)
            if batching.max_tokens is not None:
                assert len(batch) * lengths[batch].max() <= batching.max_tokens


@given(any_batching, lengths_of_rows, st.integers(0, 5), st.integers(0, 5))
def test_a_plan_is_a_pure_function(batching, lengths, seed, epoch):
    first = batching.plan(lengths, seed=seed, epoch=epoch)
    assert as_lists(first) == as_lists(batching.plan(lengths.copy(), seed=seed, epoch=epoch))


@given(lengths_of_rows, st.integers(1, 9), st.integers(0, 3))
def test_rows_in_a_batch_fix_the_number_of_batches(lengths, batch_size, epoch):
    for batching in (
        Bucketed(batch_size=batch_size, pool_size=8),
        PaddedBatches(batch_size=batch_size),
    ):
        assert batching.has_fixed_length
        plan = batching.plan(lengths, seed=0, epoch=epoch)
        assert len(plan) == -(-len(lengths) // batch_size)


@given(lengths_of_rows, st.integers(1, 50))
def test_a_batch_by_tokens_is_as_large_as_it_may_be(lengths, longest):
    lengths = np.minimum(lengths, longest)
    batches = SortedBatches(max_tokens=100).plan(lengths, seed=0, epoch=0)
    for batch, following in pairwise(batches):
        with_one_more = np.append(batch, following[0])
        assert len(with_one_more) * lengths[with_one_more].max() > 100


@given(
    any_batching,
    lengths_of_rows,
    st.integers(1, 5),
    st.sampled_from(["cut", "keep"]),
)
@settings(max_examples=200)
def test_ranks_share_the_plan(batching, lengths, world_size, uneven):
    plan = batching.plan(lengths, seed=1, epoch=0)
    ranks = [
        WorldBatchSampler(
            lambda _: share_out(plan, lengths, world_size=world_size, uneven=uneven),
            rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]
    shares = [list(rank) for rank in ranks]
    assert [len(rank) for rank in ranks] == [len(share) for share in shares]
    rows = [row for share in shares for row in rows_of(share)]
    counts = [len(share) for share in shares]
    planned = {tuple(batch.tolist()) for batch in plan}
    given_out = [tuple(batch.tolist()) for share in shares for batch in share]
    if uneven == "keep":
        assert sorted(rows) == list(range(len(lengths)))
        assert max(counts) - min(counts) <= 1
        assert min(counts) >= 1 or len(lengths) < world_size
        return
    assert len(set(counts)) == 1
    assert set(given_out) <= planned
    assert len(set(rows)) == len(rows)
    assert len(planned) - len(given_out) == len(plan) % world_size


def test_one_process_walks_the_plan_itself():
    lengths = random_lengths(100)
    plan = Bucketed(batch_size=8, longest_first=True).plan(lengths, seed=3, epoch=0)
    for uneven in ("cut", "keep"):
        assert as_lists(share_out(plan, lengths, world_size=1, uneven=uneven)) == as_lists(plan)


def test_ranks_get_equal_work_in_every_step():
    lengths = random_lengths(4000)
    plan = Bucketed(batch_size=16).plan(lengths, seed=3, epoch=0)

    def waiting(batches):
        cost = padded_steps(batches, lengths).sum(1).reshape(-1, 4)
        return 1 - cost.sum() / (cost.max(1).sum() * 4)

    shared = share_out(plan, lengths, world_size=4, uneven="cut")
    assert waiting(shared) < 0.02 < 0.2 < waiting(plan[: len(shared)])


def test_the_costliest_batch_comes_first_on_request():
    lengths = random_lengths(500)
    batching = Bucketed(max_tokens=200, longest_first=True)
    plan = batching.plan(lengths, seed=0, epoch=0)
    assert padded_steps(plan, lengths).sum(1).argmax() == 0
    shared = share_out(plan, lengths, world_size=3, uneven="cut")
    assert padded_steps(shared, lengths).sum(1).argmax() < 3
    later = batching.plan(lengths, seed=0, epoch=1)
    assert padded_steps(later, lengths).sum(1).argmax() != 0


@pytest.mark.parametrize(
    "batching", [Bucketed(batch_size=8), Bucketed(batch_size=8, pool_size=100)]
)
def test_epochs_and_seeds_differ_in_order_and_in_company(batching):
    lengths = random_lengths(300, longest=6)
    plans = [as_lists(batching.plan(lengths, seed=s, epoch=e)) for s, e in ((0, 0), (0, 1), (1, 0))]
    for other in plans[1:]:
        assert plans[0] != other
        company = [{frozenset(batch) for batch in plan} for plan in (plans[0], other)]
        assert len(company[0] & company[1]) < len(company[0]) / 10


@pytest.mark.parametrize("num_rows", [0, 1])
@pytest.mark.parametrize("batching", BATCHINGS)
def test_nothing_and_one_row(batching, num_rows):
    lengths = np.full((num_rows, 2), 3)
    assert as_lists(batching.plan(lengths, seed=0, epoch=0)) == [[0]] * num_rows
    assert as_lists(batching.evaluation_plan(lengths)) == [[0]] * num_rows
    assert padding_fractions(batching.plan(lengths, seed=0, epoch=0), lengths) == (0.0, 0.0)


def test_padding_fractions_by_hand():
    lengths = np.array([[1, 4], [3, 4], [2, 2]])
    batches = [np.array([0, 1]), np.array([2])]
    assert padded_steps(batches, lengths).tolist() == [[6, 8], [2, 2]]
    assert padding_fractions(batches, lengths) == (2 / 8, 0.0)


def test_bucketing_pads_little_on_both_sides():
    lengths = random_lengths(29000, longest=30)
    bucketed, in_order = (
        padding_fractions(batching.plan(lengths, seed=1, epoch=2), lengths)
        for batching in (Bucketed(batch_size=64), PaddedBatches(batch_size=64))
    )
    assert bucketed[0] < 0.02
    assert bucketed[1] < 0.08
    assert min(in_order) > 0.4


def test_evaluation_runs_the_longest_sources_first_and_refuses_none():
    lengths = random_lengths(100)
    batches = PaddedBatches(max_tokens=10).evaluation_plan(lengths)
    sources = lengths[np.concatenate(batches), 0]
    assert (np.diff(sources) <= 0).all()


def test_a_sampler_starts_late_and_keeps_its_length():
    lengths = random_lengths(40)
    batching = Bucketed(batch_size=4)
    sampler = WorldBatchSampler(lambda epoch: batching.plan(lengths, seed=0, epoch=epoch))
    whole = as_lists(sampler)
    sampler.start = 3
    assert len(sampler) == 10
    sampler.set_epoch(0)
    assert as_lists(sampler) == as_lists(sampler) == whole[3:]
    sampler.set_epoch(1)
    following = as_lists(sampler)
    assert len(following) == 10
    assert following != whole
    assert sampler.sampler is sampler
    assert not hasattr(sampler, "batch_size")
    assert not hasattr(sampler, "drop_last")


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"batch_size": 2, "max_tokens": 2},
        {"batch_size": 0},
        {"max_tokens": -1},
        {"max_tokens": 9, "max_rows": 0},
        {"batch_size": 4, "pool_size": 0},
    ],
)
def test_limits_that_cannot_be_are_refused(limits):
    with pytest.raises(ConfigError, match=r"batching\."):
        Bucketed(**limits)


def test_an_example_that_is_too_long_is_named():
    lengths = np.array([[3, 4], [5, 31], [30, 2]])
    with pytest.raises(
        ConfigError, match=r"max_tokens=20: .*target of example 1 .*31 tokens.*max_tokens=31"
    ):
        Bucketed(max_tokens=20).plan(lengths, seed=0, epoch=0)


@given(lengths_of_rows, st.integers(0, 6))
def test_epochs_of_a_training_plan_are_equally_long(lengths, epoch):
    batching = Bucketed(max_tokens=60, pool_size=20)
    plan = TrainingPlan(batching, lambda _: lengths, seed=0)
    batches, planned_by = plan(epoch)
    assert planned_by is lengths
    first = batching.plan(lengths, seed=0, epoch=0)
    most_that_fit = min(len(first) + -(-len(first) // 100), len(lengths))
    assert len(batches) <= most_that_fit
    rows = rows_of(batches)
    assert len(set(rows)) == len(rows)
    own = batching.plan(lengths, seed=0, epoch=epoch)
    if len(own) <= len(first):
        assert sorted(rows) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) * lengths[batch].max() <= 60


def test_a_training_plan_fills_up_by_halves_and_keeps_the_costliest_first():
    lengths = random_lengths(2000)
    batching = Bucketed(max_tokens=400, pool_size=300, longest_first=True)
    plan = TrainingPlan(batching, lambda _: lengths, seed=0)
    counts = {len(batching.plan(lengths, seed=0, epoch=epoch)) for epoch in range(8)}
    assert len(counts) > 1
    for epoch in range(8):
        batches, _ = plan(epoch)
        assert len(batches) == len(plan(0)[0])
        assert sorted(rows_of(batches)) == list(range(2000))
    assert padded_steps(plan(0)[0], lengths).sum(1).argmax() == 0
