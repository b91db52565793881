"""The order "blocks": read in whole runs, shuffled within windows, resumable; see also ``test_order.py``."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipelines.plan.order import BlockOrder
from pipelines.plan.plan import Plan

SHAPES = [(1, 1), (1, 7), (2, 3), (3, 1), (4, 2), (5, 4), (7, 100), (16, 3), (64, 2), (500, 1), (500, 9)]


def block_order(
    count: int, block_size: int, blocks_per_window: int, seed: int = 3, epoch: int = 1
) -> BlockOrder:
    return BlockOrder(
        seed=seed, epoch=epoch, count=count, block_size=block_size, blocks_per_window=blocks_per_window
    )


def whole(order: BlockOrder) -> np.ndarray:
    return order.samples(np.arange(order.count))


@pytest.mark.parametrize(("block_size", "blocks_per_window"), SHAPES)
def test_every_sample_comes_once(block_size: int, blocks_per_window: int) -> None:
    for count in [*range(1, 301), 1023, 1024, 1025, 65_537]:
        samples = whole(block_order(count, block_size, blocks_per_window))
        assert np.array_equal(np.sort(samples), np.arange(count)), count


def sets_of_blocks(samples: np.ndarray, count: int, block_size: int) -> set[int] | None:
    """The blocks that ``samples`` consist of; None if of some block only a part is there."""
    blocks = {sample // block_size for sample in samples.tolist()}
    expected = [s for b in sorted(blocks) for s in range(b * block_size, min((b + 1) * block_size, count))]
    return blocks if np.array_equal(np.sort(samples), expected) else None


@pytest.mark.parametrize(("block_size", "blocks_per_window"), SHAPES)
@pytest.mark.parametrize("count", [1, 2, 12, 63, 64, 65, 100, 299, 300, 1000])
def test_a_window_is_so_many_whole_blocks(count: int, block_size: int, blocks_per_window: int) -> None:
    """Cut the order where ``window`` says: each piece must be W runs of the source, complete."""
    order = block_order(count, block_size, blocks_per_window, seed=count, epoch=block_size)
    samples = whole(order)
    windows = np.array([order.window(position) for position in range(count)])
    assert (np.diff(windows) >= 0).all()
    blocks = -(-count // block_size)
    assert windows[-1] == -(-blocks // blocks_per_window) - 1
    seen: set[int] = set()
    for window in range(windows[-1] + 1):
        mine = samples[windows == window]
        found = sets_of_blocks(mine, count, block_size)
        assert found is not None, window
        rest = blocks - window * blocks_per_window
        assert len(found) == min(blocks_per_window, rest)
        runs = order.runs(window)
        assert np.array_equal(np.concatenate([np.arange(*run) for run in runs]), np.sort(mine))
        assert len(runs) == len(found)
        seen |= found
    assert len(seen) == blocks


@pytest.mark.parametrize(("count", "block_size", "blocks_per_window"), [(12, 3, 2), (10, 4, 2), (11, 4, 3)])
def test_places_are_uniform(count: int, block_size: int, blocks_per_window: int) -> None:
    """Over the seeds every sample is as often first, last or in the middle, also those of the short block."""
    draws = 40_000
    table = np.stack([whole(block_order(count, block_size, blocks_per_window, s)) for s in range(draws)])
    full = count % block_size == 0
    for position in (0, 1, count // 2, count - 1):
        seen = np.bincount(table[:, position], minlength=count)
        if full:
            assert stats.chisquare(seen).pvalue > 1e-3, position
        # Samples of one block are interchangeable, whatever the block.
        for first in range(0, count, block_size):
            assert stats.chisquare(seen[first : first + block_size]).pvalue > 1e-4, (position, first)


def test_the_short_block_comes_in_any_slot() -> None:
    # 5 blocks, the last of one sample, each a window of its own: it is in place 0, 4, 8, 12 or 16.
    order = [whole(block_order(17, 4, 1, seed)).tolist().index(16) for seed in range(5000)]
    places, counts = np.unique(order, return_counts=True)
    assert places.tolist() == [0, 4, 8, 12, 16]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_window_mixes_its_blocks() -> None:
    order = block_order(100_000, 100, 50)
    samples = whole(order)[:5000]
    blocks = samples // 100
    neighbors = (blocks[:-1] == blocks[1:]).mean()
    assert abs(neighbors - 99 / 4999) < 4 * np.sqrt(0.02 * 0.98 / 4999)
    assert abs(np.corrcoef(samples[:-1], samples[1:])[0, 1]) < 4 / np.sqrt(5000)
    # The next window is shuffled in another way, not by the same permutation again.
    ranks = [np.argsort(np.argsort(part)) for part in (samples, whole(order)[5000:10_000])]
    assert (ranks[0] == ranks[1]).sum() <= 8  # one on average; Poisson(1) exceeds 8 once in a million


def test_a_thousand_million_samples_are_read_in_windows() -> None:
    count, size, window = 10**9 + 7, 128, 128
    order = block_order(count, size, window)
    for some in (0, count // 3, count - 200_000):
        samples = order.samples(np.arange(some, some + 200_000))
        assert samples.min() >= 0
        assert samples.max() < count
        assert len(np.unique(samples)) == len(samples)
        # Read as blocks: 200,000 positions lie in at most 14 windows of 128 blocks.
        assert len(np.unique(samples // size)) <= 14 * window
        runs = order.runs(order.window(some + 100_000))
        assert len(runs) in (window, -(-count // size) % window)
        assert ((runs[:, 0] <= samples[100_000]) & (samples[100_000] < runs[:, 1])).sum() == 1


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_a_plan_of_blocks_resumes_anywhere_on_any_world(world_size: int) -> None:
    def batches(start: int, world: int) -> list[list[int]]:
        plans = [
            Plan(
                count=203,
                batch_size=16,
                batches_per_epoch=12,
                seed=5,
                order="blocks",
                block_size=10,
                blocks_per_window=4,
                rank=rank,
                world_size=world,
            )
            for rank in range(world)
        ]
        return [
            np.concatenate([plan.samples(step // 12, plan.positions(step)) for plan in plans]).tolist()
            for step in range(start, 24)
        ]

    straight = batches(0, 1)
    assert batches(7, world_size) == straight[7:]
    first, second = np.concatenate(straight[:12]), np.concatenate(straight[12:])
    assert len(set(first)) == len(set(second)) == 12 * 16
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.concatenate(batches_of_random()[:12])), (
        "blocks is another order than random"
    )


def batches_of_random() -> list[np.ndarray]:
    plan = Plan(count=203, batch_size=16, batches_per_epoch=12, seed=5)
    return [plan.samples(0, plan.positions(step)) for step in range(12)]
