"""The loader with the CPU backend: what it does with images it cannot read; beside ``test_backends.py``."""

import errno
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.backends.loader import Loader
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.plan.order import permute
from pipelines.plan.plan import Plan, evaluation_plan
from pipelines.views import draw
from tests.helpers.loader_checks import (
    BATCH,
    COUNT,
    GROUPS,
    SPEC,
    TRAINING,
    assert_is_the_reference,
    assert_same,
    copied,
    open_with,
)
from tests.helpers.memory_source import MemorySource, photograph, pixels_of


def open_loader(
    source: MemorySource, plan: Plan = TRAINING, stop: int = 5, limit: int = 10, **options: Any
) -> Loader:
    return open_with("cpu", source, plan, stop, **{"bad_images": BadImages(None, limit), **options})


def load(source: MemorySource, plan: Plan = TRAINING, **options: Any) -> list[Batch]:
    with open_loader(source, plan, **options) as loader:
        return [copied(batch) for batch in loader]


# --- what is loaded -----------------------------------------------------------------------------------------


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match="multiple of 3"):
        replace(TRAINING, world_size=3)


# --- what cannot be decoded ---------------------------------------------------------------------------------


def order_of(epoch: int) -> list[int]:
    return permute(3, epoch, COUNT, np.arange(COUNT)).tolist()


@pytest.mark.parametrize("workers", [1, 3])
def test_the_next_of_the_order_stands_in_with_the_keys_of_the_lost(tmp_path: Path, workers: int) -> None:
    order = order_of(0)
    bad = [order[2], order[5], order[6]]  # two in a row
    source, path = MemorySource(COUNT).cut_off(*bad), tmp_path / "bad_images.txt"
    bad_images = BadImages(path, 10)
    (batch,) = load(source, stop=1, workers=workers, bad_images=bad_images)
    assert source.index.labels is not None
    assert batch.labels is not None
    assert len(bad_images) == 3
    assert {line.split("\t")[0] for line in path.read_text().splitlines()} == {
        f"memory/{number}.jpg" for number in bad
    }
    for lost, substitute in ((2, order[3]), (5, order[7]), (6, order[7])):
        assert batch.labels[lost] == source.index.labels[substitute]
        pixels = pixels_of(source.files[substitute])
        for group, numbers, views, table in zip(
            GROUPS, ([0, 1], [2]), batch.views, batch.parameters, strict=True
        ):
            expected = draw(
                group.spec,
                seed=3,
                epoch=0,
                samples=source.index.sample_ids[[order[lost]]],
                heights=np.array([pixels.shape[0]], np.int32),
                widths=np.array([pixels.shape[1]], np.int32),
                views=numbers,
            )
            np.testing.assert_array_equal(table[:, lost], expected[:, 0])
            for k, of_view in enumerate(views.split(BATCH)):
                assert_is_the_reference(of_view[lost], pixels, expected[k, 0], group.spec)
    (untouched,) = load(MemorySource(COUNT), stop=1)
    others = [i for i in range(BATCH) if i not in (2, 5, 6)]
    for ours, theirs in zip(batch.each_view(), untouched.each_view(), strict=True):
        assert torch.equal(ours[others], theirs[others])


def test_substitutes_do_not_depend_on_workers_or_ranks() -> None:
    order = order_of(0)
    source = MemorySource(COUNT).cut_off(order[3], order[4], order[7])  # at the ends of the ranks' shares
    (whole,) = load(source, stop=1)
    for workers, prefetch in ((1, 0), (7, 4)):
        assert_same(load(source, stop=1, workers=workers, prefetch=prefetch)[0], whole)
    parts = [load(source, replace(TRAINING, rank=rank, world_size=2), stop=1)[0] for rank in (0, 1)]
    for k, view in enumerate(whole.each_view()):
        assert torch.equal(torch.cat([part.each_view()[k] for part in parts]), view)


def test_at_the_end_of_the_order_its_beginning_stands_in() -> None:
    plan = evaluation_plan(COUNT, COUNT)
    source = MemorySource(COUNT).cut_off(COUNT - 1)
    (batch,) = load(source, plan, stop=1)
    assert source.index.labels is not None
    assert batch.labels is not None
    assert batch.labels[-1] == source.index.labels[0]
    pixels = pixels_of(source.files[0])
    assert_is_the_reference(batch.views[0][COUNT - 1], pixels, batch.parameters[0][0, -1], SPEC)


