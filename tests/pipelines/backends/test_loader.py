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
from pipelines.render import reference
from pipelines.views import ViewGroup, ViewSpec, draw
from tests.helpers.loader_checks import (
    BATCH,
    BLOCKS,
    COUNT,
    SPEC,
    TRAINING,
    assert_same,
    copied,
    numbers_of,
    open_with,
)
from tests.helpers.loader_checks import GROUPS as TWO_GROUPS
from tests.helpers.memory_source import MemorySource, photograph, pixels_of

GROUPS = (TWO_GROUPS[0], replace(TWO_GROUPS[1], num_views=3))


@pytest.fixture(scope="module")
def source() -> MemorySource:
    return MemorySource(COUNT)


def open_loader(
    source: MemorySource, plan: Plan = TRAINING, stop: int = 5, limit: int = 10, **options: Any
) -> Loader:
    defaults: dict[str, Any] = {"groups": GROUPS, "bad_images": BadImages(None, limit)}
    return open_with("cpu", source, plan, stop, **(defaults | options))


def load(source: MemorySource, plan: Plan = TRAINING, **options: Any) -> list[Batch]:
    with open_loader(source, plan, **options) as loader:
        return [copied(batch) for batch in loader]


# --- what is loaded -----------------------------------------------------------------------------------------


def test_training_follows_the_keyed_permutation(source: MemorySource) -> None:
    batches = load(source)
    assert [(batch.step, batch.epoch) for batch in batches] == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    for batch in batches:
        order = permute(3, batch.epoch, COUNT, np.arange(COUNT))
        first = batch.step % 2 * BATCH
        expected = order[first : first + BATCH]
        assert numbers_of(source, batch) == expected.tolist()
        assert source.index.labels is not None
        assert batch.labels is not None
        assert batch.labels.tolist() == source.index.labels[expected].tolist()
        assert batch.labels.dtype == batch.sample_ids.dtype == torch.int64


def test_parameters_are_the_draws_of_the_keys_and_views_are_numbered_across_groups(
    source: MemorySource,
) -> None:
    for batch in load(source, stop=3):
        numbers = numbers_of(source, batch)
        for group, views, table in zip(GROUPS, ([0, 1], [2, 3, 4]), batch.parameters, strict=True):
            expected = draw(
                group.spec,
                seed=3,
                epoch=batch.epoch,
                samples=source.index.sample_ids[numbers],
                heights=source.index.heights[numbers],
                widths=source.index.widths[numbers],
                views=views,
            )
            np.testing.assert_array_equal(table, expected)


def assert_views_are(
    view: torch.Tensor, pixels: np.ndarray, row: np.void, spec: ViewSpec, mean: float = 1
) -> None:
    """Within 4/255 of the reference everywhere and within ``mean``/255 on average, in colors."""
    difference = (view - reference.render(pixels, row, spec)) * torch.tensor(spec.std).view(3, 1, 1)
    assert difference.abs().max() <= 4 / 255
    assert difference.abs().mean() <= mean / 255


def test_views_are_those_of_the_reference(source: MemorySource) -> None:
    for batch in load(source, stop=2):
        numbers = numbers_of(source, batch)
        for group, views, table in zip(GROUPS, batch.views, batch.parameters, strict=True):
            assert views.shape == (group.num_views * BATCH, 3, group.spec.size, group.spec.size)
            assert views.dtype == torch.float32
            assert views.is_contiguous(memory_format=torch.channels_last)
            for k, of_view in enumerate(views.split(BATCH)):
                for i, number in enumerate(numbers):
                    assert_views_are(of_view[i], pixels_of(source.files[number]), table[k, i], group.spec)
        singles = batch.each_view()
        assert [view.shape[2] for view in singles] == [24, 24, 17, 17, 17]
        assert torch.equal(singles[1], batch.views[0][BATCH:])


def test_pixels_that_are_stored_raw_are_taken_as_they_are(source: MemorySource) -> None:
    class Raw(MemorySource):
        def read(self, number: int) -> Any:
            return pixels_of(super().read(number))

    for ours, theirs in zip(load(Raw(COUNT)), load(source), strict=True):
        assert_same(ours, theirs)


def test_unlabeled_sources_give_no_labels() -> None:
    batches = load(MemorySource(COUNT, labeled=False), stop=1)
    assert batches[0].labels is None
    assert len(batches[0]) == BATCH


