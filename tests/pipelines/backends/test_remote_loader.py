"""Data that is elsewhere: the batches are those of the same files on a disk, from any step, anywhere."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.backends.fetch_cost import fetch_cost, fetch_note
from pipelines.backends.read_ahead import ReadAhead
from pipelines.command.errors import UserError
from pipelines.plan.plan import Plan
from pipelines.sources import open_source
from pipelines.sources.remote.address import parse_address
from pipelines.sources.shards import write_shard
from pipelines.sources.slices import files_of_runs
from pipelines.sources.source import Fetches, Fetching
from tests.helpers.loader_checks import load_threaded
from tests.helpers.storage_server import storage_server
from tests.helpers.watched_folder import largest_size

COUNTS = (5, 4, 6, 5, 3, 5, 5, 7, 5, 4, 5, 5)  # images in each shard
_UNIT = 10**7  # bytes of a sample of ``Held``
PLAN = Plan(
    count=sum(COUNTS),
    batch_size=4,
    batches_per_epoch=14,
    seed=3,
    order="blocks",
    block_size=5,
    blocks_per_window=1,
)


@pytest.fixture
def data(tmp_path: Path, own_cache: Path) -> Path:
    rng = np.random.default_rng(0)
    for shard, count in enumerate(COUNTS):
        pixels = rng.integers(0, 256, (count, 40, 30, 3), dtype=np.uint8)
        samples = [(f"{shard}-{i}", {"jpg": bytes(simplejpeg.encode_jpeg(pixels[i]))}) for i in range(count)]
        write_shard(tmp_path / "data" / f"{shard:02d}.tar", samples)
    return tmp_path / "data"


def test_batches_are_those_of_the_disk_with_a_small_cache(data: Path, tmp_path: Path) -> None:
    local = load_threaded(open_source(str(data), "train"), PLAN, stop=28)
    total = sum(path.stat().st_size for path in data.iterdir())
    capacity = total * 3 // 4
    with storage_server(data) as server:
        remote = open_source(f"{server.url}/{{00..11}}.tar?cache={capacity}", "train")
        assert isinstance(remote, Fetches)
        assert remote.fetching is not None
        assert "fetches" in str(fetch_note(remote, PLAN))
        cached = tmp_path / "cache" / "shards"
        with largest_size(cached, "*.shard") as most:
            found = load_threaded(remote, PLAN, stop=28)
        assert 0 < most[0] <= capacity
        for one, other in zip(local, found, strict=True):
            assert torch.equal(one.sample_ids, other.sample_ids)
            assert all(map(torch.equal, one.views, other.views))
        shutil.rmtree(tmp_path / "cache")  # another machine goes on, as two processes
        remote = open_source(f"{server.url}/{{00..11}}.tar?cache={capacity}", "train")
        ranks = [
            load_threaded(remote, replace(PLAN, rank=rank, world_size=2), start_step=19, stop=28)
            for rank in range(2)
        ]
    for one, *shares in zip(local[19:], *ranks, strict=True):
        assert torch.equal(one.sample_ids, torch.cat([share.sample_ids for share in shares]))


def test_data_larger_than_its_cache_is_refused_with_what_would_do(data: Path) -> None:
    total = sum(path.stat().st_size for path in data.iterdir())
    with storage_server(data) as server:
        where = f"{server.url}/{{00..11}}.tar"
        small = open_source(f"{where}?cache={total // 2}", "train")
        with pytest.raises(UserError, match=r"in random order .*--order blocks --block-size 5 --blocks-per-"):
            fetch_note(small, replace(PLAN, order="random"))
        with pytest.raises(UserError, match="two windows of --order blocks lie in files of"):
            fetch_note(small, replace(PLAN, blocks_per_window=9))
        large = open_source(where, "train")
    assert "the first epoch fetches them all" in str(fetch_note(large, replace(PLAN, order="random")))
    assert f"fetches {total / 1e6:.3g} MB per machine" in str(fetch_note(large, PLAN))
    assert fetch_note(open_source(str(data), "train"), PLAN) is None


@settings(deadline=None)  # `make fuzz` tries more, and others
@given(
    counts=st.lists(st.integers(0, 9), min_size=2, max_size=40).filter(lambda counts: sum(counts) >= 8),
    share=st.floats(0.02, 0.99),
    batch_size=st.sampled_from([1, 4, 64]),
    block=st.integers(1, 12),
    window=st.integers(1, 4),
    order=st.sampled_from(["random", "blocks"]),
)
@example(counts=[0, 0, 0, 0, 6, 4, 7, 9, 6, 9], share=0.5, batch_size=4, block=1, window=1, order="random")
def test_settings_that_are_said_to_fit_do(
    counts: list[int],
    share: float,
    batch_size: int,
    block: int,
    window: int,
    order: Literal["random", "blocks"],
) -> None:
    """Whatever is refused: both ways out are taken, and no epoch holds more than the first one was told."""
    plan = Plan(
        count=sum(counts),
        batch_size=batch_size,
        batches_per_epoch=-(-sum(counts) // batch_size),
        order=order,
        block_size=block,
        blocks_per_window=window,
    )
    capacity = int(_UNIT * share * sum(counts))
    source = Held(counts, capacity)
    try:
        fetch_note(source, plan)  # type: ignore[arg-type]
    except UserError as error:
        sizes = [parse_address(found).cache_bytes for found in re.findall(r"\?cache=\w+", str(error))]
        source.fetching = replace(source.fetching, capacity=sizes[-1])
        assert fetch_note(source, plan)  # type: ignore[arg-type]
        found = re.search(r"--block-size (\d+) --blocks-per-window (\d+)", str(error))
        assert found is not None
        plan = replace(plan, order="blocks", block_size=int(found[1]), blocks_per_window=int(found[2]))
        source.fetching = replace(source.fetching, capacity=capacity if len(sizes) == 1 else sizes[0])
        assert fetch_note(source, plan)  # type: ignore[arg-type]
    if plan.order == "random":
        return
    ahead, most = ReadAhead(source, plan), 0
    for step in range(3 * plan.batches_per_epoch):
        ahead.reach(step)
        needed = plan.block_order(step // plan.batches_per_epoch)
        positions = plan.positions(step)
        windows = range(needed.window(int(positions[0])), needed.window(int(positions[-1])) + 1)
        runs = np.concatenate([needed.runs(window) for window in windows])
        most = max(most, _UNIT * sum(counts[file] for file in files_of_runs(source.fetching.firsts, runs)))
    ahead.close()
    assert most <= fetch_cost(source.fetching, plan).held <= source.fetching.capacity


class Held:
    """Notes which files are held, as a source in files of these counts of samples."""

    def __init__(self, counts: list[int], capacity: int = 1 << 40) -> None:
        firsts = np.cumsum([0, *counts])
        sizes = _UNIT * np.array(counts)
        self.fetching = Fetching(where="s3://bucket", firsts=firsts, sizes=sizes, capacity=capacity)
        self.held: set[int] = set()

    def hold(self, runs: np.ndarray) -> None:
        self.held = set(files_of_runs(self.fetching.firsts, runs))

    def read_ahead(self, first: int, end: int) -> None:
        """Nothing to read."""


@settings(deadline=None)  # `make fuzz` tries more, and others
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(lambda counts: sum(counts) >= 4),
    worlds=st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4])),
    block=st.integers(1, 12),
    window=st.integers(1, 4),
    killed=st.integers(0, 30),
    seed=st.integers(0, 99),
)
def test_each_sample_is_seen_once_an_epoch_and_its_file_is_held_then(
    counts: list[int], worlds: tuple[int, int], block: int, window: int, killed: int, seed: int
) -> None:
    """Whatever the files, the processes and the step at which others go on."""
    count = sum(counts)
    plan = Plan(
        count=count,
        batch_size=4,
        batches_per_epoch=count // 4,
        seed=seed,
        order="blocks",
        block_size=block,
        blocks_per_window=window,
    )
    steps = 2 * plan.batches_per_epoch
    killed = min(killed, steps)
    seen: list[list[int]] = [[], []]
    for world, part in zip(worlds, (range(killed), range(killed, steps)), strict=True):
        for rank in range(world):
            own, source = replace(plan, rank=rank, world_size=world), Held(counts)
            ahead = ReadAhead(source, own)
            for step in part:
                ahead.reach(step)
                samples = own.samples(step // plan.batches_per_epoch, own.positions(step))
                files = np.searchsorted(source.fetching.firsts, samples, side="right") - 1
                assert set(files.tolist()) <= source.held
                seen[step // plan.batches_per_epoch] += samples.tolist()
            ahead.close()
    for epoch in seen:
        assert len(epoch) == len(set(epoch)) == 4 * plan.batches_per_epoch
    cost = fetch_cost(Held(counts).fetching, plan)
    assert cost.fetched == _UNIT * count >= cost.held  # room for all: each file once
    least = fetch_cost(Held(counts, capacity=cost.held).fetching, plan)
    assert _UNIT * count <= least.fetched <= _UNIT * count * -(-count // block)