def test_where_nothing_can_be_decoded_it_says_so() -> None:
    source = MemorySource(COUNT).cut_off(*range(COUNT))
    with pytest.raises(UserError, match="none of the 22 images can be decoded"):
        load(source, limit=COUNT)


def test_unreadable_files_and_lying_headers_are_bad_images() -> None:
    class Broken(MemorySource):
        def read(self, number: int) -> bytes:
            if number == 4:
                raise PermissionError(13, "Permission denied")
            return super().read(number)

    source = Broken(COUNT)
    source.index.heights[4] = 0  # unreadable from the start
    source.index.heights[7] = 0  # an unreadable header
    source.index.widths[9] += 1  # changed since it was indexed
    bad_images = BadImages(None, 10)
    batches = load(source, evaluation_plan(COUNT, COUNT), stop=1, bad_images=bad_images)
    assert len(bad_images) == 3
    assert source.index.labels is not None
    assert batches[0].labels is not None
    for number in (4, 7, 9):
        assert batches[0].labels[number] == source.index.labels[number + 1]


class Failing(MemorySource):
    """A disk that fails with an error of the machine, sample 4 alone, a number of times."""

    def __init__(self, number: int, times: int) -> None:
        super().__init__(COUNT)
        self.left, self.error = times, OSError(number, os.strerror(number))

    def read(self, number: int) -> bytes:
        if number == 4 and self.left:
            self.left -= 1
            raise self.error
        return super().read(number)


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE])
def test_a_hiccup_of_the_disk_changes_nothing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.files.patience._PAUSES", (0.0, 0.0, 0.0))
    bad_images = BadImages(None, 10)
    plan = evaluation_plan(COUNT, COUNT)
    (batch,) = load(Failing(number, 3), plan, stop=1, bad_images=bad_images)
    assert len(bad_images) == 0
    assert_same(batch, load(MemorySource(COUNT), plan, stop=1)[0])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EIO, "Input/output error"),
        (errno.EMFILE, "Too many open files"),
        (errno.ENOENT, "No such file or directory"),  # deleted, or unmounted, under the run
    ],
)
def test_a_disk_that_stays_broken_stops_with_the_systems_words(
    number: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.files.patience._PAUSES", (0.0, 0.0))
    bad_images = BadImages(None, 10)
    with pytest.raises(
        UserError,
        match=rf"cannot read memory/4\.jpg: {words}; when it can be read, start the same command again",
    ):
        load(Failing(number, 99), evaluation_plan(COUNT, COUNT), stop=1, bad_images=bad_images)
    assert len(bad_images) == 0


# --- threads ------------------------------------------------------------------------------------------------


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def settle(source: MemorySource) -> int:
    """Reads so far, once no more come."""
    last = -1
    while last != len(source.reads):
        last = len(source.reads)
        time.sleep(0.1)
    return last


def test_nothing_is_read_beyond_what_is_prefetched() -> None:
    source = MemorySource(COUNT)
    with open_loader(source, stop=4, prefetch=2, workers=3) as loader:
        assert settle(source) == 0  # nobody has asked yet
        next(loader)
        assert settle(source) == 3 * BATCH  # the one in use and two under way
        assert [batch.step for batch in loader] == [1, 2, 3]
    assert settle(source) == 4 * BATCH


def test_closing_waits_for_a_read_under_way_but_starts_no_other() -> None:
    source = MemorySource(COUNT)
    loader = open_loader(source, stop=100, workers=2, prefetch=3)
    source.wait.clear()
    consumer = threading.Thread(target=lambda: next(loader))
    consumer.start()
    while len(source.reads) < 2:
        time.sleep(0.01)
    threading.Timer(0.3, source.wait.set).start()
    consumer.join()
    loader.close()
    assert loader_threads() == []
    assert len(source.reads) < 100 * BATCH


def test_the_photographs_differ() -> None:
    assert not np.array_equal(photograph(0, 40, 50), photograph(1, 40, 50))
