"""Windows are swept over before their samples are needed, each once, in the order of the file."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from pipelines.backends.read_ahead import ReadAhead
from pipelines.plan.plan import Plan
from pipelines.sources.beton.beton import BetonSource
from pipelines.sources.folder import FolderSource
from pipelines.sources.shards import ShardSource
from pipelines.sources.source import ReadsAhead


class Tape:
    """Notes the runs that are read; each takes a while."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []
        self.broken = False

    def read_ahead(self, first: int, end: int) -> None:
        time.sleep(0.001)
        if self.broken:
            raise OSError("no such device")
        self.runs.append((first, end))

    def samples(self) -> set[int]:
        return {sample for run in self.runs for sample in range(*run)}


# 103 samples in 11 blocks and 4 windows, batches of 8 that reach over the windows' ends.
PLAN = Plan(
    count=103,
    batch_size=8,
    batches_per_epoch=12,
    seed=7,
    order="blocks",
    block_size=10,
    blocks_per_window=3,
)


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize(("start", "stop"), [(0, 12), (5, 12), (11, 24), (17, 24)])
def test_samples_have_been_read_when_their_step_is_reached(
    start: int, stop: int, rank: int, world_size: int
) -> None:
    plan, tape = replace(PLAN, rank=rank, world_size=world_size), Tape()
    ahead = ReadAhead(tape, plan)
    for step in range(start, stop):
        ahead.reach(step)
        assert set(plan.samples(step // 12, plan.positions(step)).tolist()) <= tape.samples(), step
    ahead.close()


def test_each_window_is_read_once_and_forwards() -> None:
    tape = Tape()
    ahead = ReadAhead(tape, PLAN)
    for step in range(12):
        ahead.reach(step)
        assert len(tape.runs) <= 12  # never more than the window after the present one
    ahead.close()
    epoch = tape.runs[:11]
    assert sorted(epoch) == [(first, min(first + 10, 103)) for first in range(0, 103, 10)]
    for window in range(0, 11, 3):
        assert epoch[window : window + 3] == sorted(epoch[window : window + 3])


def test_an_error_is_left_to_the_read_itself() -> None:
    tape = Tape()
    tape.broken = True
    ahead = ReadAhead(tape, PLAN)
    ahead.reach(0)
    ahead.close()
    assert tape.runs == []


def test_closing_does_not_wait_for_the_window() -> None:
    tape, plan = Tape(), replace(PLAN, count=10_000, batches_per_epoch=1000, blocks_per_window=500)
    ahead = ReadAhead(tape, plan)
    waiting = threading.Thread(target=ahead.reach, args=(0,))
    waiting.start()
    while not tape.runs:
        time.sleep(0.001)
    ahead.close()
    waiting.join(5)
    assert not waiting.is_alive()
    assert len(tape.runs) < 500


def test_a_folder_of_files_has_nothing_to_sweep_over() -> None:
    assert isinstance(Tape(), ReadsAhead)
    assert issubclass(ShardSource, ReadsAhead)
    assert issubclass(BetonSource, ReadsAhead)
    assert not issubclass(FolderSource, ReadsAhead)
