"""The keyed orders are fair permutations, need no memory, and are the same for any world size."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from pipelines.keys import stable_id
from pipelines.plan.order import BlockOrder, keyed_sample, permute
from pipelines.plan.plan import Plan

Order = Callable[[int, int, int, np.ndarray], np.ndarray]


def in_blocks(seed: int, epoch: int, count: int, positions: np.ndarray) -> np.ndarray:
    order = BlockOrder(seed=seed, epoch=epoch, count=count, block_size=8, blocks_per_window=5)
    return order.samples(positions)


def whole_order(seed: int, epoch: int, count: int, order: Order = permute) -> np.ndarray:
    return order(seed, epoch, count, np.arange(count))


both_orders = pytest.mark.parametrize("order", [permute, in_blocks])


def test_every_sample_comes_once() -> None:
    for count in [*range(1, 301), 1023, 1024, 1025, 4096, 65_537, 1_000_000]:
        assert np.array_equal(np.sort(whole_order(3, 1, count)), np.arange(count)), count


# Independent orders agree in one place on average; Poisson(1) exceeds 8 once in a million. Blocks that meet
# in a window make them a little clustered.
@pytest.mark.parametrize(("order", "most"), [(permute, 8), (in_blocks, 12)])
def test_seeds_and_epochs_give_other_orders(order: Order, most: int) -> None:
    orders = [whole_order(seed, epoch, 1000, order) for seed in (0, 1, -1, 2**62) for epoch in (0, 1, 2)]
    for i, first in enumerate(orders):
        for second in orders[:i]:
            assert (first == second).sum() <= most


@both_orders
def test_a_position_depends_on_nothing_else(order: Order) -> None:
    whole = whole_order(0, 5, 1000, order)
    asked = np.array([999, 0, 17, 17, 500])
    assert np.array_equal(order(0, 5, 1000, asked), whole[asked])
    assert order(0, 5, 1000, np.arange(0)).tolist() == []


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 9, 16, 17, 50, 100])
def test_places_and_pairs_of_places_are_uniform(count: int) -> None:
    draws = 20_000
    table = np.stack([whole_order(seed, 0, count) for seed in range(draws)])
    for position in {0, 1, count // 2, count - 1}:
        seen = np.bincount(table[:, position], minlength=count)
        assert stats.chisquare(seen).pvalue > 1e-3, position
    if 3 <= count <= 50:
        for i, j in ((0, 1), (0, count - 1), (count // 2 - 1, count // 2)):
            if i != j:
                pairs = np.zeros((count, count))
                np.add.at(pairs, (table[:, i], table[:, j]), 1)
                assert stats.chisquare(pairs[~np.eye(count, dtype=bool)]).pvalue > 1e-3, (i, j)


@pytest.mark.parametrize("count", [3, 5, 6, 9])
def test_places_in_tiny_sets_are_uniform_below_a_percent(count: int) -> None:
    # Eight rounds of the Feistel network, uneven by about 1 %, fail here.
    everywhere = np.arange(count)
    table = np.stack([permute(0, epoch, count, everywhere) for epoch in range(300_000)])
    for position in everywhere:
        seen = np.bincount(table[:, position], minlength=count)
        assert stats.chisquare(seen).pvalue > 1e-4, position


def test_order_has_no_local_structure() -> None:
    order = whole_order(0, 0, 100_000) / 100_000
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.013  # 4 / sqrt(100000)
    assert abs(np.corrcoef(order, np.arange(100_000))[0, 1]) < 0.013
    other = whole_order(0, 1, 100_000)
    assert abs(np.corrcoef(order, other)[0, 1]) < 0.013


@pytest.mark.parametrize("world_size", [1, 2, 4, 8, 16])
def test_ranks_join_to_the_same_global_batches(world_size: int) -> None:
    plans = [
        Plan(count=200, batch_size=48, batches_per_epoch=4, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    joined = [np.concatenate([plan.positions(step) for plan in plans]) for step in range(8)]
    assert all(len(batch) == 48 for batch in joined)
    assert np.array_equal(np.concatenate(joined), np.tile(np.arange(192), 2))


@both_orders
def test_a_thousand_million_samples_need_no_memory(order: Order) -> None:
    count = 10**9 + 7
    positions = np.array([0, 1, 2, count // 2, count - 2, count - 1])
    order(0, 0, count, positions)  # compiled before memory is measured
    tracemalloc.start()
    samples = order(0, 0, count, positions)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000
    assert len(set(samples.tolist())) == len(positions)
    assert samples.min() >= 0
    assert samples.max() < count
    if order is permute:
        many = permute(0, 0, count, np.arange(10_000))
        assert stats.kstest(many / count, "uniform").pvalue > 1e-3
        assert len(np.unique(many)) == len(many)


def test_a_keyed_sample_is_the_beginning_of_a_permutation() -> None:
    whole = keyed_sample("pictures", 100, 1000, seed=3)
    assert whole.tolist() == permute(stable_id("pictures"), 3, 100, np.arange(100)).tolist()
    assert keyed_sample("pictures", 100, 7, seed=3).tolist() == whole[:7].tolist()
    assert keyed_sample("pictures", 100, 7).tolist() != whole[:7].tolist()
    assert keyed_sample("others", 100, 7, seed=3).tolist() != whole[:7].tolist()