def test_evaluation_sees_every_sample_once_in_order(source: MemorySource) -> None:
    plan = evaluation_plan(COUNT, BATCH)
    assert plan.batches_per_epoch == 3
    batches = load(source, plan, stop=3, groups=(ViewGroup(spec=SPEC, num_views=2),))
    assert [len(batch) for batch in batches] == [8, 8, 6]
    assert [n for batch in batches for n in numbers_of(source, batch)] == list(range(COUNT))
    assert source.index.labels is not None
    labels = torch.cat([batch.labels for batch in batches if batch.labels is not None])
    assert labels.tolist() == source.index.labels.tolist()
    for batch in batches:
        assert batch.views[0].shape == (2 * len(batch), 3, 24, 24)
        assert batch.views[0].is_contiguous(memory_format=torch.channels_last)
        for k, of_view in enumerate(batch.views[0].split(len(batch))):
            for i, number in enumerate(numbers_of(source, batch)):
                pixels = pixels_of(source.files[number])
                assert_views_are(of_view[i], pixels, batch.parameters[0][k, i], SPEC)


def test_evaluation_views_do_not_depend_on_the_batch_size(source: MemorySource) -> None:
    whole, parts = (
        [batch.each_view() for batch in load(source, evaluation_plan(COUNT, size), stop=stop)]
        for size, stop in ((COUNT, 1), (5, 5))
    )
    for k in range(5):
        assert torch.equal(whole[0][k], torch.cat([views[k] for views in parts]))


# --- by whom it is loaded does not matter -------------------------------------------------------------------


@pytest.mark.parametrize("plan", [TRAINING, BLOCKS], ids=["random", "blocks"])
@pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (1, 3), (3, 1), (11, 6)])
def test_batches_are_the_same_whatever_the_workers(
    source: MemorySource, plan: Plan, workers: int, prefetch: int
) -> None:
    expected = load(source, plan)
    for ours, theirs in zip(load(source, plan, workers=workers, prefetch=prefetch), expected, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("plan", [TRAINING, BLOCKS], ids=["random", "blocks"])
@pytest.mark.parametrize("world_size", [2, 4])
def test_the_ranks_batches_joined_are_the_global_batch(
    source: MemorySource, plan: Plan, world_size: int
) -> None:
    shares = [load(source, replace(plan, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for step, whole in enumerate(load(source, plan)):
        parts = [share[step] for share in shares]
        assert {len(part) for part in parts} == {BATCH // world_size}
        assert torch.equal(torch.cat([part.sample_ids for part in parts]), whole.sample_ids)
        for k, view in enumerate(whole.each_view()):
            assert torch.equal(torch.cat([part.each_view()[k] for part in parts]), view)
        for g, table in enumerate(whole.parameters):
            np.testing.assert_array_equal(np.concatenate([part.parameters[g] for part in parts], 1), table)


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match="multiple of 3"):
        replace(TRAINING, world_size=3)


# --- resuming -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [TRAINING, BLOCKS], ids=["random", "blocks"])
def test_a_loader_goes_on_from_a_state(source: MemorySource, plan: Plan) -> None:
    expected = load(source, plan)
    with open_loader(source, plan) as loader:
        assert loader.state_dict() == {"step": 0}
        for taken in (1, 2, 3):
            next(loader)
            state = loader.state_dict()
            assert state == {"step": taken}  # whatever was prefetched
    with open_loader(source, plan, prefetch=4) as other:
        other.load_state_dict(state)
        for theirs in expected[3:]:
            assert_same(copied(next(other)), theirs)
    for ours, theirs in zip(load(source, plan, start_step=3), expected[3:], strict=True):
        assert_same(ours, theirs)


def test_a_loader_goes_back_and_forth(source: MemorySource) -> None:
    expected = load(source)
    with open_loader(source) as loader:
        for step in (0, 3, 1, 4, 4, 2, 0):
            loader.load_state_dict({"step": step})
            assert_same(copied(next(loader)), expected[step])
        assert [batch.step for batch in loader] == [1, 2, 3, 4]
        with pytest.raises(StopIteration):
            next(loader)
        loader.load_state_dict({"step": 4})
        assert_same(copied(next(loader)), expected[4])


# --- what cannot be decoded ---------------------------------------------------------------------------------


def order_of(epoch: int) -> list[int]:
    return permute(3, epoch, COUNT, np.arange(COUNT)).tolist()


def spoilt(*numbers: int) -> MemorySource:
    source = MemorySource(COUNT)
    for number in numbers:
        source.files[number] = source.files[number][: len(source.files[number]) // 2]
    return source


@pytest.mark.parametrize("workers", [1, 3])
def test_the_next_of_the_order_stands_in_with_the_keys_of_the_lost(tmp_path: Path, workers: int) -> None:
    order = order_of(0)
    bad = [order[2], order[5], order[6]]  # two in a row
    source, path = spoilt(*bad), tmp_path / "bad_images.txt"
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
            GROUPS, ([0, 1], [2, 3, 4]), batch.views, batch.parameters, strict=True
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
                assert_views_are(of_view[lost], pixels, expected[k, 0], group.spec)
    (untouched,) = load(MemorySource(COUNT), stop=1)
    others = [i for i in range(BATCH) if i not in (2, 5, 6)]
    for ours, theirs in zip(batch.each_view(), untouched.each_view(), strict=True):
        assert torch.equal(ours[others], theirs[others])


def test_substitutes_do_not_depend_on_workers_or_ranks() -> None:
    order = order_of(0)
    source = spoilt(order[3], order[4], order[7])  # at the ends of the ranks' shares
    (whole,) = load(source, stop=1)
    for workers, prefetch in ((1, 0), (7, 4)):
        assert_same(load(source, stop=1, workers=workers, prefetch=prefetch)[0], whole)
    parts = [load(source, replace(TRAINING, rank=rank, world_size=2), stop=1)[0] for rank in (0, 1)]
    for k, view in enumerate(whole.each_view()):
        assert torch.equal(torch.cat([part.each_view()[k] for part in parts]), view)


def test_at_the_end_of_the_order_its_beginning_stands_in() -> None:
    plan = evaluation_plan(COUNT, COUNT)
    source = spoilt(COUNT - 1)
    (batch,) = load(source, plan, stop=1)
    assert source.index.labels is not None
    assert batch.labels is not None
    assert batch.labels[-1] == source.index.labels[0]
    pixels = pixels_of(source.files[0])
    assert_views_are(batch.views[0][COUNT - 1], pixels, batch.parameters[0][0, -1], SPEC)


def test_a_bad_image_counts_once_in_all_epochs() -> None:
    bad_images = BadImages(None, 1)
    load(spoilt(5), stop=8, bad_images=bad_images)
    assert len(bad_images) == 1


@pytest.mark.parametrize("workers", [1, 4])
def test_more_than_the_limit_ends_in_one_clear_line(workers: int) -> None:
    source = spoilt(*range(6))
    with open_loader(source, stop=20, limit=5, workers=workers) as loader, pytest.raises(UserError) as error:
        for _ in loader:
            pass
    assert "6 images cannot be decoded, more than the 5 tolerated" in str(error.value)


def test_where_nothing_can_be_decoded_it_says_so() -> None:
    source = spoilt(*range(COUNT))
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


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_early_leaves_no_threads(source: MemorySource, taken: int) -> None:
    loader = open_loader(source, stop=100, workers=3, prefetch=4)
    for _ in range(taken):
        next(loader)
    assert len(loader_threads()) == (3 if taken else 0)
    loader.close()
    assert loader_threads() == []
    loader.close()  # a second time does no harm


def test_leaving_the_block_by_an_error_leaves_no_threads(source: MemorySource) -> None:
    def fail() -> None:
        with open_loader(source, stop=100) as loader:
            next(loader)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert loader_threads() == []


def test_prefetching_is_bounded() -> None:
    source = MemorySource(COUNT)
    with open_loader(source, stop=100, prefetch=2, workers=3) as loader:
        assert settle(source) == 0  # nobody has asked yet
        next(loader)
        assert settle(source) == 3 * BATCH  # the one in use and two under way
        next(loader)
        assert settle(source) == 4 * BATCH


def test_nothing_is_read_beyond_the_last_step() -> None:
    source = MemorySource(COUNT)
    with open_loader(source, stop=2, prefetch=5) as loader:
        next(loader)
        assert settle(source) == 2 * BATCH
        assert [batch.step for batch in loader] == [1]
    assert settle(source) == 2 * BATCH


def test_a_batch_in_use_is_not_written_to(source: MemorySource) -> None:
    with open_loader(source, stop=20, prefetch=3) as loader:
        for _ in range(6):
            batch = next(loader)
            before = copied(batch)
            time.sleep(0.02)  # what is prefetched goes on
            assert_same(batch, before)


@pytest.mark.parametrize("workers", [1, 3])
def test_errors_of_workers_reach_the_consumer(workers: int) -> None:
    class Failing(MemorySource):
        def read(self, number: int) -> bytes:
            if number == order_of(0)[BATCH + 3]:
                raise ZeroDivisionError("of a worker")
            return super().read(number)

    with open_loader(Failing(COUNT), workers=workers) as loader:
        assert next(loader).step == 0
        for _ in range(2):  # it does not go away either
            with pytest.raises(ZeroDivisionError, match="of a worker"):
                next(loader)
    assert loader_threads() == []


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


# --- bad arguments ------------------------------------------------------------------------------------------


def test_no_views_is_a_users_mistake(source: MemorySource) -> None:
    with pytest.raises(UserError, match="num-views"):
        open_loader(source, groups=())


def test_zero_workers_take_every_core(source: MemorySource) -> None:
    for ours, theirs in zip(load(source, workers=0), load(source), strict=True):
        assert_same(ours, theirs)


def test_the_photographs_differ() -> None:
    assert not np.array_equal(photograph(0, 40, 50), photograph(1, 40, 50))
